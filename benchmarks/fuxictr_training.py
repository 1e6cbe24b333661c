"""FuxiCTR's side of benchmarks/training.py; runs in FuxiCTR's own environment and imports nothing of ours.

Arguments: the folder with part_{training,validation,test}.npz and sizes.json, the model, epochs, threads, batch size,
worker processes of the data loader. Prints one JSON document.

DIN, DCN V2 and DeepFM are put together from FuxiCTR's own layers on its BaseModel, with the sizes of Loreline's
configs, and are fed by its NPZ loader.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, DIN_Attention, FeatureEmbedding, InnerProductInteraction, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import nn

EMBEDDING, DEEP = 32, [200, 80]


class Network(BaseModel):
    """What the three share: embedding, optimiser, loss, and the probability of a logit."""

    def __init__(self, feature_map: FeatureMap, folder: str) -> None:
        super().__init__(feature_map, "model", gpu=-1, verbose=0, model_root=folder, metrics=["AUC", "logloss"])
        self.embedding_layer = FeatureEmbedding(feature_map, EMBEDDING)

    def finish(self) -> None:
        """Set the optimiser up once all layers are there."""
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """FuxiCTR's contract."""
        return {"y_pred": torch.sigmoid(self.logit(self.get_inputs(inputs)))}


class DIN(Network):
    """Attention MLP 32-16 with Dice, without softmax; MLP 200-80."""

    def __init__(self, feature_map: FeatureMap, folder: str) -> None:
        super().__init__(feature_map, folder)
        names = list(feature_map.features)
        self.present = [name for name in names if not name.startswith("history_")]
        self.past = [name for name in names if name.startswith("history_")]
        width = EMBEDDING * len(self.present)
        self.map = nn.Linear(EMBEDDING * len(self.past), width)
        self.attention = DIN_Attention(width, [32, 16], hidden_activations="Dice", use_softmax=False)
        self.mlp = MLP_Block(2 * width, hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1)."""
        embedded = self.embedding_layer.embedding_layer(inputs)
        item = torch.cat([embedded[name] for name in self.present], dim=-1)
        history = self.map(torch.cat([embedded[name] for name in self.past], dim=-1))
        interest = self.attention(item, history, (inputs["history_item"] > 0).float())
        return self.mlp(torch.cat([interest, item], dim=-1))


class DCNv2(Network):
    """3 full cross layers beside an MLP 200-80, and an MLP 200-80 over both."""

    def __init__(self, feature_map: FeatureMap, folder: str) -> None:
        super().__init__(feature_map, folder)
        width = EMBEDDING * feature_map.num_fields
        self.cross = CrossNetV2(width, 3)
        self.deep = MLP_Block(width, hidden_units=DEEP)
        self.mlp = MLP_Block(width + DEEP[-1], hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1)."""
        fields = self.embedding_layer(inputs, flatten_emb=True)
        return self.mlp(torch.cat([self.cross(fields), self.deep(fields)], dim=-1))


class DeepFM(Network):
    """A linear term, a factorisation machine, and an MLP 200-80."""

    def __init__(self, feature_map: FeatureMap, folder: str) -> None:
        super().__init__(feature_map, folder)
        width = EMBEDDING * feature_map.num_fields
        self.linear = nn.Linear(width, 1)
        self.pairs = InnerProductInteraction(feature_map.num_fields, output="product_sum")
        self.deep = MLP_Block(width, hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1)."""
        fields = self.embedding_layer(inputs)
        flat = fields.flatten(start_dim=1)
        return self.linear(flat) + self.pairs(fields) + self.deep(flat)


MODELS = {"din": DIN, "dcnv2": DCNv2, "deepfm": DeepFM}


def feature_map_of(sizes: dict[str, int], length: int, pooled: bool) -> FeatureMap:
    """One embedding a field; the history's share those of the candidate, and are pooled to their mean if `pooled`."""
    found = FeatureMap("log", ".")
    found.labels, found.default_emb_dim = ["label"], EMBEDDING
    for name, count in sizes.items():
        spec = {"type": "categorical", "source": "", "padding_idx": 0, "vocab_size": count}
        if name.startswith("history_"):
            spec |= {"type": "sequence", "max_len": length}
            if pooled:
                spec["feature_encoder"] = "layers.MaskedAveragePooling()"
            if name.removeprefix("history_") in sizes:
                spec["share_embedding"] = name.removeprefix("history_")
        found.features[name] = spec
    found.features = OrderedDict(found.features)
    found.num_fields = found.get_num_fields()
    found.set_column_index()
    return found


def main() -> None:
    """Train, and print samples/s of each epoch, metrics of the test part, and what the loader alone takes."""
    folder, name, epochs, threads, batch_size, workers = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:7])
    torch.set_num_threads(threads)
    torch.manual_seed(1234)
    facts = json.loads((folder / "sizes.json").read_text())
    features = feature_map_of(facts["sizes"], facts["history_length"], pooled=name != "din")
    parts = {part: str(folder / f"part_{part}.npz") for part in ("training", "validation", "test")}
    training, validation, test = RankDataLoader(
        features, "both", parts["training"], parts["validation"], parts["test"], batch_size, True,
        data_format="npz", num_workers=workers,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        model = MODELS[name](features, scratch)
        model._eval_steps, model._total_steps, model._stop_training, model._max_gradient_norm = 10**9, 0, False, 10.0
        rates, best, kept = [], -1.0, {}
        for _ in range(epochs):
            began = time.perf_counter()
            model.train_epoch(training)
            rates.append(training.num_samples / (time.perf_counter() - began))
            found = model.evaluate(validation)["AUC"]
            if found > best:
                best, kept = found, {key: value.clone() for key, value in model.state_dict().items()}
        model.load_state_dict(kept)
        metrics = model.evaluate(test)
    began = time.perf_counter()
    for _ in training:
        pass
    loader = training.num_samples / (time.perf_counter() - began)
    print(json.dumps({"rates": rates, "auc": metrics["AUC"], "logloss": metrics["logloss"], "loader": loader}))


if __name__ == "__main__":
    main()
