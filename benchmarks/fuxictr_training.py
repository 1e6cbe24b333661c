"""FuxiCTR's side of benchmarks/training.py; runs in FuxiCTR's own environment and imports nothing of ours.

DIN, DCN V2 and DeepFM are put together from FuxiCTR's own layers on its BaseModel, with the sizes of Loreline's
configs, and trained by its own `fit`: best epoch kept, learning rate cut when an epoch brings nothing. Samples come
from its NPZ loader, or, with `--feed memory`, from tensors that are indexed, which shows what the loader costs.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuxictr
import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import CrossNetV2, DIN_Attention, FeatureEmbedding, InnerProductInteraction, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor, nn

EMBEDDING, DEEP = 32, [200, 80]


class Network(BaseModel):
    """What the three share: embedding, optimiser, loss, the probability of a logit, and clocks around each epoch."""

    def __init__(self, feature_map: FeatureMap, folder: Path, epochs: int) -> None:
        super().__init__(
            feature_map, gpu=-1, early_stop_patience=epochs, verbose=0, model_root=str(folder),
            metrics=["AUC", "logloss"],
        )  # fmt: skip
        Path(self.model_dir).mkdir(parents=True)
        self.embedding_layer = FeatureEmbedding(feature_map, EMBEDDING)
        self.rates: list[float] = []
        self.cpu_rates: list[float] = []

    def finish(self) -> None:
        """Set the optimiser up once all layers are there."""
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """FuxiCTR's contract."""
        return {"y_pred": torch.sigmoid(self.logit(self.get_inputs(inputs)))}

    def train_epoch(self, data_generator: Any) -> None:
        """An epoch, with the evaluation at its end taken out of its time."""
        self.evaluation = np.zeros(2)
        began = _clocks()
        super().train_epoch(data_generator)
        seconds, cpu_seconds = _clocks() - began - self.evaluation
        self.rates.append(data_generator.num_samples / seconds)
        self.cpu_rates.append(data_generator.num_samples / cpu_seconds)

    def eval_step(self) -> None:
        """The evaluation, timed."""
        began = _clocks()
        super().eval_step()
        self.evaluation = _clocks() - began


class DIN(Network):
    """Attention MLP 32-16 with Dice, without softmax; MLP 200-80."""

    def __init__(self, feature_map: FeatureMap, folder: Path, epochs: int) -> None:
        super().__init__(feature_map, folder, epochs)
        names = list(feature_map.features)
        self.present = [name for name in names if not name.startswith("history_")]
        self.past = [name for name in names if name.startswith("history_")]
        width = EMBEDDING * len(self.present)
        self.history = nn.Linear(EMBEDDING * len(self.past), width)
        self.attention = DIN_Attention(width, [32, 16], hidden_activations="Dice", use_softmax=False)
        self.mlp = MLP_Block(2 * width, hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, 1)."""
        embedded = self.embedding_layer.embedding_layer(inputs)
        item = torch.cat([embedded[name] for name in self.present], dim=-1)
        history = self.history(torch.cat([embedded[name] for name in self.past], dim=-1))
        interest = self.attention(item, history, (inputs["history_item"] > 0).float())
        return self.mlp(torch.cat([interest, item], dim=-1))


class DCNv2(Network):
    """3 full cross layers beside an MLP 200-80, and, as ours, an MLP 200-80 over both."""

    def __init__(self, feature_map: FeatureMap, folder: Path, epochs: int) -> None:
        super().__init__(feature_map, folder, epochs)
        width = EMBEDDING * feature_map.num_fields
        self.cross = CrossNetV2(width, 3)
        self.deep = MLP_Block(width, hidden_units=DEEP)
        self.mlp = MLP_Block(width + DEEP[-1], hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, 1)."""
        fields = self.embedding_layer(inputs, flatten_emb=True)
        return self.mlp(torch.cat([self.cross(fields), self.deep(fields)], dim=-1))


class DeepFM(Network):
    """A linear term over the embeddings, a factorisation machine, and an MLP 200-80."""

    def __init__(self, feature_map: FeatureMap, folder: Path, epochs: int) -> None:
        super().__init__(feature_map, folder, epochs)
        width = EMBEDDING * feature_map.num_fields
        self.linear = nn.Linear(width, 1)
        self.pairs = InnerProductInteraction(feature_map.num_fields, output="product_sum")
        self.deep = MLP_Block(width, hidden_units=DEEP, output_dim=1)
        self.finish()

    def logit(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, 1)."""
        fields = self.embedding_layer(inputs)
        flat = fields.flatten(start_dim=1)
        return self.linear(flat) + self.pairs(fields) + self.deep(flat)


MODELS = {"din": DIN, "dcnv2": DCNv2, "deepfm": DeepFM}


class MemoryLoader:
    """In the place of FuxiCTR's loaders: int64 tensors in memory, a batch made by indexing them."""

    def __init__(
        self, feature_map: FeatureMap, data_path: str, batch_size: int = 32, shuffle: bool = False, **_: Any
    ) -> None:
        with np.load(data_path) as columns:
            names = [*feature_map.features, *feature_map.labels]
            self.columns = {name: torch.from_numpy(columns[name]) for name in names}
        self.batch_size, self.shuffle, self.num_blocks = batch_size, shuffle, 1
        self.num_samples = len(self.columns[feature_map.labels[0]])

    def __len__(self) -> int:
        return math.ceil(self.num_samples / self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = torch.randperm(self.num_samples) if self.shuffle else torch.arange(self.num_samples)
        for chosen in order.split(self.batch_size):
            yield {name: column[chosen] for name, column in self.columns.items()}


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
    found.num_fields = found.get_num_fields()
    found.set_column_index()
    return found


def main() -> None:
    """Train, and print what it came to as one line of JSON."""
    arguments = _arguments()
    logging.disable(logging.INFO)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    facts = json.loads((arguments.folder / "sizes.json").read_text())
    features = feature_map_of(facts["sizes"], facts["history_length"], pooled=arguments.model != "din")
    training, validation, test = _loaders(arguments, features)
    with tempfile.TemporaryDirectory() as scratch:
        model = MODELS[arguments.model](features, Path(scratch), arguments.epochs)
        model.fit(training, arguments.epochs, validation)
        found = model.evaluate(test)
    run = {
        "rates": model.rates,
        "cpu_rates": model.cpu_rates,
        "auc": found["AUC"],
        "logloss": found["logloss"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": f"FuxiCTR {fuxictr.__version__}, PyTorch {torch.__version__}",
    }
    print(json.dumps(run))


def _loaders(arguments: argparse.Namespace, features: FeatureMap) -> tuple[Any, Any, Any]:
    paths = [str(arguments.folder / f"{part}.npz") for part in ("training", "validation", "test")]
    own = {"data_loader": MemoryLoader} if arguments.feed == "memory" else {"num_workers": arguments.workers}
    return RankDataLoader(features, "both", *paths, batch_size=arguments.batch_size, shuffle=True, **own)


def _clocks() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds of the wall, and of all cores together for this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in used)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with training.npz, validation.npz, test.npz and sizes.json")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--feed", choices=["npz", "memory"], default="npz")
    for name in ("epochs", "seed", "threads", "batch-size", "workers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
