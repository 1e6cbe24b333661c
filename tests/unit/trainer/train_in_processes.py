"""Started by torchrun: trains over the processes, and the first one writes weights and validation AUCs.

Arguments: pickled (dataset, config), the feature directory, the file to write.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
from torch import distributed

from services.trainer.training.run import gather, train_network


def main() -> None:
    """Train."""
    request, directory, result = map(Path, sys.argv[1:])
    dataset, config = pickle.loads(request.read_bytes())
    distributed.init_process_group("gloo")
    network, epochs = train_network(gather(dataset, directory, config), config, augmented=True)
    if distributed.get_rank() == 0:
        torch.save((network.state_dict(), [epoch.validation["auc"] for epoch in epochs]), result)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
