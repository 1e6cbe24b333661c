"""Golden sets of unictr versions: token sequences with the logits that each trained network gave.

One file for each network, so that a scenario more leaves the others' files as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.model_registry.file_hashes import file_hash
from services.model_registry.golden import Floats, VersionRefused
from services.model_registry.manifest import Manifest
from services.model_registry.unictr_files import networks_of

# Of probabilities. A language model's sums are long: kernels differ by some 1e-5, a lost mask or network by 1e-2.
SEQUENCE_TOLERANCE = 1e-3
FALLBACK_SHAPE = (3, 8)  # sequences and tokens of a check without a golden set
Indices = npt.NDArray[np.int64]
ScoreSequences = Callable[[str, Indices, Indices], Floats]  # network, (N, T) ids and mask, to (N,) logits


def golden_file(network: str) -> str:
    """The file name of a network's golden set."""
    return f"golden-{network}.npz"


@dataclass(frozen=True)
class SequenceGolden:
    """N sequences: `input_ids` and `attention_mask` (N, T) int64, and a network's `logits` (N,) float32."""

    input_ids: Indices
    attention_mask: Indices
    logits: Floats

    def write(self, folder: Path, network: str) -> str:
        """Write golden-NETWORK.npz and return its SHA-256."""
        path = folder / golden_file(network)
        np.savez_compressed(path, input_ids=self.input_ids, attention_mask=self.attention_mask, logits=self.logits)
        return file_hash(path)

    @classmethod
    def read(cls, folder: Path, network: str) -> SequenceGolden | None:
        """Read what `write` wrote; None where there is none. Raises VersionRefused for a file that cannot be read."""
        path = folder / golden_file(network)
        if not path.exists():
            return None
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return cls(file["input_ids"], file["attention_mask"], file["logits"])
        except Exception as error:  # zipfile, zlib and NumPy each have errors of their own
            raise VersionRefused(f"{path.name} cannot be read: {error!r}") from error


def verify_networks(score: ScoreSequences, manifest: Manifest, folder: Path) -> float | None:
    """Let each network answer its golden sequences; returns the largest difference of probabilities.

    None when no network has a golden set. Raises VersionRefused for a wrong shape, numbers that are not finite, or
    probabilities off by more than SEQUENCE_TOLERANCE.
    """
    found = [_verify(score, name, SequenceGolden.read(folder, name)) for name in networks_of(manifest)]
    differences = [difference for difference in found if difference is not None]
    return max(differences) if differences else None


def _verify(score: ScoreSequences, network: str, golden: SequenceGolden | None) -> float | None:
    ids = golden.input_ids if golden else np.zeros(FALLBACK_SHAPE, dtype=np.int64)
    mask = golden.attention_mask if golden else np.ones(FALLBACK_SHAPE, dtype=np.int64)
    logits = score(network, ids, mask)
    if logits.shape != ids.shape[:1]:
        raise VersionRefused(f"network {network!r}: logits have shape {logits.shape}, expected {ids.shape[:1]}")
    if not np.isfinite(logits).all():
        raise VersionRefused(f"network {network!r}: logits are NaN or infinite")
    if golden is None:
        return None
    difference = float(np.abs(_probability(logits) - _probability(golden.logits)).max(initial=0.0))
    if difference > SEQUENCE_TOLERANCE:
        raise VersionRefused(
            f"network {network!r}: probabilities are off by up to {difference:.4g} from the trained network's; "
            f"allowed: {SEQUENCE_TOLERANCE}"
        )
    return difference


def _probability(logits: Floats) -> npt.NDArray[np.float64]:
    probability: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return probability
