"""Model versions on disk. A version is one folder with files bound by a manifest, which names its kind:

    ROOT/versions/1/manifest.json  vocabulary.json  adaptor.onnx  scorer.onnx  golden.npz      kar, unictr-student
    ROOT/versions/2/manifest.json  language_model.onnx  network-NAME.onnx  network-general.onnx
                    golden-NAME.npz  tokenizer.json  prompts.json                              unictr
    ROOT/active.json               which kar version is active, which was before it, and what runs beside it
    ROOT/active_KIND.json          the same of each other kind

`adaptor.onnx`: inputs item_knowledge and user_knowledge, float32 (N, K) and (M, K), N or M may be 0;
outputs item_augmented (N, A) and user_augmented (M, A). Newer files also give item_experts (N, E) and user_experts
(M, E), the weights with which experts were mixed; metadata of the output's name holds the E names, joined by commas.
`scorer.onnx`: inputs SCORER_INPUTS, output SCORER_OUTPUT; B users, C candidates, L history, F item fields, A augmented;
a student's has the input DOMAIN too. `unictr_files.py` tells the files of a unictr version.
"""

from services.model_registry.golden import (
    GOLDEN_FILE,
    GoldenSet,
    VersionRefused,
    blank_inputs,
    check_augmented,
    verify_adaptor,
    verify_files,
    verify_scorer,
)
from services.model_registry.manifest import (
    DOMAIN,
    NO_DOMAIN,
    SCORER_INPUTS,
    SCORER_KINDS,
    SCORER_OUTPUT,
    Manifest,
    ScorerKind,
    scorer_inputs_of,
)
from services.model_registry.registry import ADAPTED_KINDS, PADDING, UNKNOWN, ModelRegistry, NoSuchVersion, Vocabulary
from services.model_registry.sequence_golden import SequenceGolden, verify_networks
from services.model_registry.traffic import Kind, OtherCandidate, Share, Traffic, VersionShare, position

__all__ = [
    "ADAPTED_KINDS",
    "DOMAIN",
    "GOLDEN_FILE",
    "NO_DOMAIN",
    "PADDING",
    "SCORER_INPUTS",
    "SCORER_KINDS",
    "SCORER_OUTPUT",
    "UNKNOWN",
    "GoldenSet",
    "Kind",
    "Manifest",
    "ModelRegistry",
    "NoSuchVersion",
    "OtherCandidate",
    "ScorerKind",
    "SequenceGolden",
    "Share",
    "Traffic",
    "VersionRefused",
    "VersionShare",
    "Vocabulary",
    "blank_inputs",
    "check_augmented",
    "position",
    "scorer_inputs_of",
    "verify_adaptor",
    "verify_files",
    "verify_networks",
    "verify_scorer",
]
