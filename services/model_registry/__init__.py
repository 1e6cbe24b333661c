"""Model versions on disk. A version is one folder with two halves bound by a manifest:

    ROOT/versions/1/manifest.json  vocabulary.json  adaptor.onnx  scorer.onnx
    ROOT/active.json               which version is active, and which was before it

`adaptor.onnx`: inputs item_knowledge and user_knowledge, float32 (N, K) and (M, K), N or M may be 0;
outputs item_augmented (N, A) and user_augmented (M, A).
`scorer.onnx`: inputs SCORER_INPUTS, output SCORER_OUTPUT; B users, C candidates, L history, F item fields, A augmented.
"""

from services.model_registry.registry import (
    PADDING,
    SCORER_INPUTS,
    SCORER_OUTPUT,
    UNKNOWN,
    Manifest,
    ModelRegistry,
    NoSuchVersion,
    Vocabulary,
)

__all__ = [
    "PADDING",
    "SCORER_INPUTS",
    "SCORER_OUTPUT",
    "UNKNOWN",
    "Manifest",
    "ModelRegistry",
    "NoSuchVersion",
    "Vocabulary",
]
