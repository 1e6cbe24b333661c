"""Small model versions of the registry's exact contract, made without training, and what they must compute.

The scorer is a linear function of every one of its inputs, with random tables, so that an input in the wrong place or
order changes a score; `expected_scores` is the same function in NumPy. The adaptor scales and shifts by version.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, parser

from services.embedding.encoder_export import exported_encoder
from services.model_registry import PADDING, GoldenSet, Manifest, ModelRegistry, Vocabulary
from services.model_registry.file_hashes import file_hash

KNOWLEDGE, AUGMENTED, HISTORY = 6, 4, 5  # widths K and A, length L
ENCODER, DEFAULT_ENCODER = "test-encoder", "all-MiniLM-L6-v2"
FIELDS = {"genre": ["Comedy", "Drama", "Horror"], "decade": ["1980", "1990"]}
ITEM_IDS = [f"i{number}" for number in range(40)]
ROWS = 64  # of the scorer's tables: at least the vocabulary's

SCORER = """
<ir_version: 10, opset_import: ["" : 18]>
scorer (int64[B,C] item_id, int64[B,C,F] item_fields, float[B,C,A] item_augmented, int64[B,L] history_item_id,
        int64[B,L,F] history_fields, float[B,L] history_rating, float[B,A] user_augmented) => (float[B,C] score)
{
  last = Constant <value_ints = [-1]> ()
  item = Gather (item_table, item_id)
  field_each = Gather (field_table, item_fields)
  field = ReduceSum <keepdims = 0> (field_each, last)
  user = Unsqueeze (user_augmented, last)
  affinity = MatMul (item_augmented, user)
  affinity_flat = Squeeze (affinity, last)
  facts = ReduceSum <keepdims = 0> (item_augmented, last)
  past_item = Gather (item_table, history_item_id)
  past_field_each = Gather (field_table, history_fields)
  past_field = ReduceSum <keepdims = 0> (past_field_each, last)
  past = Add (past_item, past_field)
  weight = Add (history_rating, one)
  weighted = Mul (past, weight)
  placed = Mul (weighted, place)
  interest = ReduceSum <keepdims = 1> (placed, last)
  content = Add (item, field)
  taste = Mul (content, interest)
  known = Add (affinity_flat, facts)
  plain = Add (content, taste)
  logit = Add (plain, known)
  score = Sigmoid (logit)
}
"""
ADAPTOR = """
<ir_version: 10, opset_import: ["" : 18]>
adaptor (float[N,K] item_knowledge, float[M,K] user_knowledge) => (float[N,A] item_augmented, float[M,A] user_augmented)
{
  item_augmented = MatMul (item_knowledge, item_weight)
  user_augmented = MatMul (user_knowledge, user_weight)
}
"""


def register_version(
    registry: ModelRegistry,
    *,
    seed: int | None = None,
    promote: bool = False,
    knowledge: int = KNOWLEDGE,
    encoder: str = ENCODER,
    golden: bool = True,
    poison: Mapping[str, float] | None = None,
) -> str:
    """Register a small version, and promote it if asked; returns its name. `seed` defaults to the version.

    `knowledge` is the adaptor's input width, and `encoder` whose vectors it takes: see `of_encoder` where a
    real one is in the line. `poison` is added to tables of the exported halves by name, after the golden set was made
    of the right ones.
    """
    version = registry.next_version()
    registry.root.mkdir(parents=True, exist_ok=True)
    files = Path(tempfile.mkdtemp(dir=registry.root))
    seed = int(version) if seed is None else seed
    tables = weights(seed, knowledge)
    tables |= {name: tables[name] + np.float32(value) for name, value in (poison or {}).items()}
    if golden:
        golden_set(seed, knowledge).write(files)
    _write(
        SCORER, {name: tables[name] for name in ("item_table", "field_table", "place", "one")}, files / "scorer.onnx"
    )
    _write(ADAPTOR, {name: tables[name] for name in ("item_weight", "user_weight")}, files / "adaptor.onnx")
    vocabulary().write(files / "vocabulary.json")
    registry.register(manifest(version, knowledge, encoder), files)
    if promote:
        registry.promote(version)
    return version


def golden_set(seed: int, knowledge: int = KNOWLEDGE) -> GoldenSet:
    """Eight requests for six candidates and what the version made with `seed` must answer; five vectors a side."""
    inputs, tables = scorer_inputs(6, batch=8), weights(seed, knowledge)
    vectors = np.random.default_rng(1).normal(0, 0.3, (5, knowledge)).astype(np.float32)
    adapted = {subject: vectors @ tables[f"{subject}_weight"] for subject in ("item", "user")}
    return GoldenSet(inputs, expected_scores(seed, inputs), {"item": vectors, "user": vectors}, adapted)


def vocabulary() -> Vocabulary:
    """The vocabulary of every such version."""
    return Vocabulary(ITEM_IDS, FIELDS)


def of_encoder(name: str = DEFAULT_ENCODER) -> dict[str, Any]:
    """`knowledge` and `encoder` of a version for an encoder; the embedding service has the default one by itself."""
    facts = json.loads((exported_encoder(name) / "encoder.json").read_text(encoding="utf-8"))
    return {"knowledge": facts["dimension"], "encoder": facts["id"]}


def manifest(version: str, knowledge: int = KNOWLEDGE, encoder: str = ENCODER) -> Manifest:
    """The manifest of such a version."""
    return Manifest(
        version=version,
        scenario="movies",
        backbone="linear",
        created_time=datetime.now(UTC),
        encoder=encoder,
        knowledge_dimension=knowledge,
        augmented_dimension=AUGMENTED,
        history_length=HISTORY,
        item_fields=list(FIELDS),
        metrics={"auc": 0.5},
        data_hash="0" * 64,
        file_hashes={},
    )


def bind(registry: ModelRegistry, version: str) -> None:
    """Write the hashes of a version's files into its manifest, as training does."""
    folder, known = registry.folder(version), registry.manifest(version)
    hashes = {name: file_hash(folder / name) for name in ("adaptor.onnx", "scorer.onnx")}
    (folder / "manifest.json").write_text(known.model_copy(update={"file_hashes": hashes}).written(), encoding="utf-8")


def add_gates(registry: ModelRegistry, version: str) -> None:
    """Make a version's adaptor tell how it mixes three experts a side, as those do that are exported by training."""
    path = registry.folder(version) / "adaptor.onnx"
    model, names = onnx.load(path), {}
    for side, axis in (("item", "N"), ("user", "M")):
        model.graph.node.extend(
            [
                onnx.helper.make_node("MatMul", [f"{side}_knowledge", f"{side}_gate"], [f"{side}_logits"]),
                onnx.helper.make_node("Softmax", [f"{side}_logits"], [f"{side}_experts"], axis=-1),
            ]
        )
        model.graph.initializer.append(numpy_helper.from_array(gate(side), f"{side}_gate"))
        output = onnx.helper.make_tensor_value_info(f"{side}_experts", onnx.TensorProto.FLOAT, [axis, 3])
        model.graph.output.append(output)
        names[f"{side}_experts"] = f"shared-1,{side}-1,{side}-2"
    onnx.helper.set_model_props(model, names)
    onnx.save(model, path)


def gate(side: str) -> npt.NDArray[np.float32]:
    """(K, 3) weights of the gate that `add_gates` adds."""
    return np.random.default_rng(len(side) + ord(side[0])).normal(0, 1, (KNOWLEDGE, 3)).astype(np.float32)


def weights(seed: int, knowledge: int = KNOWLEDGE) -> dict[str, npt.NDArray[np.float32]]:
    """The numbers of the version made with `seed`."""
    random = np.random.default_rng(seed)
    tables = {
        "item_table": random.normal(0, 0.3, ROWS),
        "field_table": random.normal(0, 0.3, ROWS),
        "item_weight": random.normal(0, 1, (knowledge, AUGMENTED)),
        "user_weight": random.normal(0, 1, (knowledge, AUGMENTED)),
        "place": np.linspace(1.0, 0.5, HISTORY),
        "one": np.ones(1),
    }
    tables["item_table"][PADDING] = tables["field_table"][PADDING] = 0
    return {name: np.asarray(table, dtype=np.float32) for name, table in tables.items()}


def expected_scores(seed: int, inputs: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.float32]:
    """(B, C) what the scorer made with `seed` must answer to inputs of services.model_registry.SCORER_INPUTS."""
    return np.asarray(1 / (1 + np.exp(-expected_logits(seed, inputs))), dtype=np.float32)


def expected_logits(seed: int, inputs: Mapping[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.float64]:
    """(B, C) the same before the sigmoid."""
    tables = weights(seed)
    item, field = tables["item_table"], tables["field_table"]
    content = item[inputs["item_id"]] + field[inputs["item_fields"]].sum(-1)
    past = item[inputs["history_item_id"]] + field[inputs["history_fields"]].sum(-1)
    interest = (past * (inputs["history_rating"] + 1) * tables["place"]).sum(-1, keepdims=True)
    known = inputs["item_augmented"] @ inputs["user_augmented"][..., None]
    return np.asarray(content * (1 + interest) + known[..., 0] + inputs["item_augmented"].sum(-1))


def scorer_inputs(candidates: int, batch: int = 1, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """Random valid inputs of such a scorer."""
    random = np.random.default_rng(seed)

    def index(*shape: int) -> npt.NDArray[np.int64]:
        return random.integers(0, 5, shape)

    def number(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, 0.5, shape).astype(np.float32)

    return {
        "item_id": random.integers(0, ROWS, (batch, candidates)),
        "item_fields": index(batch, candidates, len(FIELDS)),
        "item_augmented": number(batch, candidates, AUGMENTED),
        "history_item_id": index(batch, HISTORY),
        "history_fields": index(batch, HISTORY, len(FIELDS)),
        "history_rating": random.integers(0, 6, (batch, HISTORY)).astype(np.float32),
        "user_augmented": number(batch, AUGMENTED),
    }


def _write(text: str, initializers: Mapping[str, npt.NDArray[np.float32]], path: Path) -> None:
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in initializers.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)


def field_index(field: str, value: str) -> int:
    """The index of a field's value in such a version's vocabulary."""
    position = list(FIELDS).index(field)
    return int(vocabulary().field_indices([value if name == field else "" for name in FIELDS])[position])


def augmented(seed: int, subject: str, vectors: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
    """(N, A) what the adaptor made with `seed` must answer."""
    return np.asarray(vectors, dtype=np.float32) @ weights(seed)[f"{subject}_weight"]
