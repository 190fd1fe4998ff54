"""Building an environment from a lock: a virtual environment by pip, made to run anywhere, as one file; once."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forgia import digest, environment, lockfile, packing, process, store
from forgia.environment import Base, Manifest
from forgia.errors import ForgiaError, Problem, UserError
from forgia.paths import HomePaths

BUILD_TIMEOUT_S = 3600.0
"""For pip, and for the wait for another builder of the same environment."""
OTHER_PYTHON = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_PYTHON")
"""Variables that would lead pip to another place; its index and proxy stay."""
LAUNCHER = b"""#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" "$0" "$@"
' '''
"""
"""First lines of a script that is both sh and Python: it runs the interpreter that lies beside it.

Source: the form of distlib 0.3.8 (scripts.py, _build_shebang) for long paths, with a place found at run time
"""
Tell = Callable[[str], None]


def build(home: HomePaths, section: Mapping[str, Any], *, root: Path, python: str | None, tell: Tell) -> Manifest:
    """The environment of a request, built unless it is there. ``root``: the recipe's folder.

    Raises: UserError — the lock is none, or lacks what its distributions want; ForgiaError — pip could not install it.
    """
    if found := environment.built(home, section["digest"]):
        return found
    name = digest.hexadecimal(section["digest"])
    with store.locked(home.environments / f".{name}.lock", timeout_s=BUILD_TIMEOUT_S):
        if found := environment.built(home, section["digest"]):
            return found  # another command was building it
        started = time.monotonic()
        base = environment.base_interpreter(python)
        with staging(home, name) as folder:
            venv, packages = fill(folder, root / section["lock"], base, code_digest=section["code_digest"], tell=tell)
            tell("packing it into one file")
            return publish(home, section, venv, base=base, packages=packages, started=started)


@contextlib.contextmanager
def staging(home: HomePaths, name: str) -> Iterator[Path]:
    """A folder on this machine's own disk; those of builders that were killed go first, for they had our lock."""
    mark = f"forgia-build-{os.getuid()}-{digest.short(digest.of_json([str(home.root.resolve()), name]))}-"
    for rest in Path(tempfile.gettempdir()).glob(f"{mark}*"):
        if rest.lstat().st_uid == os.getuid():
            shutil.rmtree(rest, ignore_errors=True)
    for part in home.environments.glob(f".{name}.*.part"):
        part.unlink()
    with tempfile.TemporaryDirectory(prefix=mark) as folder:
        yield Path(folder)


def fill(
    folder: Path, lock: Path, base: Base, *, code_digest: str, tell: Tell
) -> tuple[Path, tuple[tuple[str, str], ...]]:
    """A virtual environment with the lock's distributions and forgia, and their names and versions."""
    pins = [pin for pin in lockfile.load(lock) if pin.name != "forgia"]
    venv, wanted = folder / "environment", folder / "requirements.txt"
    wanted.write_text("".join(f"{pin.line()}\n" for pin in pins), encoding="utf-8")
    tell(f"building environment {lock.name}: {len(pins)} distributions on Python {base.python}")
    made = process.run([base.path, "-I", "-m", "venv", "--without-pip", str(venv)], timeout_s=BUILD_TIMEOUT_S)
    if made.returncode:
        raise ForgiaError(f"{base.path} makes no virtual environment: {last_words(made)}")
    site = next((venv / "lib").glob("python*/site-packages"))
    copy_code(site, code_digest)
    install(venv, wanted, lock)
    check_complete(venv, lock, tell=tell)
    write_metadata(site / f"forgia-{environment.version()}.dist-info")
    make_relocatable(venv)
    found = importlib.metadata.distributions(path=[str(site)])
    return venv, tuple(sorted((item.metadata["Name"], item.version) for item in found))


def copy_code(site: Path, code_digest: str) -> None:
    """Forgia's own packages. Raises: UserError — they are not those of the request."""
    places = environment.code_places()
    for name, place in places.items():
        store.copy_tree(place, site / name, digest.tree_files(place))
    if environment.digest_of_code({name: site / name for name in places}) != code_digest:
        raise UserError("forgia's own code was changed while an environment was built", hint="run the command again")


def install(venv: Path, wanted: Path, lock: Path) -> None:
    """Exactly these distributions. Raises: ForgiaError — pip could not."""
    options = ("--no-deps", "--no-compile", "--no-warn-script-location", "--quiet", "--requirement")
    done = pip(venv, "install", *options, str(wanted))
    if done.returncode:
        hint = "run it where the package index can be reached; index and proxy are settings of pip (pip config)"
        raise ForgiaError(f"{lock}: pip could not install it: {last_words(done)}", hint=hint)


def pip(venv: Path, *arguments: str) -> process.Completed:
    """Run this environment's pip upon another. Raises: UserError — there is no pip."""
    if importlib.util.find_spec("pip") is None:
        raise UserError("this environment has no pip to build another with", hint=f"{sys.executable} -m ensurepip")
    python = str(venv / "bin" / "python")
    argv = [sys.executable, "-I", "-m", "pip", "--python", python, "--no-input", "--disable-pip-version-check"]
    return process.run([*argv, *arguments], timeout_s=BUILD_TIMEOUT_S, without=OTHER_PYTHON)


def check_complete(venv: Path, lock: Path, *, tell: Tell) -> None:
    """Raises: UserError — a distribution wants another that the lock does not name. Other quarrels are only told."""
    done = pip(venv, "check")
    words = [line for line in done.stdout.splitlines() if done.returncode and line.strip()]
    if absent := [line for line in words if "not installed" in line]:
        raise UserError(f"{lock}: the lock is not complete", problems=[Problem(str(lock), None, "", w) for w in absent])
    for line in words:
        tell(f"warning: {line}")


def last_words(done: process.Completed) -> str:
    """What a program complained of, in one line."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return "; ".join(errors or lines[-3:]) or f"exit code {done.returncode}"


def write_metadata(folder: Path) -> None:
    """So that the environment knows which forgia it has."""
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: forgia\nVersion: {environment.version()}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def make_relocatable(venv: Path) -> None:
    """Leave nothing that names this place or that the node makes anew: interpreter, configuration, activation."""
    (venv / "pyvenv.cfg").unlink()
    shutil.rmtree(venv / "include", ignore_errors=True)
    for path in (venv / "bin").iterdir():
        if path.is_symlink() or path.name.lower().startswith(("activate", "python")):
            path.unlink()
        else:
            path.write_bytes(relocated(path.read_bytes(), venv))
    for path in venv.glob("lib/python*/site-packages/*.dist-info/RECORD"):
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = (f"{line.partition(',')[0]},," if line.startswith("../../../bin/") else line for line in lines)
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def relocated(data: bytes, venv: Path) -> bytes:
    """A program's bytes; a script of this environment begins with the lines that find it anywhere."""
    first, _, rest = data.partition(b"\n")
    if first.startswith(f"#!{venv}/bin/python".encode()):
        return LAUNCHER + rest
    second, end, body = rest.partition(b"\n' '''\n")
    is_long = first == b"#!/bin/sh" and end and second.startswith(b"'''exec' ") and str(venv).encode() in second
    return LAUNCHER + body if is_long else data


def publish(
    home: HomePaths,
    section: Mapping[str, Any],
    venv: Path,
    *,
    base: Base,
    packages: tuple[tuple[str, str], ...],
    started: float,
) -> Manifest:
    """The archive under its digest, then the manifest that names it: without a manifest there is no environment."""
    name = digest.hexadecimal(section["digest"])
    part = home.environments / f".{name}.{os.getpid()}.part"
    try:
        packed = packing.pack(venv, part)
        archive = digest.of_file(part)
        part.replace(home.environment_archive(archive))
    finally:
        part.unlink(missing_ok=True)
    manifest = Manifest(
        digest=section["digest"],
        lock=section["lock"],
        base=base,
        forgia=environment.version(),
        archive=archive,
        archive_bytes=home.environment_archive(archive).stat().st_size,
        unpacked_bytes=packed.unpacked_bytes,
        files=packed.files,
        packages=packages,
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(time.monotonic() - started, 1),
    )
    store.write_json(home.environment(section["digest"]), manifest.to_json())
    return manifest
