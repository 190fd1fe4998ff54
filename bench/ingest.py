"""Ingest against a bare copy: how fast and in how much memory ``forgia dataset add`` reads a large CSV.

    python bench/ingest.py [--size-mb 1000] [--rounds 1]

Each figure comes from a process of its own, so that peak memory is its own too. The bare copy streams
``pyarrow.csv.open_csv`` into ``ParquetWriter(zstd)`` and checks nothing; polars' streaming copy stands beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MINIMUM_RATIO = 0.80
MAXIMUM_MB = 1000
CHUNK_ROWS = 500_000


def generate(path: Path, size: int) -> None:
    """Machine data like AI4I's, with units in the headers, until the file has this many bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pcsv

    random, start = np.random.default_rng(0), 0
    with path.open("wb") as file:
        while file.tell() < size:
            rows = np.arange(start, start + CHUNK_ROWS)
            table = pa.table(
                {
                    "UDI": rows,
                    "Timestamp": pa.array(rows * 1_000_000 + 1_735_653_000_000_000)
                    .cast(pa.timestamp("us"))
                    .cast(pa.timestamp("s")),
                    "Product ID": np.char.add("M", random.integers(10_000, 60_000, CHUNK_ROWS).astype(str)),
                    "Type": np.array(["L", "M", "H"])[random.integers(0, 3, CHUNK_ROWS)],
                    "Air temperature [°C]": np.round(random.normal(27, 2, CHUNK_ROWS), 1),
                    "Process temperature [°C]": np.round(random.normal(37, 1.5, CHUNK_ROWS), 1),
                    "Rotational speed [rpm]": random.integers(1100, 2900, CHUNK_ROWS),
                    "Torque [Nm]": np.round(random.normal(40, 10, CHUNK_ROWS), 2),
                    "Vibration [mm/s]": np.round(random.gamma(2.0, 1.2, CHUNK_ROWS), 3),
                    "Tool wear [min]": random.integers(0, 250, CHUNK_ROWS),
                    "Machine failure": (random.random(CHUNK_ROWS) < 0.03).astype(int),
                }
            )
            pcsv.write_csv(
                table, file, pcsv.WriteOptions(include_header=start == 0, quoting_style="none", delimiter=",")
            )
            start += CHUNK_ROWS


def bare(source: Path, place: Path) -> None:
    """A streaming copy that looks at nothing."""
    import pyarrow.csv as pcsv
    import pyarrow.parquet as pq

    with (
        pcsv.open_csv(source) as reader,
        pq.ParquetWriter(place / "bare.parquet", reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


def polars(source: Path, place: Path) -> None:
    """Polars' streaming copy."""
    import polars as pl

    pl.scan_csv(source).sink_parquet(place / "polars.parquet", compression="zstd")


def forgia(source: Path, place: Path) -> None:
    """The whole import: digests, checks, units, profile, report."""
    from forgia.catalogue import Catalogue
    from forgia.dataset import ingest
    from forgia.paths import HomePaths
    from forgia.vocabulary import Vocabulary

    ingest.add(HomePaths(place), "bench", [source], owner="bench", vocabulary=Vocabulary.load(Catalogue()))


COPIES = {"bare pyarrow": bare, "forgia": forgia, "polars": polars}


def measure(name: str, source: Path) -> dict[str, float]:
    """Seconds and peak memory of one copy in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as place:
        argv = [sys.executable, __file__, "--copy", name, str(source), place]
        done = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment())
    return dict(json.loads(done.stdout.splitlines()[-1]))


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def copy(name: str, source: Path, place: Path) -> None:
    start = time.perf_counter()
    COPIES[name](source, place)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": seconds, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1000}))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--copy", nargs=3, metavar=("NAME", "SOURCE", "PLACE"))
    said = parser.parse_args()
    if said.copy:
        copy(said.copy[0], Path(said.copy[1]), Path(said.copy[2]))
        return 0
    with tempfile.TemporaryDirectory(prefix="forgia-bench-") as folder:
        source = Path(folder, "export.csv")
        generate(source, said.size_mb * 1_000_000)
        size = source.stat().st_size / 1e6
        best = {
            name: min((measure(name, source) for _ in range(said.rounds)), key=lambda m: m["seconds"])
            for name in COPIES
        }
    for name, found in best.items():
        pace = f"{found['seconds']:7.2f} s {size / found['seconds']:7.0f} MB/s"
        print(f"{name:14} {pace} {found['cpu_s']:7.2f} s CPU {found['peak_mb']:7.0f} MB peak")
    ratio = best["bare pyarrow"]["seconds"] / best["forgia"]["seconds"]
    peak = best["forgia"]["peak_mb"]
    bars = f"bars: {MINIMUM_RATIO:.0%}, {MAXIMUM_MB} MB"
    print(f"{size:.0f} MB: forgia at {ratio:.0%} of the bare copy, peak {peak:.0f} MB ({bars})")
    return 0 if ratio >= MINIMUM_RATIO and peak < MAXIMUM_MB else 1


if __name__ == "__main__":
    sys.exit(main())
