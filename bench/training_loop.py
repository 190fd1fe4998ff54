"""What forgia's training loop costs over a bare torch loop: same network, same tensors, same order, same process.

    python bench/training_loop.py [--rows 10000] [--steps 150] [--repeats 5] [--parameters 25000000]

Prints one JSON object; ``ratio`` is the median of the pairs' ratios (they alternate, so that a busy machine hits both),
with the one validation and the one checkpoint of so short a training; ``step_ratio`` is of the steps alone.
Without ``--parameters`` the network is the recipe's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("src", "jobs")]

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from forgia import features  # noqa: E402
from forgia_jobs import determinism  # noqa: E402
from forgia_jobs.checkpoints.checkpoint_making import Place  # noqa: E402
from forgia_jobs.judging import scores  # noqa: E402
from forgia_jobs.loop import TrainingLoop  # noqa: E402
from forgia_jobs.meeting.rendezvous import World  # noqa: E402
from forgia_jobs.progress import Progress  # noqa: E402
from forgia_jobs.request import Train  # noqa: E402
from forgia_jobs.samples import Samples, batches  # noqa: E402
from forgia_jobs.samples.rows import RowSource  # noqa: E402
from forgia_jobs.stopping import StopRequest  # noqa: E402
from forgia_jobs.strategies.ddp import DataParallel  # noqa: E402
from forgia_jobs.task import load_task, make_optimizer  # noqa: E402

RECIPE = ROOT / "recipes" / "predictive-maintenance"
BATCH = 256


class Wide:
    """Three layers of about so many weights in all."""

    def __init__(self, parameters: int) -> None:
        self.width = round((parameters / 2) ** 0.5)

    def model(self, spec: features.FeatureSpec, params: dict[str, Any]) -> torch.nn.Module:
        sizes = [len(spec.numeric), self.width, self.width, self.width, 1]
        layers = [part for a, b in itertools.pairwise(sizes) for part in (torch.nn.Linear(a, b), torch.nn.ReLU())]
        return torch.nn.Sequential(*layers[:-1])

    def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        answers = model(batch["numeric"]).squeeze(1)
        return torch.nn.functional.binary_cross_entropy_with_logits(answers, batch["target"], batch["weight"])

    def predict(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return torch.sigmoid(model(batch["numeric"]).squeeze(1))

    def metrics(self, predictions: Any, targets: Any) -> dict[str, float]:
        return scores.watched("probability", predictions, targets)


def machine_rows(rows: int) -> pa.Table:
    generator = np.random.default_rng(0)
    numbers = {f"sensor_{number}": generator.normal(size=rows) for number in range(5)}
    return pa.table(
        {**numbers, "grade": generator.choice(["L", "M", "H"], rows), "failed": generator.random(rows) < 0.03}
    )


def tensors(spec: features.FeatureSpec, table: pa.Table) -> dict[str, torch.Tensor]:
    matrices = {**spec.encode(table), "target": features.targets(table, "failed")}
    found = {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}
    return {**found, "weight": torch.ones(table.num_rows)}


def as_samples(data: dict[str, torch.Tensor]) -> Samples:
    source, device = RowSource(data["numeric"], data["categorical"]), torch.device("cpu")
    found = Samples(source, np.arange(len(data["target"])), data["target"].numpy(), device=device)
    found.weigh(data["weight"])
    return found


def bare(task: Any, model: torch.nn.Module, data: dict[str, torch.Tensor], *, train: Train, steps: int) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
    done, epoch, started = 0, 0, time.perf_counter()
    while done < steps:
        order = torch.randperm(len(data["target"]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            loss = task.loss(model, {name: column[rows] for name, column in data.items()})
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            done += 1
            if done == steps:
                break
        epoch += 1
    return time.perf_counter() - started


def ours(task: Any, model: torch.nn.Module, data: dict[str, torch.Tensor], *, train: Train) -> tuple[float, float]:
    """Seconds of the whole loop, and of its steps."""
    strategy = DataParallel(World(rank=0, size=1, device=torch.device("cpu")))
    strategy.setup(train)
    strategy.wrap(model, lambda network: make_optimizer(task, network, train))
    few = {name: column[:64] for name, column in data.items()}
    with tempfile.TemporaryDirectory() as folder:
        samples = [as_samples(part) for part in (data, few)]
        progress = Progress(Path(folder) / "metrics.jsonl", is_writer=True)
        place = Place(folder=Path(folder) / "checkpoints", identity="sha256:" + "0" * 64)
        loop = TrainingLoop(
            task, strategy, train=train, training=samples[0], validation=samples[1], progress=progress, place=place
        )
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # what a log is for
            loop.run(StopRequest())
        taken = time.perf_counter() - started
        progress.close()
    return taken, loop.meter.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--parameters", type=int)
    asked = parser.parse_args()
    determinism.set_up(level="D1", seed=0, threads=asked.threads)
    table = machine_rows(asked.rows)
    names = [name for name in table.column_names if name.startswith("sensor")]
    spec = features.fit(table, numeric=names, categorical=["grade"], target="failed")
    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text(encoding="utf-8"))
    params = {name: value["default"] for name, value in recipe["params"].items()}
    task: Any = Wide(asked.parameters) if asked.parameters else load_task(RECIPE, recipe["task"])
    data = tensors(spec, table)
    epochs = -(-asked.steps // batches.steps_per_epoch(asked.rows, BATCH))
    train = Train(
        epochs=epochs, max_steps=asked.steps, batch_size=BATCH, gradient_clip=1.0, checkpoint_every=200, seed=0
    )
    bare(task, task.model(spec, params), data, train=train, steps=10)  # first use of every operation
    pairs = [
        (
            bare(task, task.model(spec, params), data, train=train, steps=asked.steps),
            ours(task, task.model(spec, params), data, train=train),
        )
        for _ in range(asked.repeats)
    ]
    print(
        json.dumps(
            {
                "bench": "training_loop",
                "torch": torch.__version__,
                "parameters": sum(parameter.numel() for parameter in task.model(spec, params).parameters()),
                "steps": asked.steps,
                "bare_s": round(statistics.median(plain for plain, _ in pairs), 3),
                "forgia_s": round(statistics.median(whole for _, (whole, _) in pairs), 3),
                "ratio": round(statistics.median(whole / plain for plain, (whole, _) in pairs), 3),
                "step_ratio": round(statistics.median(steps / plain for plain, (_, steps) in pairs), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
