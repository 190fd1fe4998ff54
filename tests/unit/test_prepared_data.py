"""Prepared data: the same bits as in memory, whoever made it, and nothing that is damaged is used."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from forgia import digest, store
from forgia.dataset.dataset import Dataset
from forgia.dataset.manifest import Column, DataFile, Manifest
from forgia.errors import ForgiaError, IntegrityError, NotFound, UserError
from forgia.splitting import PARTS
from forgia_jobs import request
from forgia_jobs.preparation import mapped, prepared, preparing, preparing_workers
from forgia_jobs.preparation.preparing_tasks import Order
from forgia_jobs.samples import hosting, loading, rows
from forgia_jobs.samples.data import Data

GROUP_ROWS = 37
ROWS_KIND = {"kind": "rows"}
WINDOWS_KIND = {"kind": "windows", "length": 5, "stride": 2, "horizon": 0}
BEGINNING_KIND = {"kind": "windows", "length": 5, "lead_in": True, "beginning": 4}


def firm(folder: Path, *, owner: str, rows: int, seed: int, whole_numbers: bool = False) -> Dataset:
    """A firm's table of many row groups in two files, its machines mixed and out of the order of time."""
    drawn = np.random.default_rng(seed)
    torque = drawn.normal(40, 10, rows)
    torque[::11] = np.nan
    kinds = np.array(["L", "M", "H", None], dtype=object)
    failed = [None if place % 13 == 0 else bool(torque[place] > 45) for place in range(rows)]
    table = pa.table(
        {
            "torque": pa.array(torque, from_pandas=True),
            "speed": pa.array(drawn.integers(900, 2000, rows) if whole_numbers else drawn.normal(1500, 90, rows)),
            "grade": pa.array(kinds[drawn.integers(0, 4, rows)]),
            "machine": pa.array([f"press-{number}" for number in drawn.integers(0, 8, rows)]),
            "moment": pa.array(drawn.permutation(rows)),
            "failed": pa.array(failed, pa.bool_()),
        }
    )
    table = table.drop_columns(["speed"]) if owner == "three" else table
    half, files = rows // 2, []
    (folder / "data").mkdir(parents=True)
    for number, part in enumerate((table[:half], table[half:])):
        path = folder / "data" / f"part-{number:05d}.parquet"
        pq.write_table(part, path, row_group_size=GROUP_ROWS)
        facts = {"digest": digest.of_file(path), "size": path.stat().st_size, "rows": part.num_rows}
        files.append(DataFile(path=f"data/{path.name}", **facts))
    Manifest(
        name=folder.name,
        version=1,
        owner=owner,
        created="2026-11-22T10:00:00Z",
        files=tuple(files),
        columns=tuple(Column(name=name, source=name) for name in table.column_names),
        rows=rows,
    ).save(folder / "manifest.json")
    return Dataset.at(folder)


@pytest.fixture
def datasets(tmp_path: Path) -> list[Dataset]:
    return [
        firm(tmp_path / "a", owner="two", rows=300, seed=1),
        firm(tmp_path / "b", owner="one", rows=200, seed=2, whole_numbers=True),
        firm(tmp_path / "c", owner="three", rows=150, seed=3),
    ]


def asked(datasets: list[Dataset], samples: dict[str, Any]) -> dict[str, Any]:
    """The key ``data`` of a request."""
    return {
        "machines": {
            "datasets": [{"name": i.manifest.name, "version": 1, "owner": "", "digest": i.digest} for i in datasets],
            "columns": {
                "numeric": ["torque", "speed"],
                "categorical": ["grade"],
                "target": "failed",
                "group": "machine",
                "time": "moment",
                "episodes_of": None,
                "derived": [{"name": "power", "operation": "product", "of": ["torque", "speed"]}],
            },
            "units": {"torque": "N*m"},
            "split": {"by": "group", "fractions": [0.6, 0.2, 0.2], "seed": 4},
            "samples": samples,
            "output": None,
            "quantiles": [],
        }
    }


def made(folder: Path, datasets: list[Dataset], samples: dict[str, Any], workers: Executor) -> Path:
    """A preparation without Dask: the same tasks."""
    order = Order(
        data=asked(datasets, samples), places={i.digest: str(i.paths.root) for i in datasets}, folder=str(folder)
    )
    store.private_directory(order.scratch("any").parent)
    heard: list[Any] = []
    with workers:
        manifest = preparing.make(order, workers, heard.append)
    assert [word["done"] for word in heard] == list(range(1, preparing.task_count(order) + 1))
    store.write_json(folder / prepared.MANIFEST, manifest.to_json())
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def assert_equal(one: Data, other: Data) -> None:
    assert one.spec == other.spec
    assert one.left_out == other.left_out
    assert (one.notes, one.test_groups) == (other.notes, other.test_groups)
    for part in PARTS:
        assert np.array_equal(one.split.part(part), other.split.part(part))
        samples = [found.samples(part, device=torch.device("cpu")) for found in (one, other)]
        chosen = torch.randperm(len(samples[0]), generator=torch.Generator().manual_seed(0))
        first, second = (found.batch(chosen) for found in samples)
        assert first.keys() == second.keys()
        for name in first:
            assert first[name].dtype == second[name].dtype
            assert torch.equal(first[name].nan_to_num(7.0), second[name].nan_to_num(7.0)), name
    assert np.array_equal(one.groups, other.groups)
    assert one.owners.tolist() == other.owners.tolist()


@pytest.mark.parametrize(
    "samples", [ROWS_KIND, WINDOWS_KIND, BEGINNING_KIND], ids=["rows", "windows", "from the beginning"]
)
def test_prepared_data_is_the_data_in_memory_bit_for_bit(
    tmp_path: Path, datasets: list[Dataset], samples: dict[str, Any]
) -> None:
    role = request.role_of(asked(datasets, samples))
    folder = made(tmp_path / "ready", datasets, samples, ThreadPoolExecutor(1))
    assert_equal(loading.load(role, datasets), loading.load(role, datasets, ready=folder))


@pytest.mark.parametrize("samples", [ROWS_KIND, WINDOWS_KIND], ids=["rows", "windows"])
def test_any_number_of_workers_writes_the_same_bytes(
    tmp_path: Path, datasets: list[Dataset], samples: dict[str, Any]
) -> None:
    found = [contents(made(tmp_path / str(count), datasets, samples, ThreadPoolExecutor(count))) for count in (1, 2, 3)]
    assert found[0] == found[1] == found[2]


def test_a_split_by_time_and_a_role_without_categories_are_prepared_too(
    tmp_path: Path, datasets: list[Dataset]
) -> None:
    value = asked(datasets[:2], ROWS_KIND)
    value["machines"]["split"]["by"] = "time"
    value["machines"]["columns"] |= {"categorical": [], "group": None}
    order = Order(data=value, places={i.digest: str(i.paths.root) for i in datasets}, folder=str(tmp_path / "ready"))
    store.private_directory(order.scratch("any").parent)
    with ThreadPoolExecutor(2) as workers:
        manifest = preparing.make(order, workers, lambda _word: None)
    store.write_json(tmp_path / "ready" / prepared.MANIFEST, manifest.to_json())
    role = request.role_of(value)
    assert_equal(loading.load(role, datasets[:2]), loading.load(role, datasets[:2], ready=tmp_path / "ready"))


def test_a_task_that_was_cut_short_is_done_again_without_a_trace(tmp_path: Path, datasets: list[Dataset]) -> None:
    class Clumsy(ThreadPoolExecutor):
        """Does every task twice, as after the death of a worker."""

        def submit(self, task: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
            def twice() -> Any:
                task(*given, **named)
                return task(*given, **named)

            return super().submit(twice)

    whole = made(tmp_path / "whole", datasets, WINDOWS_KIND, ThreadPoolExecutor(1))
    again = made(tmp_path / "again", datasets, WINDOWS_KIND, Clumsy(2))
    assert contents(whole) == contents(again)


@pytest.mark.parametrize("samples", [ROWS_KIND, WINDOWS_KIND], ids=["rows", "windows"])
def test_what_is_too_large_for_the_device_gives_the_same_batches_from_the_host(
    datasets: list[Dataset], samples: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    role, device = request.role_of(asked(datasets, samples)), torch.device("cpu")
    usual = loading.load(role, datasets).samples("train", device=device)
    monkeypatch.setattr(hosting, "SHARE_OF_HOST", 0.0)
    hosted = loading.load(role, datasets).samples("train", device=device)
    assert (usual.is_costly, hosted.is_costly) == (False, True)
    chosen = torch.tensor([3, 1, 2])
    one, other = usual.batch(chosen), hosted.batch(chosen)
    assert all(torch.equal(one[name].nan_to_num(7.0), other[name].nan_to_num(7.0)) for name in one)
    assert usual.rows_at_once == hosted.rows_at_once


def test_rows_that_are_too_many_to_be_held_twice_give_the_same_batches(
    datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, device = loading.load(request.role_of(asked(datasets, ROWS_KIND)), datasets), torch.device("cpu")
    copied = found.samples("train", device=device)
    monkeypatch.setattr(rows, "HELD_TWICE", 0)
    looked_up = found.samples("train", device=device)
    sources: list[Any] = [found.source, looked_up._source, copied._source]
    at = [source.numeric.data_ptr() for source in sources]
    assert at[0] == at[1] != at[2]
    chosen = torch.tensor([3, 1, 2])
    one, other = copied.batch(chosen), looked_up.batch(chosen)
    assert all(torch.equal(one[name].nan_to_num(7.0), other[name].nan_to_num(7.0)) for name in one)


def order_of(tmp_path: Path, datasets: list[Dataset], **more: Any) -> dict[str, Any]:
    return {
        "data": asked(datasets, ROWS_KIND),
        "places": {i.digest: str(i.paths.root) for i in datasets},
        "home": str(tmp_path / "home"),
        "scheduler": "local",
        "profile": {},
        "resources": {"walltime_s": 600},
        "workers": 1,
        **more,
    }


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No Dask: threads do the tasks; how many workers were asked for each time."""
    counts = []

    def executor(wanted: preparing_workers.Wanted, _folder: Path) -> Executor:
        counts.append(wanted.count)
        return ThreadPoolExecutor(wanted.count)

    monkeypatch.setattr(preparing_workers, "executor", executor)
    return counts


def test_what_is_prepared_is_found_verified_and_removed(
    tmp_path: Path, datasets: list[Dataset], in_threads: list[int]
) -> None:
    order = order_of(tmp_path, datasets)
    first = preparing.prepare(order, lambda _word: None)
    folder = Path(first["folder"])
    assert first["is_new"]
    assert first["rows"] == first["samples"] == 598
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.iterdir()]} == {0}
    assert {path.suffix for path in folder.iterdir()} == {".json", ".arrow"}
    assert not preparing.prepare(order, lambda _word: None)["is_new"]
    assert in_threads == [1]
    assert preparing.prepare({**order, "remove": True}, lambda _word: None)["is_removed"]
    assert not preparing.prepare({**order, "remove": True}, lambda _word: None)["is_removed"]
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest"])
def test_damaged_data_is_refused_and_made_again(
    tmp_path: Path, datasets: list[Dataset], in_threads: list[int], damage: str
) -> None:
    order = order_of(tmp_path, datasets)
    folder = Path(preparing.prepare(order, lambda _word: None)["folder"])
    before = contents(folder)
    victim = folder / ("manifest.json" if damage == "manifest" else "numeric.arrow")
    content = victim.read_bytes()
    spoilt = {"flip": content[:-90] + b"\x00\xff" + content[-88:], "cut": content[:-1], "manifest": b"{}"}
    victim.unlink() if damage == "gone" else victim.write_bytes(spoilt[damage])
    with pytest.raises(IntegrityError):
        prepared.verify(folder)
    heard: list[Any] = []
    assert preparing.prepare(order, heard.append)["is_new"]
    assert "it is made again" in heard[0]["warning"]
    assert contents(folder) == before


def test_two_at_once_end_with_one_whole_folder(tmp_path: Path, datasets: list[Dataset], in_threads: list[int]) -> None:
    order = order_of(tmp_path, datasets)
    meet = threading.Barrier(2)
    found: list[Any] = []

    def prepare() -> None:
        found.append(preparing.prepare(order, lambda word: meet.wait(60) if "workers" in word else None))

    both = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(120)
    assert sorted(word["is_new"] for word in found) == [False, True]
    folder = Path(found[0]["folder"])
    prepared.verify(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_dataset_that_is_not_what_it_was_is_not_prepared(
    tmp_path: Path, datasets: list[Dataset], in_threads: list[int]
) -> None:
    path = datasets[1].files()[1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"part-00001"):
        preparing.prepare(order_of(tmp_path, datasets), lambda _word: None)
    assert list((tmp_path / "home" / "prepared").iterdir()) == []


def test_data_that_cannot_be_split_is_refused_as_in_memory(
    tmp_path: Path, datasets: list[Dataset], in_threads: list[int]
) -> None:
    order = order_of(tmp_path, datasets)
    order["data"]["machines"]["columns"]["target"] = "torques"
    with pytest.raises(UserError, match="no dataset has the target torques"):
        preparing.prepare(order, lambda _word: None)


def test_kinds_that_are_read_as_they_are_say_so(tmp_path: Path, datasets: list[Dataset]) -> None:
    order = order_of(tmp_path, datasets)
    order["data"]["machines"]["samples"] = {"kind": "tokens", "context": 8}
    with pytest.raises(UserError, match="only rows and windows are prepared"):
        preparing.prepare(order, lambda _word: None)


def test_other_data_another_split_or_another_numpy_is_another_folder(
    tmp_path: Path, datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    role = request.role_of(asked(datasets, ROWS_KIND))
    known = digest.of_json(prepared.made_of(role))
    assert known == digest.of_json(prepared.made_of(replace(role, name="others")))
    for other in (
        replace(role, datasets=role.datasets[:2]),
        replace(role, split=replace(role.split, seed=5)),
        replace(role, samples=WINDOWS_KIND),
        replace(role, output="score"),
    ):
        assert digest.of_json(prepared.made_of(other)) != known
    monkeypatch.setattr(prepared, "version", lambda name: f"0 of {name}")
    assert digest.of_json(prepared.made_of(role)) != known


def test_failures_keep_their_words_between_processes() -> None:
    import pickle

    for error in (
        UserError("no", hint="try"),
        IntegrityError("a file", expected="one", found="other"),
        NotFound("dataset", "mil", known=["mill"]),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert (str(again), again.message, again.hint) == (str(error), error.message, error.hint)
        assert isinstance(again, ForgiaError)


@pytest.mark.parametrize("shape", [(7,), (7, 3), (0, 3), (7, 0)])
def test_an_array_is_written_in_blocks_and_mapped_whole(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    path = tmp_path / "array.arrow"
    facts = mapped.write(path, (array[start : start + 2] for start in range(0, 7, 2)), shape=shape, dtype=np.int64)
    again = mapped.ArrayFile.from_json(json.loads(json.dumps(asdict(facts))))
    found = mapped.open_array(path, again)
    assert np.array_equal(found, array)
    mapped.verify({path: again})
    if not array.size:
        assert not path.exists()
        return
    assert found.ctypes.data % 64 == 0, "a row lies in as few lines of the processor's cache as it can"
    found[:1] = 99  # a copy of this process alone
    assert np.array_equal(mapped.open_array(path, again), array)
    assert pa.ipc.open_file(path).get_batch(0).num_rows == shape[0]
    with pytest.raises(IntegrityError):
        mapped.open_array(path, replace(again, dtype="float64"))
    with pytest.raises(ValueError, match="bytes in the blocks"):
        mapped.write(path, iter([array[:3]]), shape=shape, dtype=np.int64)


def test_a_file_of_many_pieces_is_checked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "PIECE_BYTES", 1000)
    array, path = np.arange(1000), tmp_path / "array.arrow"
    facts = mapped.write(path, iter([array]), shape=array.shape, dtype=array.dtype)
    assert len(facts.pieces) == -(-path.stat().st_size // 1000)
    mapped.verify({path: facts})
    content = bytearray(path.read_bytes())
    content[4321] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="piece 4"):
        mapped.verify({path: facts})


GOLDEN = Path(__file__).parent / "golden" / "preparations" / "slurm-local.sbatch"


def wanted(**profile: Any) -> preparing_workers.Wanted:
    known = {"name": "site", "python": "/opt/python", "partition": "cpu", "account": "eu-1", "qos": "long", **profile}
    resources = {"walltime_s": 5400}
    return preparing_workers.Wanted(scheduler="slurm", count=2, rows=10**8, profile=known, resources=resources)


def test_a_worker_on_slurm_is_asked_for_as_the_profile_says(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    from dask_jobqueue.slurm import SLURMJob

    site = {
        "modules": ["python/3.11"],
        "environment": {"A": "b c"},
        "extra_sbatch": {"reservation": "x", "exclusive": True},
    }
    arguments = preparing_workers.job_arguments(wanted(**site), tmp_path)
    job = SLURMJob(scheduler="tls://login:8786", name="0", **arguments)
    text = job.job_script().replace(str(tmp_path), "WORK")
    if pytestconfig.getoption("--update-golden"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


@pytest.mark.parametrize(
    ("profile", "folder", "words"),
    [
        ({"partition": "cpu\n#SBATCH --wrap=x"}, "work", "line break"),
        ({"account": "a b"}, "work", "a blank or a quote"),
        ({"extra_sbatch": {"wrap": "rm"}}, "work", "decided by the request"),
        ({"environment": {"LD_PRELOAD": "x"}}, "work", "set by the launcher"),
        ({}, "my work", "a blank or a quote"),
        ({}, "50%j", "SLURM replaces"),
    ],
)
def test_what_would_break_out_of_a_line_of_the_script_is_refused(
    tmp_path: Path, profile: dict[str, Any], folder: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        preparing_workers.job_arguments(wanted(**profile), tmp_path / folder)
