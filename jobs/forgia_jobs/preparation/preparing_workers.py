"""Who does the work of a preparation: Dask's workers, processes of this machine or jobs of a SLURM cluster.

Dask runs whatever it is sent. So that it is sent nothing by strangers on the same machine or network, every connection
is encrypted and both sides show a certificate, made for this one preparation and readable by its owner alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia import process, store
from forgia.errors import ForgiaError, UserError
from forgia.paths import RunPaths
from forgia.schedulers import script, slurm_script

TRIES = 3
"""How often a task is given to another worker when its own has died."""
RESTART_PATIENCE = "10 minutes"
"""For the successor of a worker that died to come up; on a busy machine its imports alone take a minute."""
JOB_NAME = "forgia-prepare"
BYTES_A_ROW = {"arrange": 280, "column": 90}
"""Memory of a task for each row of the data, however many columns it has. Measured: docs/log.md, "the data path"."""
BYTES_A_WORKER = 768 << 20
"""Memory of a worker that has imported all it needs, and some to spare."""
UNLIMITED = [
    f"export DASK_DISTRIBUTED__WORKER__MEMORY__{name}=False" for name in ("TARGET", "SPILL", "PAUSE", "TERMINATE")
]
"""Near its limit Dask would pause a worker, for ever if the column it works on stays; SLURM has a limit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How many workers, and where they come from."""

    scheduler: str
    """``slurm``, or anything else for this machine."""
    count: int
    rows: int
    """Of the data; decides the memory of a worker."""
    profile: Mapping[str, Any]
    resources: Mapping[str, Any]

    @property
    def memory_bytes(self) -> int:
        """What a worker may need: any of them may be the one that arranges the rows."""
        return BYTES_A_WORKER + BYTES_A_ROW["arrange"] * self.rows


@contextlib.contextmanager
def executor(wanted: Wanted, folder: Path) -> Iterator[Executor]:
    """Workers while the block runs; all of them end with it.

    Args: folder — private, on a disk that workers see. Raises: UserError — Dask is not installed, or the profile
    cannot be written as a job; ForgiaError — there is no openssl.
    """
    os.environ["DASK_CONFIG"] = str(folder / "dask-config")  # dask-jobqueue would write to the user's own
    try:
        import dask
        import distributed
    except ImportError as error:
        raise UserError(f"preparing needs Dask: {error}", hint="pip install 'forgia[dask]'") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "temporary-directory": str(folder / "dask"),
        "distributed.scheduler.allowed-failures": TRIES,
        "distributed.deploy.lost-worker-timeout": RESTART_PATIENCE,
    }
    make = slurm_cluster if wanted.scheduler == "slurm" else local_cluster
    with dask.config.set(settings):
        security = credentials(folder)
        try:
            with make(wanted, folder, security) as cluster, distributed.Client(cluster, security=security) as client:  # type: ignore[no-untyped-call]
                yield client.get_executor(pure=False)
        except distributed.KilledWorker as error:
            need = f"each may need {wanted.memory_bytes / 1e9:.1f} GB"
            raise ForgiaError(
                f"a task was begun {TRIES + 1} times and its worker died each time, most likely of too little memory"
                f" ({need})",
                hint="use fewer --workers, or a machine with more memory",
            ) from error


def local_cluster(wanted: Wanted, folder: Path, security: Any) -> Any:
    """Processes of this machine that nobody else can reach."""
    from distributed import LocalCluster

    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=wanted.count,
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        worker_dashboard_address=None,
        local_directory=str(folder / "dask"),
        memory_limit=0,  # as UNLIMITED
        silence_logs=logging.CRITICAL,
    )


def slurm_cluster(wanted: Wanted, folder: Path, security: Any) -> Any:
    """Jobs of one worker each; they are cancelled when the cluster is closed."""
    from dask_jobqueue.slurm import SLURMCluster

    cluster: Any = SLURMCluster(
        **job_arguments(wanted, folder),
        protocol="tls://",
        security=security,
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
    )
    cluster.scale(jobs=wanted.count)
    return cluster


def job_arguments(wanted: Wanted, folder: Path) -> dict[str, Any]:
    """What dask-jobqueue makes a batch script of. Raises: UserError — something would be read as more than a value."""
    profile, minutes = wanted.profile, math.ceil(wanted.resources["walltime_s"] / 60)
    refuse(profile, folder)
    flags = {"qos": profile.get("qos"), **(profile.get("extra_sbatch") or {})}
    told = {name: value for name, value in flags.items() if value not in (None, False, "")}
    return {
        "queue": profile.get("partition"),
        "account": profile.get("account"),
        "cores": 1,
        "processes": 1,
        "memory": f"{math.ceil(wanted.memory_bytes / 2**20)}MiB",
        "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "job_name": JOB_NAME,
        "job_extra_directives": [
            slurm_script.flag_line(name, value).removeprefix("#SBATCH ")
            for name, value in {"export": "ALL", **told}.items()
        ],
        "job_directives_skip": ["--mem"] if profile.get("memory_follows_cores") else [],
        "job_script_prologue": [*script.preamble(profile, RunPaths(folder)), *UNLIMITED],
        "python": script.interpreter(profile),
        "local_directory": str(folder / "dask"),
        "log_directory": str(folder / "logs"),
    }


def refuse(profile: Mapping[str, Any], folder: Path) -> None:
    """Raises: UserError — a value of the profile, or the folder, would break out of its line of the batch script."""
    values = {f"--{name}": profile.get(name) for name in ("partition", "account", "qos") if profile.get(name)}
    extras = {f"--{name}": value for name, value in (profile.get("extra_sbatch") or {}).items()}
    strange = [f"--{name[2:]} = {value!r} has a blank or a quote" for name, value in values.items() if quoted(value)]
    place = [f"folder {str(folder)!r} has a blank or a quote"] if quoted(folder) else []
    wrong = [
        *script.wrong_texts({**values, **extras}),
        *script.wrong_environment(profile.get("environment") or {}),
        *slurm_script.wrong_extras(profile),
        *script.wrong_paths(RunPaths(folder)),
    ]
    script.refuse([*wrong, *strange, *place], run_id=JOB_NAME, profile=str(profile.get("name", "")))


def quoted(value: Any) -> bool:
    """Whether a shell would have to be told to take it as it stands."""
    return shlex.quote(str(value)) != str(value)


def credentials(folder: Path) -> Any:
    """A key and its certificate, which is all that the other side believes. Raises: ForgiaError — openssl failed."""
    from distributed import Security

    key, certificate = folder / "key.pem", folder / "certificate.pem"
    store.private_directory(folder)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=forgia", "-days", "8"]
    argv = ["openssl", "req", "-x509", *curve, "-keyout", str(key), "-out", str(certificate)]
    done = process.run(argv, timeout_s=60, umask=0o077)
    if done.returncode:
        raise ForgiaError(f"openssl made no key for the workers: {done.stderr.strip()}")
    roles = {
        f"tls_{role}_{kind}": str(path)
        for role in ("client", "scheduler", "worker")
        for kind, path in (("key", key), ("cert", certificate))
    }
    return Security(  # type: ignore[no-untyped-call]
        tls_ca_file=str(certificate), require_encryption=True, **roles
    )


def usual(scheduler: str, *, rows: int, tasks: int) -> int:
    """Workers where nobody says how many: one job, or what this machine has cores and memory for, at least one."""
    if scheduler == "slurm":
        return 1
    each = BYTES_A_WORKER + BYTES_A_ROW["column"] * rows
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min(len(os.sched_getaffinity(0)), tasks, free // each), 1)
