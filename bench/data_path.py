"""How fast batches come, from memory-mapped tables and windows, beside torch's DataLoader and tensors in memory; and
what making the mapped files costs, with one worker of Dask's, with two, and beside polars.

    python bench/data_path.py [--rows 200000] [--prepare-rows 1000000] [--repeats 5]

Prints one JSON object. Ratios are medians over turns in which all ways alternate, so that a busy machine hits all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("src", "jobs")]

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from forgia import digest  # noqa: E402
from forgia.dataset import dataset as datasets  # noqa: E402
from forgia.dataset.manifest import Column, DataFile, Manifest  # noqa: E402
from forgia_jobs import request  # noqa: E402
from forgia_jobs.preparation import prepared, preparing, preparing_tasks  # noqa: E402
from forgia_jobs.samples import batches, feed, loading  # noqa: E402

BATCH = 256
SENSORS = 16
LENGTH = 30
MACHINES = 50
CPU = torch.device("cpu")
Read = Callable[[Tensor], Any]


def machine_rows(folder: Path, rows: int) -> datasets.Dataset:
    drawn = np.random.default_rng(0)
    numbers = {f"sensor_{number}": drawn.normal(size=rows) for number in range(SENSORS)}
    table = pa.table(
        {
            **numbers,
            "grade": drawn.choice(["L", "M", "H"], rows),
            "machine": np.repeat([f"press-{number}" for number in range(MACHINES)], -(-rows // MACHINES))[:rows],
            "moment": np.arange(rows),
            "failed": drawn.random(rows) < 0.03,
        }
    )
    path = folder / "data" / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, compression="zstd", row_group_size=524_288)
    file = DataFile(path=f"data/{path.name}", digest=digest.of_file(path), size=path.stat().st_size, rows=rows)
    columns = tuple(Column(name=name, source=name) for name in table.column_names)
    manifest = Manifest(name="bench", version=1, owner="mill", created="", files=(file,), columns=columns, rows=rows)
    manifest.save(folder / "manifest.json")
    return datasets.Dataset.at(folder)


def order_of(dataset: datasets.Dataset, home: Path, samples: dict[str, Any]) -> dict[str, Any]:
    data = {
        "datasets": [{"name": "bench", "version": 1, "owner": "mill", "digest": dataset.digest}],
        "columns": {
            "numeric": [f"sensor_{number}" for number in range(SENSORS)],
            "categorical": ["grade"],
            "target": "failed",
            "group": "machine",
            "time": "moment",
        },
        "split": {"by": "group", "fractions": [0.8, 0.1, 0.1], "seed": 0},
        "samples": samples,
    }
    more = {"scheduler": "local", "profile": {}, "resources": {"walltime_s": 3600}, "remove": False}
    return {"data": {"m": data}, "places": {dataset.digest: str(dataset.paths.root)}, "home": str(home), **more}


def prepare(order: dict[str, Any], workers: int) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({**order, "workers": workers}, file)
        file.flush()
        argv = [sys.executable, "-m", "forgia_jobs.preparation.preparing", file.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])}
        done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def prepare_here(order: dict[str, Any], folder: Path) -> Path:
    """The same files without Dask."""
    asked = preparing_tasks.Order(data=order["data"], places=order["places"], folder=str(folder))
    asked.scratch("any").parent.mkdir(parents=True)
    with ThreadPoolExecutor(1) as worker:
        manifest = preparing.make(asked, worker, lambda _word: None)
    (folder / prepared.MANIFEST).write_text(json.dumps(manifest.to_json()))
    return folder


class RowByRow(Dataset[dict[str, Tensor]]):
    """What most people write: a sample at a time, put together by torch."""

    def __init__(self, tensors: dict[str, Tensor], ends: Tensor, length: int) -> None:
        self.tensors, self.ends, self.length = tensors, ends, length

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        end, tensors = int(self.ends[place]), self.tensors
        numeric = tensors["numeric"]
        seen = numeric[end] if self.length == 1 else numeric[end - self.length + 1 : end + 1]
        return {
            "numeric": seen,
            "categorical": tensors["categorical"][end],
            "target": tensors["target"][place],
            "weight": tensors["weight"][place],
        }


def rate(read: Read, chosen: list[Tensor]) -> float:
    """Samples a second."""
    began = time.perf_counter()
    for rows in chosen:
        read(rows)
    return sum(map(len, chosen)) / (time.perf_counter() - began)


def loader_rate(dataset: RowByRow, chosen: list[Tensor], *, workers: int) -> float:
    sampler = [rows.tolist() for rows in chosen]
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers)
    began = time.perf_counter()
    for _ in loader:
        pass
    return sum(map(len, chosen)) / (time.perf_counter() - began)


def reading(dataset: datasets.Dataset, home: Path, samples: dict[str, Any], *, repeats: int) -> dict[str, float]:
    """Samples a second of each way, over the shuffled training part."""
    order = order_of(dataset, home, samples)
    role, length = request.role_of(order["data"]), int(samples.get("length", 1))
    folder = prepare_here(order, home / samples["kind"])
    ours = loading.load(role, [dataset], ready=folder).samples("train", device=CPU)
    memory = loading.load(role, [dataset])
    plain = memory.samples("train", device=CPU)
    everything = torch.arange(len(plain))
    held = {name: tensor.clone() for name, tensor in plain.batch(everything).items()}
    source: Any = memory.source
    positions = torch.from_numpy(memory.split.train)
    ends = positions if length == 1 else source.ends[positions]
    rows = RowByRow({**held, "numeric": source.numeric, "categorical": source.categorical}, ends, length)
    shuffled = batches.Shuffled(len(plain), batch_size=BATCH, seed=0)
    whole = [shuffled.rows(0, step) for step in range(min(len(plain) // BATCH, 150))]
    few = whole[:20]
    ways: dict[str, Callable[[], float]] = {
        "forgia_mapped": lambda: rate(ours.batch, whole),
        "forgia_in_memory": lambda: rate(plain.batch, whole),
        "tensors_held": lambda: rate(lambda at: {name: held[name].index_select(0, at) for name in held}, whole),
        "loader_row_by_row": lambda: loader_rate(rows, few, workers=0),
        "loader_two_workers": lambda: loader_rate(rows, whole, workers=2),
    }
    for run in ways.values():
        run()
    turns = [{name: run() for name, run in ways.items()} for _ in range(repeats)]
    found = {f"{name}_per_s": statistics.median(turn[name] for turn in turns) for name in ways}
    best_loader = [max(turn["loader_row_by_row"], turn["loader_two_workers"]) for turn in turns]
    mapped = [turn["forgia_mapped"] for turn in turns]
    found["over_loader"] = statistics.median(ours / other for ours, other in zip(mapped, best_loader, strict=True))
    held_rates = [turn["tensors_held"] for turn in turns]
    found["of_tensors_held"] = statistics.median(ours / held for ours, held in zip(mapped, held_rates, strict=True))
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return round(time.perf_counter() - began, 3)


def with_polars(dataset: datasets.Dataset) -> None:
    """About the same for scale: statistics of each column, codes, one matrix; no split, no trees, nothing written."""
    frame = pl.scan_parquet(dataset.files()[0])
    names = [f"sensor_{number}" for number in range(SENSORS)]
    shares = np.linspace(0, 1, 49).tolist()
    statistics_of = [pl.col(name).quantile(share).alias(f"{name}_{share}") for name in names for share in shares]
    frame.select([pl.col(names).mean().name.suffix("_m"), pl.col(names).std().name.suffix("_s")]).collect()
    frame.select(statistics_of).collect()
    frame.select([pl.col(names).cast(pl.Float32)]).collect().to_numpy()
    frame.select(pl.col("grade").cast(pl.Categorical).to_physical()).collect()


def making(folder: Path, rows: int) -> dict[str, Any]:
    """Seconds to make the files, and to begin a training with them and without."""
    dataset, home = machine_rows(folder / "large", rows), folder / "large-home"
    order = order_of(dataset, home, {"kind": "rows"})
    role = request.role_of(order["data"])
    found: dict[str, Any] = {"rows": rows, "columns": SENSORS}
    for workers in (1, 2):
        prepared.remove(prepared.folder_of(_home(home), role))
        found[f"dask_{workers}_s"] = timed(lambda count=workers: prepare(order, count))
    found["largest_worker_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    ready = prepared.folder_of(_home(home), role)
    found["in_memory_s"] = timed(lambda: loading.load(role, [dataset]))
    found["mapped_s"] = timed(lambda: loading.load(role, [dataset], ready=ready))
    found["verify_s"] = timed(lambda: prepared.verify(ready))
    found["verify_parquet_s"] = timed(dataset.verify)
    found["polars_s"] = timed(lambda: with_polars(dataset))
    size = sum(path.stat().st_size for path in ready.iterdir())
    return {**found, "mib": round(size / 2**20, 1), "parquet_mib": round(dataset.files()[0].stat().st_size / 2**20, 1)}


def _home(folder: Path) -> Any:
    from forgia.paths import HomePaths

    return HomePaths(folder)


def reading_ahead(repeats: int) -> dict[str, float]:
    """A step as long as a read that needs no tensors: seconds with the thread over seconds without."""
    block, weights = os.urandom(3 << 20), torch.randn(400, 400)

    def read(_number: int) -> str:
        return hashlib.sha256(block).hexdigest()

    def run(is_ahead: bool) -> float:
        source = feed.Feed(read, is_ahead=is_ahead)
        began = time.perf_counter()
        for number in range(100):
            source.take(number, last=99)
            weights @ weights @ weights
        source.close()
        return time.perf_counter() - began

    costly = statistics.median(run(True) / run(False) for _ in range(repeats))
    idle = feed.Feed(lambda number: number, is_ahead=True)
    handing_s = timed(lambda: [idle.take(number, last=999) for number in range(1000)]) / 1000
    idle.close()
    return {"ratio": round(costly, 3), "handing_over_us": round(handing_s * 1e6, 1)}


def ordering(rows: int) -> dict[str, float]:
    """Nanoseconds a sample of an epoch's order, as a list and worked out where it is looked at."""
    listed = timed(lambda: torch.randperm(rows, generator=torch.Generator().manual_seed(0)))
    walked, looked_at = batches.Permutation(rows, seed=0), 1 << 20
    part = timed(lambda: [walked[start : start + BATCH] for start in range(0, looked_at, BATCH)])
    each = {"list_ns": listed / rows, "worked_out_ns": part / looked_at}
    return {"rows": rows, **{name: round(value * 1e9, 1) for name, value in each.items()}, "list_s": listed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--prepare-rows", type=int, default=1_000_000)
    parser.add_argument("--order-rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--without-dask", action="store_true", help="leave the part out that makes files")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="forgia-bench-") as place:
        folder = Path(place)
        dataset = machine_rows(folder / "small", asked.rows)
        windows = {"kind": "windows", "length": LENGTH, "stride": 1, "horizon": 0}
        found = {
            "bench": "data_path",
            "torch": torch.__version__,
            "batch": BATCH,
            "load": os.getloadavg()[0],
            "tables": reading(dataset, folder / "home", {"kind": "rows"}, repeats=asked.repeats),
            "windows": reading(dataset, folder / "home", windows, repeats=asked.repeats),
            "prepare": None if asked.without_dask else making(folder, asked.prepare_rows),
            "reading_ahead": reading_ahead(asked.repeats),
            "order": ordering(asked.order_rows),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
