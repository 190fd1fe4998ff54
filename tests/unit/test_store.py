"""Files are whole or not there."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from forgia import digest, store
from forgia.errors import ClusterError, IntegrityError


def test_a_replaced_file_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    store.write_atomic(target, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        store.write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_fails_while_it_is_built_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), store.building(tmp_path / "x") as beside:
        (beside / "part").write_text("…")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_of_a_folder_is_told_and_the_first_one_stands(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), store.building(tmp_path / "x") as late:
        (late / "who").write_text("late")
        with store.building(tmp_path / "x") as early:
            (early / "who").write_text("early")
    assert (tmp_path / "x" / "who").read_text() == "early"


def test_what_a_killed_builder_left_is_swept_a_day_later(tmp_path: Path) -> None:
    left = tmp_path / ".x.1.abcd.part"
    left.mkdir()
    with store.building(tmp_path / "x"):
        pass
    assert left.exists()
    os.utime(left, (0, 0))
    (tmp_path / "x").rmdir()
    with store.building(tmp_path / "x"):
        pass
    assert not left.exists()


def test_new_files_and_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    store.write_atomic(tmp_path / "file", "x")
    store.private_directory(tmp_path / "a" / "b")
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def hold(path: Path, started: object, end: object) -> None:
    with store.locked(path):
        started.set()  # type: ignore[attr-defined]
        end.wait(30)  # type: ignore[attr-defined]


def test_a_lock_held_by_another_process_is_waited_for_and_then_told(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "lock", started, end))
    process.start()
    try:
        assert started.wait(30)
        with pytest.raises(ClusterError, match="locked") as caught, store.locked(tmp_path / "lock", timeout_s=0.1):
            pass
        assert caught.value.transient
    finally:
        end.set()
        process.join(30)
    with store.locked(tmp_path / "lock", timeout_s=0.1):
        pass


def append(path: Path, name: str) -> None:
    for number in range(200):
        store.append_line(path, {"name": name, "number": number, "filler": "x" * 300}, sync=False)


def test_lines_of_two_writers_never_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(tmp_path / "lines", name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    lines = list(store.read_lines(tmp_path / "lines"))
    assert [line["number"] for line in lines if line["name"] == "a"] == list(range(200))
    assert len(lines) == 400


def test_a_tree_digest_sees_names_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root, order in ((one, "ab"), (two, "ba")):
        (root / "sub").mkdir(parents=True)
        for name in order:
            (root / "sub" / name).write_text(name)
    (two / "__pycache__").mkdir()
    (two / "__pycache__" / "a.pyc").write_text("made by a tool")
    os.mkfifo(two / "pipe")  # would be read for ever
    assert digest.of_tree(one) == digest.of_tree(two)
    (two / "sub" / "a").rename(two / "sub" / "c")
    assert digest.of_tree(one) != digest.of_tree(two)


def test_a_changed_or_missing_file_is_an_integrity_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    expected = digest.of_file(path)
    digest.verify_file(path, expected)
    path.write_text("y")
    with pytest.raises(IntegrityError):
        digest.verify_file(path, expected)
    path.unlink()
    with pytest.raises(IntegrityError, match="nothing"):
        digest.verify_file(path, expected)
