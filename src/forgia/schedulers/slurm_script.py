"""A request as an sbatch script: text in, text out; the same bytes for the same request."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from typing import Any

from forgia.paths import RunPaths
from forgia.schedulers import script
from forgia.schedulers.payload import MORE_WANTED, TASK_FILE

COMMENT = "forgia:"
"""Before the job's name in its comment: how a job is known as ours."""
ATTEMPT_SIGN = "@"
"""Between a run's name and the attempt's number; in no run's name."""
MOST_REQUEUES = 100
"""A job that goes round more often than this makes no progress."""
FLAG = re.compile(r"^[a-z][a-z0-9-]*$")
OWN_FLAGS = frozenset(
    {
        *("array", "chdir", "comment", "error", "export", "input", "job-name", "open-mode", "output", "parsable"),
        *("cpus-per-task", "gpus", "gpus-per-node", "gres", "mem", "nodes", "ntasks", "ntasks-per-node", "time"),
        *("no-requeue", "requeue", "signal", "test-only", "wait", "wrap"),
    }
)
"""What the request decides; a profile's ``extra_sbatch`` may add to these, not overrule them."""
GPU_STYLES = {
    "gres": ("gres", "gpu:{kind}{per_node}"),
    "gpus-per-node": ("gpus-per-node", "{kind}{per_node}"),
    "gpus": ("gpus", "{kind}{total}"),
}
"""How a site wants GPUs to be asked for."""
PLAIN = re.compile(r"^[A-Za-z0-9@%+=:,./_-]+$")


def render(request: Mapping[str, Any], paths: RunPaths, *, attempt: int) -> str:
    """The script. Raises: UserError — something in it would be read as more than a value."""
    profile = request["profile"]
    flags = sbatch_flags(request, paths, attempt=attempt)
    script.refuse(
        [
            *script.wrong_texts({f"--{name}": value for name, value in flags.items()}),
            *swallowed(flags),
            *script.wrong_paths(paths),
            *script.wrong_environment(profile.get("environment") or {}),
            *wrong_extras(profile),
        ],
        run_id=paths.root.name,
        profile=str(profile.get("name", "")),
    )
    lines = ["#!/bin/bash", *(flag_line(name, value) for name, value in flags.items()), ""]
    return "\n".join([*lines, *script.preamble(profile, paths), "", *body(profile, attempt=attempt), ""])


def job_name(run_id: str, attempt: int) -> str:
    """How an attempt's job is called: by its run, with ``@2``, ``@3`` … for those after the first."""
    return run_id if attempt == 1 else f"{run_id}{ATTEMPT_SIGN}{attempt}"


def sbatch_flags(request: Mapping[str, Any], paths: RunPaths, *, attempt: int) -> dict[str, Any]:
    """Flag → value, in the order of the script; True stands for a bare flag."""
    profile, wanted = request["profile"], request["resources"]
    minutes = math.ceil(wanted["walltime_s"] / 60)
    flags = {
        "job-name": job_name(paths.root.name, attempt),
        "comment": f"{COMMENT}{job_name(paths.root.name, attempt)}",
        "partition": profile.get("partition"),
        "account": profile.get("account"),
        "qos": profile.get("qos"),
        "nodes": wanted["nodes"],
        "ntasks-per-node": wanted["tasks_per_node"],
        "cpus-per-task": wanted["cpus_per_task"],
        "mem": memory(profile, wanted),
        **gpu_flag(profile.get("gpu") or {}, wanted),
        "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "signal": f"USR2@{signal_lead_s(profile, minutes)}",
        "requeue": True,
        "chdir": paths.root,
        "output": f"attempts/{attempt}/batch.log",
        "open-mode": "append",
        # Written out, so that no SBATCH_EXPORT of the user or the site can starve the job of its environment.
        "export": "ALL",
        **(profile.get("extra_sbatch") or {}),
    }
    return {name: value for name, value in flags.items() if value not in (None, False, "")}


def memory(profile: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """For each node; None where it comes with the cores."""
    if profile.get("memory_follows_cores") or not wanted.get("memory_gb"):
        return None
    return f"{math.ceil(wanted['memory_gb'] * 1024)}M"


def gpu_flag(gpu: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """The one flag that asks for GPUs, or none."""
    if not wanted["gpus_per_node"]:
        return {}
    per_node = wanted["gpus_per_node"]
    kind = f"{gpu['type']}:" if gpu.get("type") else ""
    name, form = GPU_STYLES[gpu.get("request_style") or "gres"]
    return {name: form.format(kind=kind, per_node=per_node, total=per_node * wanted["nodes"])}


def signal_lead_s(profile: Mapping[str, Any], minutes: int) -> int:
    """Seconds of warning; in a short job at most a third of it, else the warning would come before the work."""
    return min(int(profile.get("signal_lead_s") or 90), minutes * 20)


def wrong_extras(profile: Mapping[str, Any]) -> list[str]:
    """A sentence for each extra flag that is none, or that the request decides."""
    extras = profile.get("extra_sbatch") or {}
    problems = [f"extra_sbatch: {name!r} is not a flag of sbatch" for name in extras if not FLAG.match(name)]
    return problems + [f"extra_sbatch: --{name} is decided by the request" for name in extras if name in OWN_FLAGS]


def flag_line(name: str, value: Any) -> str:
    """One directive. In double quotes sbatch takes everything as it stands but a quote and a backslash.

    Source: get_argument in sbatch's opt.c (SLURM 18.08), tried on 22.05.8
    """
    if value is True:
        return f"#SBATCH --{name}"
    text = str(value)
    if not PLAIN.match(text):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"#SBATCH --{name}={text}"


def swallowed(flags: Mapping[str, Any]) -> list[str]:
    """A sentence for each value with a word that sbatch takes out wherever it stands in a directive."""
    return [
        f"--{name} = {str(value)!r}: sbatch reads {word!r} in it as the mark of a heterogeneous job"
        for name, value in flags.items()
        for word in ("hetjob", "packjob")
        if word in str(value).lower()
    ]


def body(profile: Mapping[str, Any], *, attempt: int) -> list[str]:
    """From the allocation to the ranks, and back to the queue when the job wants to go on."""
    arguments = "".join(f" {shlex.quote(str(argument))}" for argument in profile.get("srun_args") or ())
    return [
        script.attempt_export(f"$(({attempt} + ${{SLURM_RESTART_COUNT:-0}}))"),
        'logs="attempts/$FORGIA_ATTEMPT"',
        'mkdir -p "$logs"',
        *script.claim_lines("$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"),
        # The pickle was written before the submission: the job does not depend on its submitter living on.
        f'ln -sfn {TASK_FILE} "submission/${{SLURM_JOB_ID}}_submitted.pkl"',
        "export SUBMITIT_EXECUTOR=slurm SLURM_EXPORT_ENV=ALL",
        # Since 22.05 srun no longer takes over the cores of the allocation.
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "trap - ERR",
        # A rank that fails closes its connections; the leader sees it and still has to say why in the journal.
        "status=0",
        'srun --unbuffered --kill-on-bad-exit=0 --output="$logs/rank-%t.out" --error="$logs/rank-%t.err" '
        f"--open-mode=append{arguments} \\",
        f"  {script.task_command(profile)} || status=$?",
        f'if [ -e "$logs/{MORE_WANTED}" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MOST_REQUEUES} ]; then',
        '  scontrol requeue "$SLURM_JOB_ID" && sleep 60',
        "fi",
        'exit "$status"',
    ]
