"""One SLURM lab a test session: started when first asked for, swept away at the end and after a killed session."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_packages as packages
from lab import SlurmLab, free_port, start_mark

FOLDER = Path("/tmp")
"""Not TMPDIR, which may be long: sockets below it would not open."""
PREFIX = "forgia-slurm-"
LAB = pytest.StashKey[SlurmLab]()
REASON = pytest.StashKey[str]()
"""Why no lab could be had, for the last lines of the run."""


def shared_lab(config: pytest.Config) -> SlurmLab:
    """The session's lab. Skips, or under CI fails, where this machine cannot run one."""
    if LAB in config.stash:
        return config.stash[LAB]
    if REASON not in config.stash:
        try:
            config.stash[LAB] = lab = start_lab()
        except packages.NoSlurmError as error:
            config.stash[REASON] = str(error)
        else:
            config.add_cleanup(lab.stop)
            return lab
    reason = f"no SLURM on this machine: {config.stash[REASON]}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def start_lab() -> SlurmLab:
    """A lab in a folder of its own that names the running tests as its owner."""
    sweep()
    # The tests run with a home of their own; what was fetched once is kept below the real one.
    prefix = packages.provide(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache")
    root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=FOLDER))
    (root / "owner.json").write_text(json.dumps([os.getpid(), start_mark(os.getpid())]))
    lab = SlurmLab(root, port=free_port(4), prefix=prefix)
    lab.start()
    return lab


def sweep() -> None:
    """Stop labs whose session was killed before it could."""
    for root in abandoned():
        SlurmLab(root, port=0).stop()
        shutil.rmtree(root, ignore_errors=True)


def abandoned() -> Iterator[Path]:
    """Folders of labs, ours by owner, whose session is no more."""
    for root in FOLDER.glob(f"{PREFIX}*"):
        try:
            pid, mark = json.loads((root / "owner.json").read_text())
            mine = root.stat().st_uid == os.getuid()
        except (OSError, ValueError):
            continue
        if mine and start_mark(pid) != mark:
            yield root
