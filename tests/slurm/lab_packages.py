"""Where the programs of a SLURM lab come from: the system, or Debian packages unpacked below the user's cache.

Nothing is installed and no right is needed for the second way: ``apt-get download`` and ``dpkg -x``.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = (
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurmdbd",
    "munge",
    "mariadb-server-core",
    "mariadb-client-core",
)
PROGRAMS = ("munged", "mariadbd", "mariadb", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
SYSTEM_FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")


class NoSlurmError(Exception):
    """This machine cannot run the lab; the text says why and what would help."""


def provide(cache: Path | None = None) -> Path:
    """The prefix below which every program lies: ``/`` when installed, else a folder filled once and kept.

    Raises: NoSlurmError — not installed, and they cannot be fetched either.
    """
    if not missing(Path("/")):
        return Path("/")
    prefix = (cache or Path("~/.cache").expanduser()) / "forgia-slurm" / distribution()
    if missing(prefix):
        fetch(prefix)
    if absent := missing(prefix):
        raise NoSlurmError(f"{prefix} lacks {', '.join(absent)} after unpacking; {advice()}")
    return prefix


def missing(prefix: Path) -> list[str]:
    """The programs that are not below this prefix."""
    # Debian's daemons are called slurmd-wlm; the short name is a link that only an installation makes.
    places = [prefix / folder for folder in SYSTEM_FOLDERS]
    return [
        name
        for name in PROGRAMS
        if not any((place / f"{name}{end}").exists() for place in places for end in ("", "-wlm"))
    ]


def distribution() -> str:
    """A folder name that differs where packages of one machine would not run on another."""
    release = platform.freedesktop_os_release()
    return f"{release.get('ID', 'linux')}-{release.get('VERSION_ID', '0')}-{platform.machine()}"


def fetch(prefix: Path) -> None:
    """Download and unpack the packages, with those they need that this machine lacks. Raises: NoSlurmError."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NoSlurmError(f"not a Debian machine and no SLURM is installed; {advice()}")
    work = prefix.with_name(f".{prefix.name}.{os.getpid()}.part")
    (work / "debs").mkdir(parents=True)
    try:
        call(["apt-get", "download", "-qq", *wanted()], folder=work / "debs", timeout_s=300)
        for package in sorted((work / "debs").glob("*.deb")):
            call(["dpkg", "-x", str(package), str(work)], folder=work, timeout_s=60)
        shutil.rmtree(work / "debs")
        shutil.rmtree(prefix, ignore_errors=True)
        work.rename(prefix)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def wanted() -> list[str]:
    """What apt would install on this machine for the packages: a simulation, which any user may run."""
    argv = ["apt-get", "-s", "install", "--no-install-recommends", *PACKAGES]
    lines = call(argv, folder=Path("/"), timeout_s=60)
    return sorted(set(re.findall(r"^Inst (\S+) ", lines, flags=re.MULTILINE)) | set(PACKAGES))


def call(argv: list[str], *, folder: Path, timeout_s: float) -> str:
    """Run a packaging tool. Raises: NoSlurmError — with the tool's own last words."""
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoSlurmError(f"{argv[0]} did not end within {timeout_s:.0f} s; {advice()}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise NoSlurmError(f"{' '.join(argv[:3])}: {words[0]}; {advice()}")
    return done.stdout


def advice() -> str:
    """The command that helps where root is at hand."""
    return f"install them: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
