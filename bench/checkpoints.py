"""How long a checkpoint holds the training up, written beside it and waited for; and how fast it is written and read.

    python bench/checkpoints.py [--parameters 25] [--repeats 9] [--threads 1] [--folder /tmp]

Real steps of a perceptron with AdamW go on between all measurements. Prints one JSON object: ``stall_share`` is the
median of the pairs' ratios (they alternate), ``slower_share`` what a checkpoint beside the training costs the steps
that go on meanwhile, in parts of the time of one that is waited for. ``torch.save`` writes the same tensors to the same
disk, with fsync but without digests.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("src", "jobs")]

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from forgia_jobs import determinism  # noqa: E402
from forgia_jobs.checkpoints import checkpoint, checkpoint_manifest  # noqa: E402
from forgia_jobs.checkpoints.checkpoint_making import Moment, Place  # noqa: E402
from forgia_jobs.checkpoints.checkpoint_reader import Reader  # noqa: E402
from forgia_jobs.checkpoints.checkpoint_writer import Writer  # noqa: E402
from forgia_jobs.meeting.rendezvous import World  # noqa: E402
from forgia_jobs.request import Train  # noqa: E402
from forgia_jobs.strategies import Share, Strategy  # noqa: E402
from forgia_jobs.strategies.ddp import DataParallel  # noqa: E402

IDENTITY = "sha256:" + "0" * 64
WIDTH, ROWS = 1024, 32


class Task:
    """Squares of differences."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return functional.mse_loss(model(batch["numeric"]), batch["target"])


class Training:
    """A network, its optimizer, and steps of it."""

    def __init__(self, millions: float) -> None:
        layers = max(round(millions * 1e6 / (WIDTH * WIDTH + WIDTH)), 1)
        model = nn.Sequential(*(layer for _ in range(layers) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())))
        self.world = World(rank=0, size=1, device=torch.device("cpu"))
        self.strategy: Strategy = DataParallel(self.world)
        self.strategy.setup(Train())
        self.strategy.wrap(model, lambda network: torch.optim.AdamW(network.parameters(), lr=1e-4))
        batch = {"numeric": torch.randn(ROWS, WIDTH), "target": torch.randn(ROWS, WIDTH)}
        self.share, self.number, self.halted_s = Share(batch, ROWS), 0, 0.0
        self.parameters = sum(parameter.numel() for parameter in model.parameters())

    def step(self) -> float:
        """One step; its seconds."""
        began = time.perf_counter()
        self.strategy.step(Task(), [self.share], global_rows=ROWS)  # type: ignore[arg-type]
        self.number += 1
        return time.perf_counter() - began

    def halt(self, *, began: bool) -> None:
        """Around the writer's wait in front of the optimizer's step."""
        self.halted_s += -time.perf_counter() if began else time.perf_counter()

    def moment(self) -> Moment:
        began = time.perf_counter()
        return Moment(step=self.number, cursor={"step": self.number}, state=self.strategy.state(), began=began)


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def beside(training: Training, writer: Writer) -> tuple[float, float, float]:
    """Seconds of the stall, of the whole checkpoint, and by which the steps meanwhile were slower."""
    usual = statistics.median(training.step() for _ in range(5))
    training.halted_s, began = 0.0, time.perf_counter()
    stall = seconds(lambda: writer.begin(training.moment()))
    steps = [training.step() for _ in iter(lambda: writer.is_busy, False)]
    whole = time.perf_counter() - began
    writer.finish()
    return stall + training.halted_s, whole, sum(steps) - usual * len(steps)


def waited_for(training: Training, writer: Writer) -> float:
    training.step()

    def save() -> None:
        writer.begin(training.moment())
        writer.finish()

    return seconds(save)


def torch_save(tensors: dict[str, Tensor], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(tensors, file)
        file.flush()
        os.fsync(file.fileno())


def read_all(place: Path) -> None:
    """As a resume does: every digest, then every tensor."""
    checkpoint_manifest.verify(place, identity=IDENTITY)
    reader = Reader(place)
    for name in reader.names():
        reader.whole(name)


def throughput(training: Training, writer: Writer, folder: Path, repeats: int) -> Iterator[tuple[str, float]]:
    """GB/s, by what is done; files are read from the page cache."""
    tensors = {piece.name: piece.tensor for piece in training.moment().state.pieces}
    size_gb = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e9
    other, taken = folder / "other.pt", list[dict[str, float]]()
    for _ in range(repeats):
        taken.append(
            {
                "write": waited_for(training, writer),
                "torch.save": seconds(lambda: torch_save(tensors, other)),
                "read": seconds(lambda: read_all(next(checkpoint.newest_first(writer.place.folder)))),
                "torch.load": seconds(lambda: torch.load(other, weights_only=True)),
            }
        )
    for name in taken[0]:
        yield name, size_gb / statistics.median(row[name] for row in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, default=25, help="millions")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk that is measured")
    asked = parser.parse_args()
    determinism.set_up(level="D1", seed=0, threads=asked.threads)
    training = Training(asked.parameters)
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        folder = Path(place)
        optimizer = training.strategy.optimizer
        optimizer.register_step_pre_hook(lambda *_: training.halt(began=True))
        writer = Writer(Place(folder=folder / "checkpoints", identity=IDENTITY), training.world, optimizer=optimizer)
        optimizer.register_step_pre_hook(lambda *_: training.halt(began=False))
        waited_for(training, writer)  # the first one takes the memory that the others have
        pairs = [(beside(training, writer), waited_for(training, writer)) for _ in range(asked.repeats)]
        rates = dict(throughput(training, writer, folder, asked.repeats))
        writer.close()
    print(
        json.dumps(
            {
                "bench": "checkpoints",
                "torch": torch.__version__,
                "parameters": training.parameters,
                "threads": asked.threads,
                "step_s": round(statistics.median(training.step() for _ in range(5)), 4),
                "stall_s": round(statistics.median(pair[0][0] for pair in pairs), 4),
                "beside_s": round(statistics.median(pair[0][1] for pair in pairs), 3),
                "waited_for_s": round(statistics.median(pair[1] for pair in pairs), 3),
                "stall_share": round(statistics.median(pair[0][0] / pair[1] for pair in pairs), 4),
                "slower_share": round(statistics.median(pair[0][2] / pair[1] for pair in pairs), 3),
                "gb_per_s": {name: round(rate, 2) for name, rate in rates.items()},
                "load": [round(value, 2) for value in os.getloadavg()],
            }
        )
    )


if __name__ == "__main__":
    main()
