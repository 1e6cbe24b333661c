"""The files of a unictr version, and the inputs and outputs of its ONNX files.

`language_model.onnx`: SEQUENCE_INPUTS to STATES; B sequences, T tokens, F states of which the last is the last layer's,
D width. `network-NAME.onnx`, one for each scenario that it was trained for, and `network-general.onnx` for all others:
STATES and the attention mask to LOGITS. A scenario more is one file more, all others stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from services.model_registry.manifest import Manifest

LANGUAGE_MODEL_FILE, TOKENIZER_FILE, PROMPTS_FILE = "language_model.onnx", "tokenizer.json", "prompts.json"
GENERAL = "general"
INPUT_IDS, ATTENTION_MASK = "input_ids", "attention_mask"  # int64 (B, T); the mask is 1 for tokens, 0 for padding
SEQUENCE_INPUTS = (INPUT_IDS, ATTENTION_MASK)
STATES = "states"  # float32 (B, F, T, D)
LOGITS = "logits"  # float32 (B,)


def networks_of(manifest: Manifest) -> list[str]:
    """The names of its networks: its scenarios', then GENERAL."""
    return [*manifest.scenarios, GENERAL]


def network_file(name: str) -> str:
    """The file name of a network."""
    return f"network-{name}.onnx"


def network_of(manifest: Manifest, scenario: str) -> str:
    """The name of the network that ranks a scenario: its own, or GENERAL."""
    return scenario if scenario in manifest.scenarios else GENERAL


def missing_files(manifest: Manifest, folder: Path) -> list[str]:
    """The names of files that such a version needs and the folder lacks."""
    networks = [network_file(name) for name in networks_of(manifest)]
    names = [LANGUAGE_MODEL_FILE, TOKENIZER_FILE, PROMPTS_FILE, *networks]
    return [name for name in names if not (folder / name).exists()]
