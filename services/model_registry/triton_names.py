"""The names under which Triton holds versions: render.py writes them, and ranking asks for them."""

from __future__ import annotations

from services.model_registry.manifest import ScorerKind

MODEL_NAMES: dict[ScorerKind, str] = {"kar": "scorer", "unictr-student": "student"}  # a folder for each version


def ensemble_name(version: str, network: str) -> str:
    """The ensemble of a unictr version's language model and one of its networks."""
    return f"unictr-{version}-{network}"


def language_model_name(version: str) -> str:
    """What all ensembles of a version begin with."""
    return f"unictr-{version}.language_model"


def network_name(version: str, network: str) -> str:
    """What the network's ensemble ends with."""
    return f"unictr-{version}.network-{network}"
