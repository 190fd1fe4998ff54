"""One rank that takes one step of gradient descent, privately but without noise; the leader prints how far it moved.

python private_program.py      with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Privacy, Train
from forgia_jobs.samples import batches
from forgia_jobs.strategies import Share
from forgia_jobs.strategies.private import PrivateDataParallel

ROWS = 12


class Task:
    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return (model(batch["numeric"]) - batch["target"]).square().mean()


def main() -> None:
    world = World(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), device=torch.device("cpu"))
    if world.size > 1:
        dist.init_process_group("gloo")
    torch.manual_seed(0)
    strategy = PrivateDataParallel(world)
    strategy.setup(Train(privacy=Privacy(kind="dp", noise=0.0, clip=1e6), batch_size=ROWS))
    model = nn.Linear(4, 1)
    strategy.wrap(model, lambda network: torch.optim.SGD(network.parameters(), lr=1.0))
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    data = {"numeric": torch.randn(ROWS, 4), "target": torch.randn(ROWS, 1)}
    mine = batches.slice_of_rank(ROWS, rank=world.rank, world_size=world.size)
    share = Share({name: column[mine] for name, column in data.items()}, mine.stop - mine.start)
    strategy.step(Task(), [share], global_rows=ROWS)  # type: ignore[arg-type]
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    if world.leads:
        print(json.dumps(moved.tolist()))
    if world.size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
