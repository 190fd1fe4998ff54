"""One rank that takes the first steps of the catalogue's recipes under one strategy after the other.

    python recipe_program.py FOLDER KIND,KIND,...     with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set

FOLDER holds a frozen run for each recipe. The leader prints what was found as one JSON object: recipe, kind, losses of
the global batches and predictions after them.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from forgia.paths import RunPaths
from forgia_jobs import determinism, integrity, predicting, request
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import DeepSpeed, Request
from forgia_jobs.samples import batches, loading
from forgia_jobs.samples.data import Data
from forgia_jobs.strategies import Share, make
from forgia_jobs.task import load_task, make_optimizer

STEPS = 3
PREDICTED = 32


def explore(paths: RunPaths, asked: Request, loaded: Data, kind: str, world: World) -> dict[str, Any]:
    """The first steps of one recipe under one strategy."""
    name, stage = ("deepspeed", int(kind[-1])) if kind.startswith("zero") else (kind, 0)
    train = replace(asked.train, strategy=name, deepspeed=DeepSpeed(stage=stage))
    determinism.seed_all(train.seed)
    task = load_task(paths.recipe, asked.recipe.task)
    strategy = make(name, world)
    strategy.setup(train)
    strategy.wrap(task.model(loaded.spec, asked.given), lambda network: make_optimizer(task, network, train))
    strategy.model.train()
    training, losses = loaded.samples("train", device=world.device), []
    order = batches.Shuffled(len(training), batch_size=train.batch_size, seed=train.seed)
    for step in range(STEPS):
        rows = order.rows(0, step)
        mine = rows[batches.slice_of_rank(len(rows), rank=world.rank, world_size=world.size)]
        losses.append(strategy.step(task, [Share(training.batch(mine), len(mine))], global_rows=len(rows)))
    validation = loaded.samples("validation", device=world.device)
    validation._positions, validation._target = validation._positions[:PREDICTED], validation._target[:PREDICTED]
    answers = strategy.gather_metrics(predicting.predict(task, strategy.model, validation, world=world))
    strategy.teardown()
    return {"losses": world.sum(torch.stack(losses)).tolist(), "answers": answers.tolist()}


def main(folder: Path, kinds: list[str]) -> None:
    world = World(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), device=torch.device("cpu"))
    determinism.set_up(level="D1", seed=0, threads=1)
    if world.size > 1:
        dist.init_process_group("gloo")
    found: dict[str, dict[str, Any]] = {}
    for place in sorted(folder.iterdir()):
        paths = RunPaths(place)
        asked = request.load(paths.request)
        loaded = loading.load(asked.role, integrity.open_datasets(paths, asked))
        found[asked.recipe.name] = {kind: explore(paths, asked, loaded, kind, world) for kind in kinds}
    if world.leads:
        print(json.dumps(found))
    if world.size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
