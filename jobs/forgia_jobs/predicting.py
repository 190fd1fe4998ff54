"""Predictions of a part, a share of it on each rank, so that no rank waits for another in the middle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.samples import Samples, batches
from forgia_jobs.task import TrainingTask

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def predict(task: TrainingTask, model: nn.Module, samples: Samples, *, world: World = ALONE) -> Tensor:
    """Predictions of this rank's share, without gradients and with dropout off.

    Every rank calls the network equally often, since a sharded one gathers its weights at each call; a rank that has
    less to do answers for a sample that is not its own and drops the answer.
    Shapes: (samples of the share, ...), on the CPU.
    """
    share = batches.slice_of_rank(len(samples), rank=world.rank, world_size=world.size)
    longest = -(-len(samples) // world.size)
    was_training = model.training
    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(share.start, share.start + longest, samples.rows_at_once):
            chosen = torch.arange(start, min(start + samples.rows_at_once, share.stop))
            asked = chosen if len(chosen) else torch.zeros(1, dtype=torch.int64)
            parts.append(task.predict(model, samples.inputs(asked))[: len(chosen)].float().cpu())
    model.train(was_training)
    return torch.cat(parts) if parts else torch.zeros(0)
