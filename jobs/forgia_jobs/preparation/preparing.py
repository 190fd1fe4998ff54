"""``python -m forgia_jobs.preparation.preparing ORDER.json``: make the prepared data of a request, or take it away.

Talks in JSON lines: ``{"done": 3, "of": 12, "what": …}`` on the way; at the end ``{"folder": …}``, or ``{"error": …}``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from forgia import store
from forgia.errors import ForgiaError, IntegrityError
from forgia.paths import HomePaths
from forgia_jobs.preparation import prepared, preparing_tasks, preparing_workers
from forgia_jobs.preparation.prepared import Manifest
from forgia_jobs.preparation.preparing_tasks import Order
from forgia_jobs.samples import loading, pooled

INTERRUPTED = 130
Tell = Callable[[Mapping[str, Any]], None]


def make(order: Order, workers: Executor, tell: Tell) -> Manifest:
    """Do all tasks, each as soon as what it needs is there; the result depends on their number in nothing.

    Raises: ForgiaError, OSError, pa.ArrowException — the first failure of a task; those that wait are given up.
    """
    role = order.role
    steps = _Steps(workers, tell, total=task_count(order))
    files = [
        (str(path), item.digest)
        for dataset in order.datasets()
        for path, item in zip(dataset.files(), dataset.manifest.files, strict=True)
    ]
    steps.all("verified", (steps.start(preparing_tasks.verify_file, path, known) for path, known in files))
    (arranged,) = steps.all("arranged", [steps.start(preparing_tasks.arrange, order)])
    numbers = range(len(preparing_tasks.numeric_features(role)))
    texts = range(len(role.columns.categorical))
    columns = [steps.start(preparing_tasks.measure, order, index, arranged=arranged) for index in numbers]
    columns += [steps.start(preparing_tasks.classify, order, index) for index in texts]
    found = steps.all("column", columns)
    widths = {"numeric": len(numbers), "categorical": len(texts)}
    stacked = steps.all(
        "matrix", (steps.start(preparing_tasks.stack, order, name, width) for name, width in widths.items())
    )
    return Manifest(
        made_of=prepared.made_of(role),
        features=preparing_tasks.joined(arranged, found[: len(numbers)], found[len(numbers) :]),
        owners=arranged.owners,
        left_out=arranged.left_out,
        notes=arranged.notes,
        test_groups=arranged.test_groups,
        arrays={**arranged.arrays, **dict(zip(widths, stacked, strict=True))},
    )


def task_count(order: Order) -> int:
    """Tasks of a preparation."""
    columns, files = order.role.columns, sum(len(dataset.manifest.files) for dataset in order.datasets())
    return files + 1 + len(columns.numeric) + len(columns.derived) + len(columns.categorical) + 2


class _Steps:
    """Tasks under way, and a word about each that has ended."""

    def __init__(self, workers: Executor, tell: Tell, *, total: int) -> None:
        self._workers, self._tell, self._total, self._done = workers, tell, total, 0

    def start(self, task: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
        """Give a task to a worker."""
        return self._workers.submit(task, *given, **named)

    def all(self, what: str, futures: Iterable[Future[Any]]) -> list[Any]:
        """The results in the order of the tasks."""
        waited = list(futures)
        try:
            for future in as_completed(waited):
                future.result()
                self._done += 1
                self._tell({"done": self._done, "of": self._total, "what": what})
        finally:
            for future in waited:
                future.cancel()
        return [future.result() for future in waited]


def prepare(value: Mapping[str, Any], tell: Tell) -> Mapping[str, Any]:
    """Make what an order asks, unless it is there and whole; what is damaged is made again.

    Raises: ForgiaError — the data cannot be prepared. OSError, pa.ArrowException — it cannot be read or written.
    """
    home, blank = HomePaths(Path(value["home"])), Order(data=value["data"], places=value["places"], folder="")
    loading.tabular_kind(blank.role)
    final = prepared.folder_of(home, blank.role)
    if value.get("remove"):
        return {"folder": str(final), "is_removed": prepared.remove(final)}
    if final.is_dir():
        try:
            return _told(final, prepared.verify(final), is_new=False)
        except IntegrityError as error:
            tell({"warning": f"{error.message}; it is made again"})
            prepared.remove(final)
    try:
        with store.building(final) as folder:
            built = build(Order(data=blank.data, places=blank.places, folder=str(folder)), value, tell)
    except FileExistsError:  # another process was faster, with the same bytes
        return _told(final, prepared.verify(final), is_new=False)
    return _told(final, built, is_new=True)


def build(order: Order, value: Mapping[str, Any], tell: Tell) -> Manifest:
    """Fill the folder of an order. Raises: as ``prepare``."""
    folder = Path(order.folder)
    work = store.private_directory(folder / "work")
    store.private_directory(order.scratch("any").parent)
    rows = pooled.row_count(order.datasets())
    count = value.get("workers") or preparing_workers.usual(value["scheduler"], rows=rows, tasks=task_count(order))
    wanted = preparing_workers.Wanted(
        scheduler=value["scheduler"],
        count=count,
        rows=rows,
        profile=value["profile"],
        resources=value["resources"],
    )
    tell({"workers": count})
    try:
        with preparing_workers.executor(wanted, work) as workers:
            found = make(order, workers, tell)
        store.write_json(folder / prepared.MANIFEST, found.to_json())
    finally:
        for place in (work, order.scratch("any").parent):
            shutil.rmtree(place, ignore_errors=True)  # a worker that ends late may still write there
    return found


def _told(folder: Path, manifest: Manifest, *, is_new: bool) -> dict[str, Any]:
    """What the caller hears of a folder."""
    size = sum(path.stat().st_size for path in folder.iterdir())
    rows = manifest.arrays["numeric"].shape[0]
    samples = manifest.arrays["target"].shape[0]
    features = asdict(manifest)["features"]
    counted = {"numeric": len(features["numeric"]), "categorical": len(features["categorical"])}
    return {"folder": str(folder), "is_new": is_new, "bytes": size, "rows": rows, "samples": samples, **counted}


def main(arguments: list[str]) -> int:
    """Do the order and return the exit code of its end."""
    value = store.read_json(Path(arguments[0]))
    os.umask(store.umask(Path(value["home"])))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        say(prepare(value, say))
    except ForgiaError as error:
        say({"error": error.message, "hint": error.hint, "code": error.exit_code})
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, pa.ArrowException, MemoryError) as error:
        say({"error": f"the data was not prepared: {error or type(error).__name__}", "code": 1})
        return 1
    return 0


def say(value: Mapping[str, Any]) -> None:
    """A line for whoever started this program."""
    print(json.dumps(value), flush=True)


def _interrupt(_number: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":  # workers import this module anew
    sys.exit(main(sys.argv[1:]))
