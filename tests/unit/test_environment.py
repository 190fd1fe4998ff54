"""Locks, archives, and what a node makes of them; nothing is installed here."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import environment, lockfile, packing, unpacking
from forgia.errors import NotFound, UserError
from forgia.paths import HomePaths, RunPaths
from forgia.schedulers import script, slurm_script

HASH = "a" * 64
PYLOCK = f"""
lock-version = "1.0"
created-by = "test"
[[packages]]
name = "Six"
version = "1.16.0"
marker = "python_version >= '3.8'"
wheels = [{{url = "https://example.org/six.whl", hashes = {{sha256 = "{HASH}"}}}}]
"""


def lines(path: Path) -> list[str]:
    return [pin.line() for pin in lockfile.load(path)]


def test_a_requirements_lock_is_read_with_its_hashes_markers_and_continued_lines(tmp_path: Path) -> None:
    place = tmp_path / "requirements.txt"
    text = (
        f"# made by a tool\nsix==1.16.0 \\\n    --hash=sha256:{HASH}  # via x\n\nAbc[d]==1.0+cpu ; python_version>'3'\n"
    )
    place.write_text(text)
    assert lines(place) == ['Abc[d]==1.0+cpu; python_version > "3"', f"six==1.16.0 --hash=sha256:{HASH}"]


def test_a_pylock_says_the_same_as_requirements(tmp_path: Path) -> None:
    place = tmp_path / "pylock.toml"
    place.write_text(PYLOCK)
    assert lines(place) == [f'Six==1.16.0; python_version >= "3.8" --hash=sha256:{HASH}']
    assert lockfile.load(place)[0].name == "six"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("requirements.txt", "six>=1.0\n", "is not one version; write six==VERSION"),
        ("requirements.txt", "six==1.*\n", "is not one version"),
        ("requirements.txt", "six\n", "is not one version"),
        ("requirements.txt", "six @ https://example.org/six.whl\n", "a place of its own"),
        ("requirements.txt", "--index-url https://user:secret@example.org\nsix==1\n", "settings of pip"),
        ("requirements.txt", "-e .\n", "'-e' is an option"),
        ("requirements.txt", "six==1; rm -rf /\n", "is not a requirement"),
        ("requirements.txt", "# nothing\n", "names no distribution"),
        ("pylock.toml", "lock-version = [", "not TOML"),
        ("pylock.toml", 'lock-version = "2.0"', "1.0 is known"),
        ("pylock.toml", 'lock-version = "1.0"\n[[packages]]\nname = "six"\nvcs = {}', "a place of its own (vcs)"),
        ("pylock.toml", 'lock-version = "1.0"\n[[packages]]\nname = "six"', "six has no version"),
    ],
)
def test_what_is_no_exact_version_of_an_index_is_refused_by_name(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        lockfile.load(tmp_path / name)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(max_size=60))
def test_no_text_makes_the_reader_of_locks_stumble(text: str) -> None:
    for _, found in [*lockfile.requirements(text), *lockfile.pylock(text)]:
        assert isinstance(found, str | lockfile.Pin)
        assert isinstance(found, str) or "\n" not in found.line()


def test_a_recipe_names_an_environment_in_one_of_three_ways() -> None:
    for text in ("current", "requirements.txt", "pylock.gpu.toml", f"/images/a b.sif@sha256:{HASH}"):
        assert environment.checked(text) == text
    for text in ("", "../requirements.txt", "image.sif", "/x.sif", f"x.sif@sha256:{HASH}", f"/a:/b.sif@sha256:{HASH}"):
        with pytest.raises(ValueError, match="write current"):
            environment.checked(text)


def test_a_lock_without_what_starts_a_task_is_a_problem_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six==1.16.0\n")
    (problem,) = environment.lock_problems(tmp_path, "requirements.txt")
    assert "names no submitit" in problem.message
    (tmp_path / "requirements.txt").write_text("submitit==1.5.4\nforgia==0.0.1\n")
    (problem,) = environment.lock_problems(tmp_path, "requirements.txt")
    assert "names forgia==0.0.1" in problem.message
    (problem,) = environment.lock_problems(tmp_path, "pylock.toml")
    assert "cannot be read" in problem.message


def test_the_request_follows_the_lock_and_the_interpreter_and_needs_nothing_built(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("submitit==1.5.4\n")
    first = environment.requested(lock.name, root=tmp_path, python=None)
    assert (first["kind"], first["machine"], first["python"]) == ("lock", platform.machine(), platform.python_version())
    assert environment.requested(lock.name, root=tmp_path, python=sys.executable) == first
    lock.write_text("submitit==1.5.3\n")
    assert environment.requested(lock.name, root=tmp_path, python=None)["digest"] != first["digest"]
    with pytest.raises(UserError, match="cannot be run here"):
        environment.requested(lock.name, root=tmp_path, python="/no/such/python")


# Archives


def tree(root: Path, **files: str) -> Path:
    site = root / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (root / "bin").mkdir()
    for name, text in {"tiny.py": "WORD = 'unpacked'\n", **files}.items():
        (site / name).write_text(text)
    return root


def test_an_archive_depends_on_names_contents_and_executability_alone(tmp_path: Path) -> None:
    digests = []
    for name, moment in (("one", 1_000_000_000), ("two", 1_700_000_000)):
        root = tree(tmp_path / name)
        program = root / "bin" / "run"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755 if name == "one" else 0o700)
        (root / "bin" / "also").symlink_to("run")
        (root / "lib64").symlink_to("lib")
        cache = root / "lib" / "__pycache__"
        cache.mkdir()
        (cache / f"{name}.pyc").write_text(name)
        for path in root.rglob("*"):
            os.utime(path, (moment, moment), follow_symlinks=False)
        packed = packing.pack(root, tmp_path / f"{name}.tar.gz")
        digests.append(hashlib.sha256((tmp_path / f"{name}.tar.gz").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    assert (packed.files, packed.unpacked_bytes) == (3, 3 * packing.DISK_BLOCK)


def facts(tmp_path: Path, archive: Path, **changes: Any) -> Path:
    """A run's folder that names this archive."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    base = environment.base_interpreter(None)
    told = {"kind": "lock", "path": str(archive), "digest": digest, "unpacked_bytes": 10**6, "machine": base.machine}
    told |= {"cache_tag": base.cache_tag, "glibc": base.glibc, "unpack": "node", "shared": str(tmp_path / "shared")}
    (run / "environment.json").write_text(json.dumps({**told, **changes}))
    (run / "journal.jsonl").touch()
    return run


def enter(run: Path, tmp_path: Path, code: str = "import tiny, sys; print(tiny.WORD, sys.prefix)") -> Any:
    """What a rank's command does."""
    argv = [sys.executable, "-I", "-S", unpacking.__file__, "environment.json", "--", "-c", code]
    own = {"TMPDIR": str(tmp_path / "node"), "FORGIA_ATTEMPT": "3", "SLURM_PROCID": "2", "PYTHONPATH": "/elsewhere"}
    (tmp_path / "node").mkdir(exist_ok=True)
    return subprocess.run(argv, cwd=run, env={**os.environ, **own}, capture_output=True, text=True, check=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    place = tmp_path / "environment.tar.gz"
    packing.pack(tree(tmp_path / "tree"), place)
    return place


def failure(run: Path) -> dict[str, Any]:
    (line,) = [json.loads(text) for text in (run / "journal.jsonl").read_text().splitlines()]
    return dict(line)


def test_a_node_unpacks_once_and_goes_on_as_the_environments_own_interpreter(tmp_path: Path, archive: Path) -> None:
    run = facts(tmp_path, archive)
    first, second = enter(run, tmp_path), enter(run, tmp_path, "import os, sys; print(sys.path, dict(os.environ))")
    assert first.stdout.split()[0] == "unpacked"
    assert first.stdout.split()[1].startswith(str(tmp_path / "node" / f"forgia-{os.getuid()}"))
    assert "unpacked in" in first.stderr
    assert second.stderr == ""
    assert "/elsewhere" not in second.stdout


def test_many_ranks_at_once_unpack_once(tmp_path: Path, archive: Path) -> None:
    run = facts(tmp_path, archive)
    (tmp_path / "node").mkdir()
    argv = [sys.executable, "-I", "-S", unpacking.__file__, "environment.json", "--", "-c", "import tiny"]
    own = {**os.environ, "TMPDIR": str(tmp_path / "node")}
    ranks = [subprocess.Popen(argv, cwd=run, env=own, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    complaints = [rank.communicate()[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 6
    assert sum("unpacked in" in text for text in complaints) == 1


@pytest.mark.parametrize("place", [20, -30, -1])
def test_an_altered_archive_is_refused_before_anything_of_it_has_a_name(
    tmp_path: Path, archive: Path, place: int
) -> None:
    run = facts(tmp_path, archive)
    data = bytearray(archive.read_bytes())
    data[place] ^= 0xFF
    archive.write_bytes(data)
    done = enter(run, tmp_path)
    assert (done.returncode, done.stdout) == (unpacking.UNFIT, "")
    told = failure(run)
    assert (told["event"], told["attempt"], told["rank"]) == ("failed", 3, 2)
    assert "was altered" in told["reason"]
    assert platform.node() in told["reason"]
    assert not [path for path in (tmp_path / "node").rglob("*") if path.name == "tiny.py"]
    assert json.loads((run / "attempts/3/rank-2.reason").read_text())["reason"] == told["reason"]


def test_bytes_behind_the_archives_end_are_an_alteration_too(tmp_path: Path, archive: Path) -> None:
    run = facts(tmp_path, archive)
    with archive.open("ab") as file:
        file.write(b"more")
    assert enter(run, tmp_path).returncode == unpacking.UNFIT
    assert "was altered" in failure(run)["reason"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": "pdp11"}, "it is for pdp11 and this node is"),
        ({"cache_tag": "cpython-27"}, "it is for cpython-27 and"),
        ({"glibc": "99.1"}, "built with glibc 99.1 and this node has the older"),
        ({"path": "/no/such.tar.gz"}, "cannot be read"),
    ],
)
def test_a_node_that_will_not_do_is_told_in_a_sentence(
    tmp_path: Path, archive: Path, changes: dict[str, Any], words: str
) -> None:
    run = facts(tmp_path, archive, **changes)
    assert enter(run, tmp_path).returncode == unpacking.UNFIT
    assert words in failure(run)["reason"]


def test_an_older_build_machine_is_no_obstacle(tmp_path: Path, archive: Path) -> None:
    assert enter(facts(tmp_path, archive, glibc="2.9"), tmp_path).returncode == 0


@pytest.mark.parametrize("reason", ["no room", "another's folder"])
def test_where_the_nodes_disk_will_not_do_the_shared_one_is_used_and_it_is_said(
    tmp_path: Path, archive: Path, reason: str
) -> None:
    run = facts(tmp_path, archive, unpacked_bytes=10**15 if reason == "no room" else 10**6)
    if reason == "another's folder":
        own = tmp_path / "node" / f"forgia-{os.getuid()}"
        own.mkdir(parents=True)
        own.chmod(0o777)
        done = enter(run, tmp_path)
        assert done.stdout.split()[1].startswith(str(tmp_path / "shared"))
        assert "can be written by others" in done.stderr
    else:
        assert "GiB free" in enter(run, tmp_path).stderr
        assert "GiB free" in failure(run)["reason"]


def hostile(tmp_path: Path, member: tarfile.TarInfo) -> Path:
    place = tmp_path / "hostile.tar.gz"
    with tarfile.open(place, "w:gz") as tar:
        tar.addfile(member, io.BytesIO())
    return place


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize(
    "bad",
    [
        member("../escaped"),
        member("/tmp/escaped"),
        member("lib/link", tarfile.SYMTYPE, "/etc"),
        member("lib/link", tarfile.SYMTYPE, "../.."),
        member("lib/hard", tarfile.LNKTYPE, "x"),
        member("lib/device", tarfile.CHRTYPE),
    ],
    ids=lambda bad: f"{bad.name}-{bad.type.decode()}",
)
def test_no_archive_writes_outside_its_folder(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    run = facts(tmp_path, hostile(tmp_path, bad))
    assert enter(run, tmp_path).returncode == unpacking.UNFIT
    assert not list(tmp_path.rglob("escaped"))


def test_an_environment_in_use_stays_and_one_that_nobody_uses_makes_room(tmp_path: Path, archive: Path) -> None:
    run = facts(tmp_path, archive)
    own = tmp_path / "node" / f"forgia-{os.getuid()}"
    ask = [sys.executable, "-I", "-S", unpacking.__file__, "environment.json", "--", "-c"]
    variables = {**os.environ, "TMPDIR": str(tmp_path / "node")}
    (tmp_path / "node").mkdir()
    code = "print('in use', flush=True); input()"
    user = subprocess.Popen([*ask, code], cwd=run, env=variables, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert user.stdin and user.stdout and user.stdout.readline() == "in use\n"
    (used,) = [path for path in own.iterdir() if path.is_dir()]
    unpacking.discard(used, older_than_s=0)
    assert used.is_dir()
    user.communicate("\n")
    unpacking.discard(used, older_than_s=3600)
    assert used.is_dir()
    unpacking.discard(used, older_than_s=0)
    assert not used.exists()


# What a batch script says


def request(environment: dict[str, Any], **profile: Any) -> dict[str, Any]:
    resources = {"nodes": 1, "tasks_per_node": 2, "gpus_per_node": 2, "cpus_per_task": 1, "memory_gb": 1}
    chosen = {"name": "mine", "scheduler": "slurm", "python": "/opt/python", "gpu": {"vendor": "nvidia"}, **profile}
    return {"resources": {**resources, "walltime_s": 600}, "profile": chosen, "environment": environment}


def test_a_script_enters_a_packed_environment_with_the_nodes_own_python(home: HomePaths) -> None:
    text = slurm_script.render(request({"kind": "lock"}), home.run("mill-1"), attempt=1)
    assert f"  /opt/python -I -S unpacking.py environment.json -- {script.TASK_COMMAND} submission ||" in text


def test_a_script_digests_an_image_once_and_starts_the_ranks_in_it(home: HomePaths) -> None:
    image = {"kind": "image", "digest": f"sha256:{HASH}", "image": "/images/my $(image).sif"}
    text = slurm_script.render(request(image), home.run("mill-1"), attempt=1)
    assert text.count("/opt/python -I -S unpacking.py environment.json || exit $?\n") == 1
    command = f"apptainer exec --nv --bind \"$home\" '/images/my $(image).sif' python3 {script.TASK_COMMAND} submission"
    assert f"  {command} ||" in text
    amd = slurm_script.render(request(image, gpu={"vendor": "amd"}), home.run("mill-1"), attempt=1)
    assert "apptainer exec --rocm --bind" in amd
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0


def test_a_node_that_was_found_bad_is_left_out_of_later_submissions(home: HomePaths) -> None:
    paths = home.run("mill-1")
    assert "--exclude" not in slurm_script.render(request({}), paths, attempt=2)
    paths.root.mkdir(parents=True)
    paths.excluded_nodes.write_text("n2 1\nn1 1\n")
    assert "#SBATCH --exclude=n1,n2\n" in slurm_script.render(request({}), paths, attempt=2)


def test_an_image_is_checked_before_anything_starts(tmp_path: Path) -> None:
    image = tmp_path / "image.sif"
    image.write_bytes(b"an image")
    run = facts(tmp_path, image, kind="image")
    check = [sys.executable, "-I", "-S", unpacking.__file__, "environment.json"]
    assert subprocess.run(check, cwd=run, check=False).returncode == 0
    image.write_bytes(b"another")
    assert subprocess.run(check, cwd=run, check=False, stderr=subprocess.DEVNULL).returncode == unpacking.UNFIT
    assert "was altered" in failure(run)["reason"]


def test_a_run_of_an_environment_that_is_not_built_is_not_made(tmp_path: Path, home: HomePaths) -> None:
    with pytest.raises(UserError, match="is not built"):
        environment.pin(
            RunPaths(tmp_path), request({"kind": "lock", "lock": "x", "digest": f"sha256:{HASH}"}), home=home
        )
    with pytest.raises(NotFound):
        environment.find(home, "abc")
