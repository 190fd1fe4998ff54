"""A language model under forgia's loop and strategies, beside a hand-written torch loop of the same network.

    python bench/document_assistant.py                 # on a GPU: bf16, 242 million parameters, DeepSpeed ZeRO-1 and -2
    python bench/document_assistant.py --tiny          # on a CPU: fp32, to see that it runs

Every way is a process of its own, and they take turns, so that a busy machine hits all of them. What is timed is from
the start of one step to that of a later one. Prints one JSON object; ``ratio`` is tokens a second over those of the
hand-written loop, the median over the turns. ``utilisation`` is the share of the device's dense peak that 6 operations
a parameter and token, and 12 a layer, width and place of context for attention, make.
Source of that count: Chowdhery et al.: PaLM: Scaling Language Modeling with Pathways (2022), appendix B; parameters
without the embedding, which multiplies nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("src", "jobs")]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from forgia.features import FeatureSpec  # noqa: E402
from forgia_jobs.checkpoints.checkpoint_making import Place  # noqa: E402
from forgia_jobs.loop import TrainingLoop  # noqa: E402
from forgia_jobs.meeting.rendezvous import World  # noqa: E402
from forgia_jobs.progress import Progress  # noqa: E402
from forgia_jobs.request import DeepSpeed, Train  # noqa: E402
from forgia_jobs.samples import Samples  # noqa: E402
from forgia_jobs.samples.tokens import TokenSource  # noqa: E402
from forgia_jobs.spending import meters  # noqa: E402
from forgia_jobs.stopping import StopRequest  # noqa: E402
from forgia_jobs.strategies import make  # noqa: E402
from forgia_jobs.task import load_task, make_optimizer  # noqa: E402
from forgia_jobs.text import tokenizing  # noqa: E402

RECIPE = ROOT / "recipes" / "document-assistant"
WAYS = ("torch", "ddp", "zero-1", "zero-2")
HELD_BACK = 4
"""Blocks of the validation part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What is trained, and how long."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    context: int
    batch: int
    warm_up: int
    steps: int
    """After those of the warm-up."""


LARGE = Size(width=1024, layers=14, heads=16, vocabulary=32_000, context=1024, batch=16, warm_up=10, steps=50)
TINY = Size(width=64, layers=2, heads=4, vocabulary=512, context=64, batch=4, warm_up=2, steps=8)


class Timed:
    """A task whose losses note when they were asked for."""

    def __init__(self, task: Any, device: torch.device, size: Size) -> None:
        self.task, self.device, self.size = task, device, size
        self.asked, self.at = 0, dict[int, float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def loss(self, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if self.asked in (self.size.warm_up, self.size.warm_up + self.size.steps):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.at[self.asked] = time.perf_counter()
        self.asked += 1
        found: torch.Tensor = self.task.loss(model, batch)
        return found

    @property
    def seconds(self) -> float:
        first, last = sorted(self.at)
        return self.at[last] - self.at[first]


def source_of(size: Size) -> TokenSource:
    blocks = size.batch * (size.warm_up + size.steps + 2) + HELD_BACK
    drawn = np.random.default_rng(0).integers(1, size.vocabulary, (blocks, size.context + 1), dtype=np.int32)
    places = np.broadcast_to(np.arange(size.context, dtype=np.int32), (blocks, size.context))
    layers = np.stack([drawn[:, :-1], places, drawn[:, 1:]])
    return TokenSource(layers, tokenizing.learn(["nothing"], vocabulary=300), {})


def parts(source: TokenSource, device: torch.device) -> list[Samples]:
    """The training and the validation part."""
    every = np.arange(source.layers.shape[1])
    counts = np.full(len(every), source.layers.shape[2], dtype=np.float32)
    placed = source.to(device)
    return [Samples(placed, of, counts[of], device=device) for of in (every[:-HELD_BACK], every[-HELD_BACK:])]


def by_hand(task: Timed, model: torch.nn.Module, training: Samples, *, train: Train) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay)
    order = torch.randperm(len(training))
    model.train()
    for start in range(0, (train.max_steps or 0) * train.batch_size, train.batch_size):
        batch = training.batch(order[start : start + train.batch_size])
        is_bf16 = train.precision == "bf16"
        with torch.autocast("cuda", dtype=torch.bfloat16) if is_bf16 else contextlib.nullcontext():
            loss = task.loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def under_forgia(
    task: Timed, model: torch.nn.Module, found: list[Samples], *, train: Train, device: torch.device
) -> None:
    strategy = make(train.strategy, World(rank=0, size=1, device=device))
    strategy.setup(train)
    strategy.wrap(model, lambda network: make_optimizer(task, network, train))
    with tempfile.TemporaryDirectory() as folder:
        progress = Progress(Path(folder) / "metrics.jsonl", is_writer=True)
        place = Place(folder=Path(folder) / "checkpoints", identity="sha256:" + "0" * 64)
        loop = TrainingLoop(
            task, strategy, train=train, training=found[0], validation=found[1], progress=progress, place=place
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.closing(loop):
            loop.run(StopRequest())
        progress.close()
    strategy.teardown()


def one(way: str, size: Size) -> dict[str, Any]:
    """Measure one way, in this process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "bf16" if device.type == "cuda" else "fp32"
    torch.manual_seed(0)
    samples = {"kind": "tokens", "context": size.context, "vocabulary": size.vocabulary, "begin": 0, "end": 0}
    spec = FeatureSpec(
        numeric=(), categorical=(), target="text", output="tokens", samples=samples, target_mean=float(size.context)
    )
    task = Timed(load_task(RECIPE, "task:DocumentAssistant"), device, size)
    shape = {"width": size.width, "layers": size.layers, "heads": size.heads}
    model = task.model(spec, {"base": "", "rank": 0, "apart": False, "merge": False, **shape}).to(device)
    stage = int(way[-1]) if way.startswith("zero") else 0
    train = Train(
        strategy="deepspeed" if stage else "ddp",
        deepspeed=DeepSpeed(stage=stage),
        max_steps=size.warm_up + size.steps + 1,
        batch_size=size.batch,
        learning_rate=3e-4,
        gradient_clip=1.0,
        precision=precision,
        checkpoint_every=10**6,
    )
    found = parts(source_of(size), device)
    if way == "torch":
        by_hand(task, model, found[0], train=train)
    else:
        under_forgia(task, model, found, train=train, device=device)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    speed = size.steps * size.batch * size.context / task.seconds
    flops = 6 * (parameters - size.vocabulary * size.width) + 12 * size.layers * size.width * size.context
    peak = meters.peak_flops(device, precision)
    return {
        "parameters": parameters,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": precision,
        "tokens_per_s": speed,
        "tflops": speed * flops / 1e12,
        "utilisation": speed * flops / peak if peak else None,
        "gpu_memory_gb": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
    }


def elsewhere(way: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    argv = [sys.executable, __file__, "--one", way, *(["--tiny"] if asked.tiny else [])]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    size = TINY if asked.tiny else LARGE
    if asked.one:
        print(json.dumps(one(asked.one, size)))
        return
    turns = [{way: elsewhere(way, asked) for way in asked.ways} for _ in range(asked.turns)]
    told: dict[str, Any] = {"bench": "document_assistant", "torch": torch.__version__, "size": asdict(size)}
    told |= {key: turns[0][asked.ways[0]][key] for key in ("parameters", "device", "precision")}
    told["ways"] = {}
    for way in asked.ways:
        of_way = [turn[way] for turn in turns]
        figures = {key: _median([item[key] for item in of_way]) for key in ("tokens_per_s", "tflops", "utilisation")}
        memory = of_way[0]["gpu_memory_gb"]
        ratios = [turn[way]["tokens_per_s"] / turn["torch"]["tokens_per_s"] for turn in turns if "torch" in turn]
        told["ways"][way] = {**figures, "gpu_memory_gb": memory, "ratio": _median(ratios)}
    print(json.dumps(told, indent=1))


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(f"{statistics.median(known):.4g}") if known else None


if __name__ == "__main__":
    main()
