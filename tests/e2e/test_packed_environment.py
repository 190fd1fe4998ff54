"""An environment from a lock, by a real pip, to a job that runs in it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia import building, environment
from forgia.environment import Manifest
from forgia.errors import ForgiaError, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import JobState
from forgia.schedulers.local import LocalScheduler
from forgia.store import private_directory, write_json

LOCK = "submitit==1.5.4\ncloudpickle==3.1.1\ntyping_extensions==4.12.2\nsix==1.16.0\nseen-program==1.0\n"
PROGRAM = """
import json, os, pathlib, sys
import forgia, six

def main(folder):
    rank = os.environ["SUBMITIT_LOCAL_GLOBALID"]
    facts = {"prefix": sys.prefix, "six": six.__version__, "forgia": forgia.__file__, "path": sys.path}
    pathlib.Path(folder, f"seen-{rank}.json").write_text(json.dumps(facts))

def script():
    print(sys.prefix)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a distribution that no index has."""
    folder = tmp_path_factory.mktemp("wheels")
    about = "seen_program-1.0.dist-info"
    files = {
        "seen_program.py": PROGRAM,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: seen-program\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": "[console_scripts]\nseen = seen_program:script\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(folder / "seen_program-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in [*files.items(), (f"{about}/RECORD", record)]:
            wheel.writestr(name, text)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the lock; pip finds its distributions by its own settings."""
    places = [os.environ.get("PIP_FIND_LINKS", ""), str(wheels)]
    monkeypatch.setenv("PIP_FIND_LINKS", " ".join(filter(None, places)))
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "requirements.txt").write_text(LOCK)
    return folder


def build(
    home: HomePaths, recipe: Path, tell: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], Manifest]:
    section = environment.requested("requirements.txt", root=recipe, python=None)
    return section, building.build(home, section, root=recipe, python=None, tell=tell)


def builder(home: HomePaths, recipe: Path) -> subprocess.Popen[str]:
    """The same in a process of its own."""
    code = (
        "import sys, pathlib; from forgia import building, environment; from forgia.paths import HomePaths\n"
        "home, recipe = map(pathlib.Path, sys.argv[1:])\n"
        "section = environment.requested('requirements.txt', root=recipe, python=None)\n"
        "print(building.build(HomePaths(home), section, root=recipe, python=None, tell=print).archive)\n"
    )
    argv = [sys.executable, "-c", code, str(home.root), str(recipe)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)


def visible(home: HomePaths) -> list[str]:
    return sorted(path.suffix for path in home.environments.glob("[!.]*"))


def submitted(home: HomePaths, section: dict[str, Any], tmp_path: Path, *, tasks: int = 2) -> tuple[Any, RunPaths, str]:
    """A local job in this environment."""
    (tmp_path / "node").mkdir(exist_ok=True)
    profile = {"name": "laptop", "scheduler": "local", "environment": {"TMPDIR": str(tmp_path / "node")}}
    resources = {"nodes": 1, "tasks_per_node": tasks, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1}
    request = {"resources": {**resources, "walltime_s": 600}, "profile": profile, "environment": section}
    paths = home.run("mill-1")
    private_directory(paths.root)
    write_json(paths.request, request)
    environment.pin(paths, request, home=home)
    scheduler = LocalScheduler(profile, home=home, program="seen_program")
    return scheduler, paths, scheduler.submit(request, paths)


def ended(scheduler: LocalScheduler, job_id: str) -> Any:
    deadline = time.monotonic() + 60
    while (view := scheduler.states([job_id])[job_id]).state is not JobState.ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return view


@pytest.mark.slow
def test_a_job_runs_in_the_environment_of_its_lock_and_in_nothing_else(
    home: HomePaths, recipe: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    section, manifest = build(home, recipe, told.append)
    assert told == ["building environment requirements.txt: 5 distributions on Python " + section["python"], *told[1:]]
    assert dict(manifest.packages) | {"forgia": section["forgia"]} == dict(manifest.packages)
    assert [name.lower() for name, _ in manifest.packages if name.lower() in ("pip", "setuptools")] == []
    scheduler, paths, job_id = submitted(home, section, tmp_path)
    view = ended(scheduler, job_id)
    complaints = [paths.stderr(1, rank).read_text() for rank in range(2)]
    assert view.exit_code == 0, complaints
    seen = [json.loads((paths.root / f"seen-{rank}.json").read_text()) for rank in range(2)]
    assert seen[0] == seen[1]
    assert seen[0]["prefix"].startswith(str(tmp_path / "node"))
    assert seen[0]["forgia"].startswith(seen[0]["prefix"])
    assert seen[0]["six"] == "1.16.0"
    assert not [path for path in seen[0]["path"] if path.endswith(("/src", "/jobs"))]
    assert sum("unpacked in" in text for text in complaints) == 1
    script = subprocess.run([f"{seen[0]['prefix']}/bin/seen"], capture_output=True, text=True, check=True)
    assert script.stdout.strip() == seen[0]["prefix"]


@pytest.mark.slow
def test_an_altered_archive_ends_the_job_before_anything_of_it_runs(
    home: HomePaths, recipe: Path, tmp_path: Path
) -> None:
    section, manifest = build(home, recipe)
    archive = home.environment_archive(manifest.archive)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    scheduler, paths, job_id = submitted(home, section, tmp_path, tasks=1)
    assert ended(scheduler, job_id).exit_code == 78
    assert "was altered" in paths.journal.read_text()
    assert not list(paths.root.glob("seen-*"))


@pytest.mark.slow
def test_two_builders_at_once_build_once_and_the_same_lock_gives_the_same_bytes(
    home: HomePaths, recipe: Path, tmp_path: Path
) -> None:
    builders = [builder(home, recipe) for _ in range(2)]
    texts = [process.communicate()[0] for process in builders]
    assert [process.returncode for process in builders] == [0, 0]
    assert sum("building environment" in text for text in texts) == 1
    assert len({text.split()[-1] for text in texts}) == 1
    assert visible(home) == [".gz", ".json"]
    section, manifest = build(HomePaths(tmp_path / "other"), recipe)
    if environment.built(home, section["digest"]):  # forgia's own code was not edited meanwhile
        assert manifest.archive == texts[0].split()[-1]


@pytest.mark.slow
def test_a_builder_killed_at_any_moment_leaves_nothing_that_looks_built(home: HomePaths, recipe: Path) -> None:
    rng = random.Random(7)
    for _ in range(5):
        process = builder(home, recipe)
        time.sleep(rng.uniform(0.2, 2.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        section = environment.requested("requirements.txt", root=recipe, python=None)
        if environment.built(home, section["digest"]):
            break  # it had ended
        assert ".json" not in visible(home)
        assert environment.listing(home) == []
    _, manifest = build(home, recipe)
    assert [path.name for path in home.environments.glob(".*.part")] == []
    assert environment.listing(home) == [manifest]


def test_a_script_finds_its_interpreter_wherever_it_lies(tmp_path: Path) -> None:
    venv = tmp_path / "environment"
    python, body = f"{venv}/bin/python", b"print(1)\n"
    short, long = f"#!{python}\n".encode(), f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n".encode()
    for head in (short, long):
        assert building.relocated(head + body, venv) == building.LAUNCHER + body
    for other in (b"#!/bin/sh\necho\n", b"#!/usr/bin/python3\n", b"\x7fELF\n", b""):
        assert building.relocated(other, venv) == other


@pytest.mark.parametrize(
    ("lock", "error", "words"),
    [
        (LOCK.replace("cloudpickle==3.1.1\n", ""), UserError, "cloudpickle, which is not installed"),
        (LOCK.replace("1.16.0", "0.0.99"), ForgiaError, "pip could not install it"),
        (LOCK.replace("six==1.16.0", f"six==1.16.0 --hash=sha256:{'a' * 64}"), ForgiaError, "hash"),
    ],
)
def test_a_lock_that_cannot_be_built_is_told_and_leaves_nothing(
    home: HomePaths, recipe: Path, lock: str, error: type[ForgiaError], words: str
) -> None:
    (recipe / "requirements.txt").write_text(lock)
    with pytest.raises(error) as caught:
        build(home, recipe)
    assert words in str(caught.value)
    assert visible(home) == []
