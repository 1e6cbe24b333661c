"""Small versions of kinds unictr and unictr-student of the registry's exact contract, and what they must compute.

The language model looks bytes up in a random table; a network weighs the mean of its states over the tokens that the
mask lets through. So a word, a mask or a network that is not the right one changes a score. The student is the scorer
of tests.model_versions with an input more, which adds a number for each scenario.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, parser
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from services.ctr.uni_ctr.prompt_encoder import PromptEncoder
from services.ctr.uni_ctr.prompts import PromptFormat, PromptItem, PromptMode
from services.model_registry import Manifest, ModelRegistry, SequenceGolden
from services.model_registry.unictr_files import (
    GENERAL,
    LANGUAGE_MODEL_FILE,
    PROMPTS_FILE,
    TOKENIZER_FILE,
    network_file,
    networks_of,
)
from tests import model_versions

WIDTH, TOKENS, HISTORY = 8, 400, 2
PADDING = "[PAD]"
VOCABULARY = [PADDING, *sorted(pre_tokenizers.ByteLevel.alphabet())]
LANGUAGE_MODEL = """
<ir_version: 10, opset_import: ["" : 18]>
language_model (int64[B,T] input_ids, int64[B,T] attention_mask) => (float[B,S,T,D] states)
{
  axis = Constant <value_ints = [1]> ()
  embedded = Gather (table, input_ids)
  first = Unsqueeze (embedded, axis)
  twice = Add (first, first)
  states = Concat <axis = 1> (first, twice)
}
"""
NETWORK = """
<ir_version: 10, opset_import: ["" : 18]>
network (float[B,S,T,8] states, int64[B,T] attention_mask) => (float[B] logits)
{
  last = Constant <value_ints = [-1]> ()
  token = Constant <value_ints = [1]> ()
  mask = Cast <to = 1> (attention_mask)
  mask_wide = Unsqueeze (mask, last)
  final_index = Constant <value_int = 1> ()
  final = Gather <axis = 1> (states, final_index)
  seen = Mul (final, mask_wide)
  summed = ReduceSum <keepdims = 0> (seen, token)
  count = ReduceSum <keepdims = 1> (mask, token)
  mean = Div (summed, count)
  weighed = MatMul (mean, weight)
  flat = Squeeze (weighed, last)
  logits = Add (flat, bias)
}
"""
STUDENT_END = """
  slot = Add (domain, one_slot)
  own = Gather (domain_table, slot)
  own_wide = Unsqueeze (own, last)
  with_domain = Add (logit, own_wide)
  score = Sigmoid (with_domain)
"""


def register_unictr(
    registry: ModelRegistry,
    scenarios: Sequence[str] = ("movies", "books"),
    *,
    seed: int | None = None,
    promote: bool = False,
    golden: bool = True,
    mode: PromptMode = "full",
    poison: str = "",
) -> str:
    """Register a small version, and promote it if asked; returns its name. `seed` defaults to the version.

    `poison` is a network whose weights are changed after the golden sets were made of the right ones.
    """
    version = registry.next_version()
    seed = int(version) if seed is None else seed
    made = manifest(version, scenarios)
    files = _scratch(registry)
    tokenizer().save(str(files / TOKENIZER_FILE))
    (files / PROMPTS_FILE).write_text(prompt_format(scenarios, mode).to_json(), encoding="utf-8")
    _write(LANGUAGE_MODEL, {"table": table(seed)}, files / LANGUAGE_MODEL_FILE)
    for name in networks_of(made):
        if golden:
            golden_sequences(seed, name).write(files, name)
        weight, bias = head(seed, name)
        worse = weight + np.float32(name == poison)
        _write(NETWORK, {"weight": worse, "bias": bias}, files / network_file(name))
    registry.register(made, files)
    if promote:
        registry.promote(version)
    return version


def manifest(version: str, scenarios: Sequence[str]) -> Manifest:
    """The manifest of such a version."""
    base = model_versions.manifest(version)
    return Manifest(
        version=version,
        kind="unictr",
        scenarios=list(scenarios),
        backbone="bytes",
        created_time=base.created_time,
        history_length=HISTORY,
        metrics={"auc": 0.5},
        data_hash=base.data_hash,
        file_hashes={},
    )


def prompt_format(scenarios: Sequence[str], mode: PromptMode = "full") -> PromptFormat:
    """How such a version writes prompts."""
    texts = {name: f"the scenario of {name}" for name in scenarios}
    return PromptFormat(mode, TOKENS, HISTORY, ("genre", "decade"), texts)


def tokenizer() -> Tokenizer:
    """One token a byte."""
    made = Tokenizer(models.BPE({word: place for place, word in enumerate(VOCABULARY)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def table(seed: int) -> npt.NDArray[np.float32]:
    """(V, D) what the language model looks up."""
    return np.random.default_rng([seed, 0]).normal(0, 2, (len(VOCABULARY), WIDTH)).astype(np.float32)


def head(seed: int, network: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A network's weight (D, 1) and bias (1,)."""
    random = np.random.default_rng([seed, *network.encode()])
    return random.normal(0, 1, (WIDTH, 1)).astype(np.float32), random.normal(0, 0.5, 1).astype(np.float32)


def expected_logits(
    seed: int, network: str, input_ids: npt.NDArray[np.int64], attention_mask: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """(B,) what a network of the version made with `seed` must answer to (B, T) sequences."""
    weight, bias = head(seed, network)
    states = 2 * table(seed)[input_ids] * attention_mask[..., None]
    mean = states.sum(axis=1) / attention_mask.sum(axis=1, keepdims=True)
    return np.asarray((mean @ weight)[:, 0] + bias, dtype=np.float32)


def expected_scores(
    seed: int,
    scenarios: Sequence[str],
    scenario: str,
    user_id: str,
    history: Sequence[PromptItem],
    candidates: Sequence[PromptItem],
    mode: PromptMode = "full",
) -> npt.NDArray[np.float32]:
    """(N,) the probabilities that candidates must get, each encoded by itself."""
    prompts, encoder = prompt_format(scenarios, mode).prompts(scenario), PromptEncoder(tokenizer(), TOKENS)
    network = scenario if scenario in scenarios else GENERAL
    encoded = [encoder.encode([prompts.parts(user_id, history, candidate)]) for candidate in candidates]
    logits = [expected_logits(seed, network, one.input_ids, one.attention_mask) for one in encoded]
    return np.asarray(1 / (1 + np.exp(-np.concatenate(logits))), dtype=np.float32)


def golden_sequences(seed: int, network: str) -> SequenceGolden:
    """Six sequences, the last of them half padding, and what the network must answer."""
    ids = np.random.default_rng(3).integers(1, len(VOCABULARY), (6, 12))
    mask = np.ones_like(ids)
    mask[-1, 6:] = 0
    return SequenceGolden(ids, mask, expected_logits(seed, network, ids, mask))


def register_student(
    registry: ModelRegistry, scenarios: Sequence[str] = ("movies", "books"), *, promote: bool = False
) -> str:
    """Register a small student, and promote it if asked; returns its name, which is its seed."""
    version = model_versions.register_version(registry)
    folder, seed = registry.folder(version), int(version)
    update = {"kind": "unictr-student", "scenario": "", "scenarios": list(scenarios)}
    made = Manifest.model_validate(registry.manifest(version).model_dump() | update)
    (folder / "manifest.json").write_text(made.written())
    text = model_versions.SCORER.replace("user_augmented)", "user_augmented, int64[B] domain)")
    text = text.replace("  score = Sigmoid (logit)", STUDENT_END)
    weights = model_versions.weights(seed)
    tables = {name: weights[name] for name in ("item_table", "field_table", "place", "one")}
    own = {"domain_table": domain_table(seed, len(scenarios)), "one_slot": np.ones(1, dtype=np.int64)}
    _write(text, {**tables, **own}, folder / "scorer.onnx")
    golden = model_versions.golden_set(seed)
    domain = np.arange(8) % (1 + len(scenarios)) - 1
    scores = student_scores(seed, len(scenarios), golden.inputs, domain)
    replace(golden, inputs={**golden.inputs, "domain": domain}, scores=scores).write(folder)
    if promote:
        registry.promote(version)
    return version


def student_scores(
    seed: int, scenarios: int, inputs: Mapping[str, npt.NDArray[np.generic]], domain: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """(B, C) what a student answers to the inputs of tests.model_versions and domains (B,)."""
    logit = model_versions.expected_logits(seed, inputs) + domain_table(seed, scenarios)[domain + 1][:, None]
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float32)


def domain_table(seed: int, scenarios: int) -> npt.NDArray[np.float32]:
    """(1 + S,) what a student adds to the logit: of an unknown scenario, then of each of its own."""
    return np.random.default_rng([seed, 7]).normal(0, 1, 1 + scenarios).astype(np.float32)


def _scratch(registry: ModelRegistry) -> Path:
    registry.root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=registry.root))


def _write(text: str, initializers: Mapping[str, npt.NDArray[np.generic]], path: Path) -> None:
    model = parser.parse_model(text)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in initializers.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)
