"""What all batch scripts share: quoting that leaves nothing to a shell, and the lines before a task starts."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from forgia.errors import UserError
from forgia.paths import CLAIM, RunPaths
from forgia.schedulers.payload import ATTEMPT_VARIABLE
from forgia.store import umask

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


def task_command(profile: Mapping[str, Any]) -> str:
    """The command of one rank, for a shell that stands in the run's folder."""
    return f"{interpreter(profile)} {TASK_COMMAND} submission"


def attempt_export(expression: str) -> str:
    """The line that tells the job which attempt it is."""
    return f"export {ATTEMPT_VARIABLE}={expression}"


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
