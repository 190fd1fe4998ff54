"""What all batch scripts share: quoting that leaves nothing to a shell, and the lines before a task starts."""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forgia.errors import UserError
from forgia.paths import CLAIM, RunPaths
from forgia.schedulers.payload import ATTEMPT_VARIABLE, LAST_ATTEMPT_VARIABLE, LEAD_VARIABLE
from forgia.store import read_json, umask

OWN = RunPaths(Path())
"""The run's files, seen from its folder."""
CONTAINER_GPUS = {"nvidia": "--nv", "amd": "--rocm"}
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
"""Characters that end a line for somebody."""
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
OWN_VARIABLES = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "FORGIA_", "MASTER_", "LD_PRELOAD", "BASH_ENV")
"""Beginnings of variables that a profile may not set: the launcher's own, and those that run code."""
TASK_COMMAND = "-u -m forgia.schedulers.node"
"""How a task starts, in place of submitit's ``-u -m submitit.core._submit``, which loads whatever pickle lies there."""


def wrong_texts(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each value that would break out of its line."""
    return [
        f"{name} = {str(value)!r} has a line break or control character"
        for name, value in values.items()
        if CONTROL.search(str(value))
    ]


def wrong_paths(paths: RunPaths) -> list[str]:
    """A sentence if SLURM or submitit would read something else into the run's folder."""
    text = str(paths.root)
    problems = wrong_texts({"run folder": text})
    if "%" in text or "\\" in text:
        problems.append(f"run folder {text!r} has a % or a backslash, which SLURM replaces in file names")
    return problems


def wrong_environment(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that a profile may not set."""
    problems = [
        f"environment: {name!r} is not the name of a variable" for name in environment if not VARIABLE.match(name)
    ]
    problems += [
        f"environment: {name} is set by the launcher" for name in environment if name.startswith(OWN_VARIABLES)
    ]
    return problems + wrong_texts({f"environment.{name}": value for name, value in environment.items()})


def refuse(problems: Iterable[str], *, run_id: str, profile: str) -> None:
    """Raises: UserError — there are problems; all of them are listed."""
    if found := list(problems):
        text = "\n".join(
            [f"run {run_id} cannot be written as a job for profile {profile!r}:", *(f"  {p}" for p in found)]
        )
        raise UserError(text, hint=f"forgia profile show {profile}")


def preamble(profile: Mapping[str, Any], paths: RunPaths) -> list[str]:
    """Shell lines before the task: modules, variables and the site's own lines; the first that fails ends the job."""
    modules = list(profile.get("modules") or ())
    environment = dict(profile.get("environment") or {})
    return [
        f"umask {umask(paths.root):03o}",
        # A batch shell is no login shell: the function may not be there yet.
        *(["type module >/dev/null 2>&1 || source /etc/profile"] if modules else []),
        "set -e",
        """trap 'echo "forgia: line $LINENO of the batch script failed: $BASH_COMMAND" >&2' ERR""",
        *(f"module load {shlex.quote(module)}" for module in modules),
        *(f"export {name}={shlex.quote(str(environment[name]))}" for name in sorted(environment)),
        *(str(line) for line in profile.get("setup") or ()),
    ]


def interpreter(profile: Mapping[str, Any]) -> str:
    """Python on the nodes: the profile's, else the one that runs forgia."""
    return shlex.quote(str(profile.get("python") or sys.executable))


def task_command(request: Mapping[str, Any], *, home: str = '"$home"') -> str:
    """The command of one rank, for a shell that stands in the run's folder; ``home``: forgia's, as the shell has it."""
    profile, kind = request["profile"], environment_kind(request)
    if kind == "image":
        return f"{container_command(request, home=home)} python3 {TASK_COMMAND} submission"
    if kind == "lock":
        return f"{enter_command(profile)} -- {TASK_COMMAND} submission"
    return f"{interpreter(profile)} {TASK_COMMAND} submission"


def environment_kind(request: Mapping[str, Any]) -> str:
    """What the ranks live in: the submitter's environment, one packed from a lock, or an image."""
    return str(request.get("environment", {}).get("kind", "current"))


def enter_command(profile: Mapping[str, Any]) -> str:
    """Check the environment that the run's folder names, with what the node has before it has any."""
    return f"{interpreter(profile)} -I -S {OWN.unpacking} {OWN.environment}"


def container_command(request: Mapping[str, Any], *, home: str) -> str:
    """The start of a command inside an image, which sees forgia's home and the GPUs.

    Source: https://apptainer.org/docs/user/1.3/cli/apptainer_exec.html
    """
    vendor = (request["profile"].get("gpu") or {}).get("vendor")
    gpus = CONTAINER_GPUS.get(str(vendor), "") if request["resources"]["gpus_per_node"] else ""
    image = shlex.quote(request["environment"]["image"])
    return " ".join(filter(None, ["apptainer exec", gpus, f"--bind {home}", image]))


def excluded_nodes(paths: RunPaths) -> str | None:
    """Nodes that an earlier attempt found bad, as SLURM lists them; None: it found none."""
    try:
        lines = paths.excluded_nodes.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    return ",".join(sorted({line.split()[0] for line in lines if line.strip()})) or None


def environment_lines(request: Mapping[str, Any]) -> list[str]:
    """Shell lines before the ranks start: an image is one file for all nodes, so it is digested once."""
    if environment_kind(request) != "image":
        return []
    return ["home=$(cd ../.. && pwd)", f"{enter_command(request['profile'])} || exit $?"]


def attempt_exports(expression: str, *, last: int | str, lead_s: int) -> list[str]:
    """The lines that tell the job which attempt it is, which one is its last, and how early it is warned."""
    return [
        f"export {ATTEMPT_VARIABLE}={expression}",
        f"export {LAST_ATTEMPT_VARIABLE}={last}",
        f"export {LEAD_VARIABLE}={lead_s}",
    ]


LEAD_PER_CHECKPOINT = 3
"""A checkpoint on a busy disk may take so many times as long as the slowest that was measured."""
LEAD_MARGIN_S = 30
"""For the step that has to be ended first, and for the way out."""
LONGEST_LEAD_S = 65_535
"""Source: sbatch(1) of SLURM 22.05, --signal"""


def signal_lead_s(profile: Mapping[str, Any], minutes: int, *, slowest_checkpoint_s: float = 0.0) -> int:
    """Seconds of warning; in a short job at most a third of it, else the warning would come before the work."""
    measured = math.ceil(slowest_checkpoint_s * LEAD_PER_CHECKPOINT) + LEAD_MARGIN_S if slowest_checkpoint_s else 0
    return min(max(int(profile.get("signal_lead_s") or 90), measured), minutes * 20, LONGEST_LEAD_S)


def slowest_checkpoint_s(paths: RunPaths) -> float:
    """What the slowest checkpoint of the run took so far; 0 where none was measured."""
    try:
        return float(read_json(paths.slowest_checkpoint)["seconds"])
    except (FileNotFoundError, KeyError, TypeError, ValueError, UserError):
        return 0.0


def claim_lines(job: str) -> list[str]:
    """Shell lines that end a job whose attempt is with another; ``job`` is ``<job id>.<restart count>`` for a shell.

    Of two jobs of one attempt (the submitter gave the first up too early, or a person sent a copy) one runs. The rest
    is ``claim`` of forgia.run; a scheduler that starts the same job twice has ended its first start.
    """
    return [
        f'holder="job-{job}"',
        'touch "$logs/$holder"',
        f'if ! ln -sn "$holder" "$logs/{CLAIM}" 2>/dev/null; then',
        f'  owner=$(readlink "$logs/{CLAIM}")',
        '  if [ "${owner%.*}" != "${holder%.*}" ]; then',
        '    echo "forgia: attempt $FORGIA_ATTEMPT is with $owner, so $holder has nothing to do" >&2',
        "    exit 0",
        "  fi",
        "fi",
    ]
