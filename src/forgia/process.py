"""Running other programs: an argument list, a time-out, and errors that name the program. Never a shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forgia.errors import ClusterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a program left behind."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    folder: Path | None = None,
    umask: int = -1,
) -> Completed:
    """Run a program to its end; ``environment`` is laid over our own, ``without`` some of its variables.

    ``umask``: -1 leaves ours.

    Raises: ClusterError — the program is not there (final) or did not answer in time (transient).
    """
    try:
        done = subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**{key: os.environ[key] for key in os.environ if key not in without}, **(environment or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            umask=umask,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{argv[0]}: no such program on this machine", transient=False) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{argv[0]} did not answer within {timeout_s:.0f} s", transient=True) from error
    return Completed(argv=tuple(argv), returncode=done.returncode, stdout=done.stdout, stderr=done.stderr)
