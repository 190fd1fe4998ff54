"""Checkpoints: whole or not there, the same tensors for any reader, and no more of them than wanted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia.errors import ClusterError, IntegrityError
from forgia_jobs import determinism
from forgia_jobs.checkpoints import (
    checkpoint,
    checkpoint_file,
    checkpoint_making,
    checkpoint_manifest,
    checkpoint_scratch,
    generators,
)
from forgia_jobs.checkpoints.checkpoint_copy import Copying
from forgia_jobs.checkpoints.checkpoint_file import DTYPES
from forgia_jobs.checkpoints.checkpoint_making import Making, Moment, Place
from forgia_jobs.checkpoints.checkpoint_reader import Reader
from forgia_jobs.checkpoints.checkpoint_writer import Writer
from forgia_jobs.checkpoints.pieces import Piece, State
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.progress import Progress
from forgia_jobs.samples import batches

IDENTITY = "sha256:" + "0" * 64
ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def whole(tensors: Mapping[str, torch.Tensor]) -> tuple[Piece, ...]:
    return tuple(Piece(name=name, tensor=tensor) for name, tensor in tensors.items())


def moment(step: int, *, best_epoch: int = 0) -> Moment:
    torch.manual_seed(step)
    best = whole({"best/weight": torch.full((5,), float(best_epoch))}) if best_epoch else ()
    state = State(pieces=whole({"model/weight": torch.randn(4, 3)}), scalars={"groups": [{"lr": 0.1}]})
    return Moment(step=step, cursor={"step": step}, state=state, best=best, best_epoch=best_epoch)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    found = Writer(Place(folder=tmp_path / "checkpoints", identity=IDENTITY), ALONE)
    yield found
    found.close()


def save(writer: Writer, step: int, *, best_epoch: int = 0) -> Path:
    writer.begin(moment(step, best_epoch=best_epoch))
    writer.finish()
    return writer.place.folder / checkpoint.name_of(step)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "slowest.json")


# Any tensors, any ranks


class Together(World):
    """A rank whose peers are all well: what a thread does needs no more of them."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


dtypes = st.sampled_from(list(DTYPES))
shapes = st.lists(st.integers(0, 6), max_size=3)


@st.composite
def states(draw: st.DrawFn) -> tuple[dict[str, torch.Tensor], list[list[Piece]]]:
    """Tensors, and how a number of ranks parts them."""
    world = draw(st.integers(1, 4))
    tensors: dict[str, torch.Tensor] = {}
    parts: list[list[Piece]] = [[] for _ in range(world)]
    for number, (dtype, shape) in enumerate(draw(st.lists(st.tuples(dtypes, shapes), max_size=5))):
        name = f"model/{draw(st.text('ab./ü', max_size=3))}{number}"
        tensors[name] = (torch.rand(shape) * 3).to(dtype)
        is_parted: bool = draw(st.booleans())
        if is_parted and shape:
            cuts = sorted(draw(st.lists(st.integers(0, shape[0]), min_size=world - 1, max_size=world - 1)))
            for part, start, stop in zip(parts, [0, *cuts], [*cuts, shape[0]], strict=True):
                rows = tensors[name][start:stop]
                part.append(Piece(name=name, tensor=rows, offset=start, rows=shape[0]))
        else:
            parts[draw(st.integers(0, world - 1))].append(Piece(name=name, tensor=tensors[name]))
    return tensors, parts


def write_all(folder: Path, parts: list[list[Piece]]) -> Path:
    """Every rank's part, then the leader's: what threads of several processes do at once."""
    makings = []
    for rank in reversed(range(len(parts))):
        world = Together(rank=rank, size=len(parts), device=torch.device("cpu"))
        writer = Writer(Place(folder=folder, identity=IDENTITY, strategy="fsdp"), world)
        writer._token = "same"
        made = writer._copied(Moment(step=1, cursor={}, state=State(pieces=tuple(parts[rank]), scalars={})))
        checkpoint_making.write_part(made)
        makings.append(made)
    checkpoint_making.publish(makings[-1], lambda: None)
    return folder / checkpoint.name_of(1)


@settings(deadline=None, max_examples=50)
@given(state=states(), cut=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_any_reader_gets_what_any_number_of_ranks_wrote(
    state: tuple[dict[str, torch.Tensor], list[list[Piece]]],
    cut: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tensors, parts = state
    place = write_all(tmp_path_factory.mktemp("any"), parts)
    manifest = checkpoint_manifest.verify(place, identity=IDENTITY)
    assert (manifest.world_size, manifest.strategy) == (len(parts), "fsdp")
    reader = Reader(place)
    assert set(reader.names()) == tensors.keys()
    for name, expected in tensors.items():
        assert same(reader.whole(name), expected)
        if expected.dim():
            assert same(reader.slice(name, *cut), expected[slice(*cut)])
    shutil.rmtree(place)


def same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return determinism.tensor_digest({"": found}) == determinism.tensor_digest({"": expected})


def test_a_checkpoint_is_safetensors_for_everybody(writer: Writer) -> None:
    from safetensors.torch import load_file

    found = load_file(save(writer, 1) / "rank-00000.safetensors")
    assert same(found["model/weight"], moment(1).state.pieces[0].tensor)


@pytest.mark.parametrize(
    "spans", [[(0, 2), (3, 4)], [(0, 3), (2, 4)], [(0, 4), (0, 4)], [(0, 3)]], ids=["gap", "overlap", "twice", "short"]
)
def test_rows_that_no_rank_or_two_ranks_have_make_no_checkpoint(spans: list[tuple[int, int]], tmp_path: Path) -> None:
    rows = torch.arange(4.0)
    parts = [[Piece(name="model/x", tensor=rows[start:stop], offset=start, rows=4)] for start, stop in spans]
    with pytest.raises(IntegrityError, match="model/x"):
        write_all(tmp_path, parts)
    assert checkpoint.choose(tmp_path, identity=IDENTITY, attempt=2) == (None, [])


# What does not count


def spoil(place: Path, how: str) -> None:
    name = "manifest.json" if "manifest" in how else "rank-00000.safetensors"
    path = place / name
    if how.startswith("cut"):
        path.write_bytes(path.read_bytes()[:-2])
    elif how.startswith("missing"):
        path.unlink()
    elif how == "one file too many":
        (place / "rank-00001.safetensors").write_bytes(b"")
    elif how == "another cursor in the manifest":
        path.write_text(path.read_text().replace('"cursor": {"step": 2}', '"cursor": {"step": 3}'))
    elif how == "manifest of another format":
        path.write_text(json.dumps({"schema_version": 1, "request": IDENTITY, "step": 2, "files": {}}))


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "cut manifest",
        "missing",
        "missing manifest",
        "one file too many",
        "another cursor in the manifest",
        "manifest of another format",
    ],
)
def test_a_damaged_one_is_set_aside_and_the_one_before_is_chosen(how: str, writer: Writer) -> None:
    first, newest = save(writer, 1), save(writer, 2)
    spoil(newest, how)
    place, notes = checkpoint.choose(writer.place.folder, identity=IDENTITY, attempt=3)
    assert place == first
    assert len(notes) == 1
    assert "set aside as broken-step-000000002-attempt-3" in notes[0]


def test_a_checkpoint_of_another_request_is_not_used(writer: Writer) -> None:
    save(writer, 1)
    place, notes = checkpoint.choose(writer.place.folder, identity="sha256:" + "1" * 64, attempt=1)
    assert place is None
    assert "another one" in notes[0]


# Written beside the training


def test_tensors_may_change_as_soon_as_they_are_copied(writer: Writer) -> None:
    made = moment(1)
    expected = made.state.pieces[0].tensor.clone()
    writer.begin(made)
    made.state.pieces[0].tensor.zero_()
    writer.finish()
    assert same(Reader(writer.place.folder / checkpoint.name_of(1)).whole("model/weight"), expected)


class Halving(torch.optim.Optimizer):
    """Its step halves its state."""

    def __init__(self, parameter: torch.nn.Parameter) -> None:
        super().__init__([parameter], {})
        self.state[parameter]["half"] = torch.ones(3)

    def step(self) -> None:  # type: ignore[override]
        for quantities in self.state.values():
            quantities["half"] /= 2


def test_an_optimizers_step_waits_until_its_state_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = Halving(parameter := torch.nn.Parameter(torch.ones(3)))
    go_on, waiting = threading.Event(), threading.Event()
    finish, wait = Copying.finish, Copying.wait

    def finish_late(copying: Copying) -> None:
        assert go_on.wait(30)
        finish(copying)

    def wait_seen(copying: Copying) -> None:
        waiting.set()
        wait(copying)

    monkeypatch.setattr(Copying, "finish", finish_late)
    monkeypatch.setattr(Copying, "wait", wait_seen)
    writer = Writer(Place(folder=tmp_path, identity=IDENTITY), ALONE, optimizer=optimizer)
    half = optimizer.state[parameter]["half"]
    state = State(pieces=whole({"model/p": parameter, "optimizer/p/half": half}), scalars={})
    writer.begin(Moment(step=1, cursor={}, state=state))
    with ThreadPoolExecutor(1) as training:
        stepped = training.submit(optimizer.step)
        assert waiting.wait(30)
        assert half.tolist() == [1, 1, 1]
        go_on.set()
        stepped.result(30)
    assert half.tolist() == [0.5, 0.5, 0.5]
    writer.finish()
    writer.close()
    assert Reader(tmp_path / checkpoint.name_of(1)).whole("optimizer/p/half").tolist() == [1, 1, 1]


def test_the_next_checkpoint_waits_for_the_one_in_the_making(writer: Writer) -> None:
    for step in (1, 2, 3):
        writer.begin(moment(step))
    assert checkpoint.newest_step(writer.place.folder) >= 2
    writer.finish()
    assert names(writer.place.folder) == ["step-000000002", "step-000000003"]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_so_many_of_the_newest_are_kept(keep: int, tmp_path: Path) -> None:
    writer = Writer(Place(folder=tmp_path, identity=IDENTITY, keep=keep), ALONE)
    for step in (1, 2, 3, 10):
        save(writer, step)
    writer.close()
    kept = [checkpoint.name_of(step) for step in (1, 2, 3, 10)][-keep:]
    assert names(tmp_path) == kept
    checkpoint.prune(tmp_path, keep=0)
    assert names(tmp_path) == kept[-1:], "the last good one stays, whatever is asked"


def test_best_weights_that_are_the_same_are_written_once(writer: Writer) -> None:
    places = [save(writer, step, best_epoch=epoch) for step, epoch in ((1, 1), (2, 1))]
    first, second = (place / "best-00000.safetensors" for place in places)
    assert first.samefile(second)
    better = save(writer, 3, best_epoch=2)
    for place, value in ((places[1], 1.0), (better, 2.0)):
        checkpoint_manifest.verify(place, identity=IDENTITY)
        assert Reader(place).whole("best/weight").tolist() == [value] * 5


def test_where_files_cannot_have_two_names_the_best_weights_are_written_again(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    save(writer, 1, best_epoch=1)
    monkeypatch.setattr(os, "link", refuse)
    place = save(writer, 2, best_epoch=1)
    checkpoint_manifest.verify(place, identity=IDENTITY)
    assert Reader(place).whole("best/weight").tolist() == [1.0] * 5


def test_what_is_measured_is_the_time_until_it_counts(writer: Writer) -> None:
    assert checkpoint.slowest_s(writer.place.folder) == 0
    save(writer, 1)
    measured = checkpoint.slowest_s(writer.place.folder)
    assert measured == pytest.approx(writer.slowest_s, abs=1e-3)
    assert measured > 0


# By way of the node's disk


def test_a_nodes_own_disk_is_used_where_there_is_one_and_nothing_stays_on_it(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = tmp_path / "near"
    near.mkdir()
    used: list[int] = []

    def scratch_for(_: Path, size: int) -> Path:
        used.append(size)
        return near

    monkeypatch.setattr(checkpoint_scratch, "scratch_for", scratch_for)
    place = save(writer, 1, best_epoch=1)
    checkpoint_manifest.verify(place, identity=IDENTITY)
    assert len(used) == 2
    assert list(near.iterdir()) == []


def test_memory_and_the_shared_disk_itself_are_no_way_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (str(tmp_path), "/dev/shm", "", "/no/such/folder"):
        monkeypatch.setenv("TMPDIR", place)
        assert checkpoint_scratch.scratch_for(tmp_path, 1) is None


# Disks that refuse


def test_a_disk_that_refuses_ends_the_training_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Exception] = []
    writer = Writer(Place(folder=tmp_path, identity=IDENTITY, tell_failure=told.append), ALONE)
    last = save(writer, 1)

    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "_pour", full)
    writer.begin(moment(2))
    while not writer.has_failed:
        time.sleep(0.001)
    with pytest.raises(ClusterError, match=r"checkpoint of step 2 .* No space left on device") as caught:
        writer.finish()
    assert told == [caught.value]
    assert caught.value.hint.endswith("goes on from the checkpoint of step 1, which is kept")
    assert names(tmp_path) == [last.name]
    monkeypatch.undo()
    checkpoint_manifest.verify(save(writer, 3), identity=IDENTITY)
    writer.close()


def test_a_disk_that_refuses_the_first_checkpoint_leaves_none_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(Place(folder=tmp_path, identity=IDENTITY), ALONE)

    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_file, "_pour", full)
    writer.begin(moment(1))
    with pytest.raises(ClusterError) as caught:
        writer.finish()
    assert caught.value.hint == "make room, then forgia job retry begins anew: it was the first one"
    writer.close()


class Threaded(World):
    """One of two ranks that are threads of this process."""

    meeting = threading.Barrier(2, timeout=30)
    shared: ClassVar[list[torch.Tensor]] = []

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        self.shared.append(values.clone())
        self.meeting.wait()
        values.copy_(self.shared[0] + self.shared[1])
        if self.meeting.wait() == 0:
            self.shared.clear()
        self.meeting.wait()
        return values


def test_what_one_rank_cannot_write_ends_all_of_them_once_its_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, told = checkpoint_making._write, list[Exception]()

    def full_for_one(making: Making, name: str, *rest: Any) -> str:
        if (making.rank, making.step) == (1, 2):
            raise OSError(122, "Disk quota exceeded")
        return write(making, name, *rest)

    def train(rank: int) -> list[str]:
        world = Threaded(rank=rank, size=2, device=torch.device("cpu"))
        writer = Writer(Place(folder=tmp_path, identity=IDENTITY, tell_failure=told.append), world)
        pieces = moment(1).state.pieces if rank == 0 else ()
        for step in (1, 2):
            writer.begin(Moment(step=step, cursor={}, state=State(pieces=pieces, scalars={})))
            while not any(world.any_of(writer.has_failed, not writer.is_busy)):
                time.sleep(0.001)
        with pytest.raises(ClusterError) as caught:
            writer.finish()
        writer.close()
        return [caught.value.message, *(str(error) for error in told)]

    monkeypatch.setattr(checkpoint_making, "_write", full_for_one)
    with ThreadPoolExecutor(2) as ranks:
        first, second = ranks.map(train, (0, 1))
    assert first[0] == "another rank has failed"
    assert second[0] == "the checkpoint of step 2 cannot be written: [Errno 122] Disk quota exceeded"
    assert first[1:] == second[1:] == [second[0]]
    assert names(tmp_path) == ["step-000000001"]
    assert checkpoint_manifest.verify(tmp_path / "step-000000001", identity=IDENTITY).world_size == 2


def test_a_checkpoint_that_is_called_off_leaves_nothing(writer: Writer) -> None:
    save(writer, 1)
    writer.world = Together(rank=0, size=2, device=torch.device("cpu"))  # whose other rank never writes
    writer.begin(moment(2))
    writer.close()
    assert names(writer.place.folder) == ["step-000000001"]


# Killed at any moment


def save_until_killed(folder: Path, left: int) -> bool:
    """Write another checkpoint in a process that is killed at its so many-th touch of the disk; False: it was done."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0

    def touch() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, _: Any) -> None:
        if event == "open" or event.startswith(("os.", "shutil.")):
            touch()

    def sync_late(descriptor: int) -> None:
        touch()
        sync(descriptor)

    def write_in_two(file: BinaryIO, data: memoryview) -> None:
        write(file, data[:9])
        touch()
        write(file, data[9:])

    sync, write = os.fsync, checkpoint_file._write_all
    os.fsync = sync_late  # type: ignore[assignment]
    checkpoint_file._write_all = write_in_two
    sys.addaudithook(hook)
    save(Writer(Place(folder=folder, identity=IDENTITY, keep=1), ALONE), 2, best_epoch=1)
    os._exit(0)


def test_a_process_killed_at_any_touch_of_the_disk_leaves_the_checkpoint_before_or_the_new_one(tmp_path: Path) -> None:
    first = Writer(Place(folder=tmp_path / "first", identity=IDENTITY), ALONE)
    save(first, 1, best_epoch=1)
    first.close()
    chosen, left = [], 0
    while True:
        left += 1
        folder = tmp_path / str(left)
        shutil.copytree(first.place.folder, folder)
        was_killed = save_until_killed(folder, left)
        place, notes = checkpoint.choose(folder, identity=IDENTITY, attempt=2)
        assert place is not None
        assert notes == []
        assert set(names(folder)) <= {"step-000000001", "step-000000002"}
        chosen.append(place.name)
        if not was_killed:
            break
    assert left > 20
    assert chosen == sorted(chosen)
    assert set(chosen) == {"step-000000001", "step-000000002"}


# Generators


def test_generators_go_on_where_they_were() -> None:
    torch.manual_seed(8)
    saved = generators.states(torch.device("cpu"))
    expected = torch.rand(3)
    torch.rand(100)
    assert generators.restore(saved, device=torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)
    assert not generators.restore({}, device=torch.device("cpu"))


def test_every_rank_takes_its_own_generators_out_of_a_checkpoint(tmp_path: Path) -> None:
    drawn = []
    for rank in (1, 0):
        torch.manual_seed(rank)
        world = Together(rank=rank, size=2, device=torch.device("cpu"))
        writer = Writer(Place(folder=tmp_path, identity=IDENTITY), world)
        writer._token = "same"
        made = writer._copied(Moment(step=1, cursor={}, state=State(pieces=(), scalars={})))
        checkpoint_making.write_part(made)
        drawn.append(torch.rand(4))
    checkpoint_making.publish(made, lambda: None)
    reader = Reader(tmp_path / checkpoint.name_of(1))
    for rank, expected in zip((1, 0), drawn, strict=True):
        assert generators.restore(reader.generators(rank), device=torch.device("cpu"))
        assert torch.equal(torch.rand(4), expected)
    assert reader.generators(2) == {}


def test_another_number_of_ranks_gets_seeds_that_depend_on_seed_step_and_rank_alone() -> None:
    drawn: dict[tuple[int, int, int], float] = {}
    for seed, step, rank in ((1, 7, 0), (1, 7, 1), (1, 8, 0), (2, 7, 0)):
        for _ in range(2):
            generators.seed_again(seed=seed, step=step, rank=rank)
            first = torch.rand(1).item()
            assert drawn.setdefault((seed, step, rank), first) == first
    assert len(set(drawn.values())) == 4


# Metrics and rows


def test_metrics_of_steps_to_be_done_again_are_forgotten(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "metrics.jsonl", is_writer=True)
    progress.write("step", step=1)
    position = progress.position()
    progress.write("step", step=2)
    progress.rewind(position)
    progress.write("step", step=2)
    progress.close()
    assert (tmp_path / "metrics.jsonl").read_text().count('"step":2') == 1


def test_a_silent_rank_writes_no_metrics(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "metrics.jsonl", is_writer=False)
    progress.write("step", step=1)
    assert progress.position() == 0
    progress.keep()
    progress.close()
    assert not (tmp_path / "metrics.jsonl").exists()


@given(count=st.integers(0, 500), world_size=st.integers(1, 17))
def test_shares_of_a_batch_are_the_batch_in_order(count: int, world_size: int) -> None:
    rows = list(range(count))
    shares = [rows[batches.slice_of_rank(count, rank=rank, world_size=world_size)] for rank in range(world_size)]
    assert [row for share in shares for row in share] == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def order_of(*, seed: int, epoch: int) -> list[int]:
    found: list[int] = batches.epoch_order(100, seed=seed, epoch=epoch)[:100].tolist()
    return found


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    order = order_of(seed=1, epoch=2)
    torch.rand(5)
    assert order == order_of(seed=1, epoch=2)
    assert sorted(order) == list(range(100))
    assert order != order_of(seed=1, epoch=3)
    assert order != order_of(seed=2, epoch=2)


def test_a_tensor_digest_sees_names_types_shapes_and_values() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    digest = determinism.tensor_digest(one)
    assert digest == determinism.tensor_digest(dict(reversed(one.items())))
    for other in (
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3, dtype=torch.int32)},
    ):
        assert determinism.tensor_digest(other) != digest
