"""Started by torchrun: trains over the processes; the first one writes weights, validation AUCs, and random numbers.

The random numbers are what each process drew after a checkpoint, and drew again when it was restored.

Arguments: pickled (dataset, config), the feature directory, the file to write.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import torch
from torch import distributed, nn

from services.trainer.training.checkpoint import Checkpoint, TrainingState
from services.trainer.training.run import gather, train_network


def main() -> None:
    """Train."""
    request, directory, result = map(Path, sys.argv[1:])
    dataset, config = pickle.loads(request.read_bytes())
    distributed.init_process_group("gloo")
    network, epochs = train_network(gather(dataset, directory, config), config, augmented=True)
    drawn = [None, None]
    distributed.all_gather_object(drawn, _drawn_around(Checkpoint(result.with_suffix(".checkpoint"))))
    if distributed.get_rank() == 0:
        torch.save((network.state_dict(), [epoch.validation["auc"] for epoch in epochs], drawn), result)
    distributed.destroy_process_group()


def _drawn_around(checkpoint: Checkpoint) -> tuple[float, float]:
    torch.manual_seed(distributed.get_rank())
    network = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    state = TrainingState(best={})
    checkpoint.save(network, optimizer, schedule, state)
    distributed.barrier()
    first = float(torch.rand(1))
    checkpoint.restore(network, optimizer, schedule, state)
    return first, float(torch.rand(1))


if __name__ == "__main__":
    main()
