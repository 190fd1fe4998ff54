"""A request as an sbatch script: text in, text out; the same bytes for the same request."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from forgia.paths import HISTORY, LAST_FACTS, LAST_WORD, RunPaths
from forgia.schedulers import script
from forgia.schedulers.payload import (
    ATTEMPT_VARIABLE,
    END_VARIABLE,
    LAST_ATTEMPT_VARIABLE,
    MORE_WANTED,
    STOPPED,
    TASK_FILE,
    allowance_of,
)

COMMENT = "forgia:"
"""Before the job's name in its comment: how a job is known as ours."""
ATTEMPT_SIGN = "@"
"""Between a run's name and the attempt's number; in no run's name."""
ASKING_TIMEOUT_S = 30
"""A job does not wait longer than this for SLURM to tell of it."""
FLAG = re.compile(r"^[a-z][a-z0-9-]*$")
OWN_FLAGS = frozenset(
    {
        *("array", "chdir", "comment", "error", "export", "input", "job-name", "open-mode", "output", "parsable"),
        *("cpus-per-task", "gpus", "gpus-per-node", "gres", "mem", "nodes", "ntasks", "ntasks-per-node", "time"),
        *("nice", "no-requeue", "requeue", "signal", "test-only", "wait", "wrap"),
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


def render(
    request: Mapping[str, Any],
    paths: RunPaths,
    *,
    attempt: int,
    nice: int = 0,
    slowest_checkpoint_s: float = 0.0,
) -> str:
    """The script. Raises: UserError — something in it would be read as more than a value.

    ``slowest_checkpoint_s`` is what was measured in earlier attempts, and decides how early the job is warned.
    """
    profile = request["profile"]
    refuse_paths(profile, paths)
    flags = sbatch_flags(request, paths, attempt=attempt, nice=nice, slowest_checkpoint_s=slowest_checkpoint_s)
    refuse(profile, flags, run_id=paths.root.name)
    lead_s = int(flags["signal"].partition("@")[2])
    lines = body(request, attempt=attempt, lead_s=lead_s)
    return assemble(flags, [*script.preamble(profile, paths), "", *lines])


def refuse_paths(profile: Mapping[str, Any], paths: RunPaths) -> None:
    """Raises: UserError — SLURM would read something else into the folder; told before anything in it is looked at."""
    script.refuse(script.wrong_paths(paths), run_id=paths.root.name, profile=str(profile.get("name", "")))


def refuse(profile: Mapping[str, Any], flags: Mapping[str, Any], *, run_id: str) -> None:
    """Raises: UserError — something in the script would be read as more than a value."""
    script.refuse(
        [
            *script.wrong_texts({f"--{name}": value for name, value in flags.items()}),
            *swallowed(flags),
            *script.wrong_environment(profile.get("environment") or {}),
            *wrong_extras(profile),
        ],
        run_id=run_id,
        profile=str(profile.get("name", "")),
    )


def assemble(flags: Mapping[str, Any], lines: Sequence[str]) -> str:
    """Directives and shell lines as the text of a script."""
    return "\n".join(["#!/bin/bash", *(flag_line(name, value) for name, value in flags.items()), "", *lines, ""])


def job_name(run_id: str, attempt: int) -> str:
    """How an attempt's job is called: by its run, with ``@2``, ``@3`` … for those after the first."""
    return run_id if attempt == 1 else f"{run_id}{ATTEMPT_SIGN}{attempt}"


def sbatch_flags(
    request: Mapping[str, Any], paths: RunPaths, *, attempt: int, nice: int = 0, slowest_checkpoint_s: float = 0.0
) -> dict[str, Any]:
    """Flag → value, in the order of the script; True stands for a bare flag."""
    profile, wanted = request["profile"], request["resources"]
    minutes = math.ceil(wanted["walltime_s"] / 60)
    lead_s = script.signal_lead_s(profile, minutes, slowest_checkpoint_s=slowest_checkpoint_s)
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
        "signal": f"USR2@{lead_s}",
        "requeue": True,
        "chdir": paths.root,
        "output": f"attempts/{attempt}/batch.log",
        "open-mode": "append",
        # Written out, so that no SBATCH_EXPORT of the user or the site can starve the job of its environment.
        "export": "ALL",
        "exclude": script.excluded_nodes(paths),
        "nice": nice or None,
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


def body(request: Mapping[str, Any], *, attempt: int | str, lead_s: int | None = None) -> list[str]:
    """From the allocation to the ranks, and back to the queue when the job wants to go on.

    ``attempt`` is the number of its first start, or the shell variable that holds it.
    """
    profile, walltime_s = request["profile"], math.ceil(request["resources"]["walltime_s"] / 60) * 60
    more = allowance_of(request) - 1
    return [
        *script.attempt_exports(
            f"$(({attempt} + ${{SLURM_RESTART_COUNT:-0}}))",
            last=f"$(({attempt} + {more}))",
            lead_s=script.signal_lead_s(profile, walltime_s // 60) if lead_s is None else lead_s,
        ),
        f'export {END_VARIABLE}="${{SLURM_JOB_END_TIME:-$(($(date +%s) + {walltime_s}))}}"',
        f'logs="attempts/${ATTEMPT_VARIABLE}"',
        'mkdir -p "$logs"',
        *script.claim_lines("$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"),
        *history_lines(),
        # The pickle was written before the submission: the job does not depend on its submitter living on.
        f'ln -sfn {TASK_FILE} "submission/${{SLURM_JOB_ID}}_submitted.pkl"',
        "export SUBMITIT_EXECUTOR=slurm SLURM_EXPORT_ENV=ALL",
        # Since 22.05 srun no longer takes over the cores of the allocation.
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "trap - ERR",
        *script.environment_lines(request),
        *launch_lines(request),
        *ending_lines(),
        'exit "$status"',
    ]


def history_lines() -> list[str]:
    """Ask, in a job that was started before, how that ended: only here, for a container has no SLURM."""
    return [
        'if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then',
        f'  SLURM_TIME_FORMAT=%s timeout {ASKING_TIMEOUT_S} sacct --jobs="$SLURM_JOB_ID" --allocations --duplicates \\',
        f'    --noheader --parsable2 --format=State,Start,End >"$logs/{HISTORY}" 2>/dev/null || true',
        "fi",
    ]


def launch_lines(request: Mapping[str, Any]) -> list[str]:
    """Start the ranks and wait for the last of them."""
    arguments = "".join(f" {shlex.quote(str(argument))}" for argument in request["profile"].get("srun_args") or ())
    return [
        # A rank that fails closes its connections; the leader sees it and still has to say why in the journal.
        "status=0",
        'srun --unbuffered --kill-on-bad-exit=0 --output="$logs/rank-%t.out" --error="$logs/rank-%t.err" '
        f"--open-mode=append{arguments} \\",
        f"  {script.task_command(request)} || status=$?",
    ]


def ending_lines() -> list[str]:
    """Go back to the queue, within what the job is allowed; else say what a lost rank left to be said."""
    facts, more, word = f"$logs/{LAST_FACTS}", f"$logs/{MORE_WANTED}", f"$logs/{LAST_WORD}"
    return [
        f'SLURM_TIME_FORMAT=%s timeout {ASKING_TIMEOUT_S} scontrol --oneliner show job "$SLURM_JOB_ID" \\',
        f'  >"{facts}" 2>/dev/null || true',
        # A job that gives way in time has ended well for SLURM, which then does not start it again.
        f'if [ -e "$logs/{STOPPED}" ] && grep -q " PreemptTime=[0-9]" "{facts}"; then touch "{more}"; fi',
        f'if [ -e "{more}" ] && [ "${ATTEMPT_VARIABLE}" -lt "${LAST_ATTEMPT_VARIABLE}" ]; then',
        # SLURM takes an exclusion only of a job that waits, and ends this shell the moment the job does.
        f"  [ ! -s {script.OWN.excluded_nodes} ] || trap '' TERM",
        f'  others=$(grep -o " ExcNodeList=[^ (]*" "{facts}" | cut -d = -f 2)',
        f'  bad=$(cut -d " " -f 1 {script.OWN.excluded_nodes} 2>/dev/null | paste -sd ,)',
        '  if scontrol requeue "$SLURM_JOB_ID"; then',
        '    [ -z "$bad" ] || scontrol update jobid="$SLURM_JOB_ID" ExcNodeList="$bad${others:+,$others}"',
        "    sleep 60",
        "  fi",
        "fi",
        # With a node lost SLURM starts the job again, and nothing has failed.
        f'if [ -e "{word}" ] && {{ [ ! -s "{facts}" ] || grep -q " JobState=RUNNING" "{facts}"; }}; then',
        f'  cat "{word}" >>journal.jsonl',
        "fi",
    ]
