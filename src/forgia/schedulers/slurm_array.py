"""Many runs as one sbatch script: each task looks up its run, then does what the script of that run alone would do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

from forgia.paths import RunPaths
from forgia.schedulers import script, slurm_script
from forgia.schedulers.array import Place
from forgia.schedulers.payload import SEAL_VARIABLE
from forgia.schedulers.protocol import Array
from forgia.store import umask

TASK = re.compile(r"^(\d+)_(\d+)$")
"""A task of an array, in every program's spelling of it."""


def render(array: Array) -> str:
    """The script. Raises: UserError — as that of a single run."""
    profile, folder = array.request["profile"], RunPaths(array.paths.root)
    slurm_script.refuse_paths(profile, folder)
    flags = sbatch_flags(array)
    slurm_script.refuse(profile, flags, run_id=array.sweep_id)
    lines = [*member_lines(array), "", *script.preamble(profile, folder)]
    body = slurm_script.body(array.request, attempt="first", lead_s=int(flags["signal"].partition("@")[2]))
    return slurm_script.assemble(flags, [*lines, "", *map(for_member, body)])


def sbatch_flags(array: Array) -> dict[str, Any]:
    """Flag → value: those of a single run, but for what names the job and where it stands."""
    name = slurm_script.job_name(array.sweep_id, array.number)
    throttle = f"%{array.parallel}" if array.parallel else ""
    slowest_s = max(script.slowest_checkpoint_s(paths) for paths, _ in array.members)
    folder = RunPaths(array.paths.root)
    return {
        **slurm_script.sbatch_flags(array.request, folder, attempt=1, nice=array.nice, slowest_checkpoint_s=slowest_s),
        "job-name": name,
        "comment": f"{slurm_script.COMMENT}{name}",
        "output": array.paths.log.name,
        "array": f"0-{len(array.members) - 1}{throttle}",
    }


def member_lines(array: Array) -> list[str]:
    """Shell lines from the array's folder to that of the task's run; a list that was altered is not followed."""
    runs = array.members[0][0].root.parent
    return [
        f"umask {umask(runs):03o}",
        f"listing=$(cat {array.paths.members.name})",
        f'if [ "$(printf \'%s\\n\' "$listing" | sha256sum | cut -d " " -f 1)" != "${SEAL_VARIABLE}" ]; then',
        '  echo "forgia: the list of this array\'s runs was altered after it was sent; nothing is started" >&2',
        "  exit 1",
        "fi",
        f'read -r run first {SEAL_VARIABLE} < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" <<<"$listing")',
        f"export {SEAL_VARIABLE}",
        f'cd {shlex.quote(str(runs))}/"$run" && mkdir -p "attempts/$first" || exit 1',
        'exec >>"attempts/$first/batch.log" 2>&1',
        'member="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"',
        '[ "${SLURM_RESTART_COUNT:-0}" -eq 0 ] || echo "forgia: start $((SLURM_RESTART_COUNT + 1)) of job $member"',
    ]


def for_member(line: str) -> str:
    """A line of a single run's script for a task: its own job id would mean the whole array in the last of them."""
    return line.replace("${SLURM_JOB_ID}", "${member}").replace("$SLURM_JOB_ID", "$member")


def bases(job_ids: Iterable[str]) -> list[str]:
    """The jobs that these jobs and tasks are of, each once: a list of thousands of tasks is too long for a program."""
    return list(dict.fromkeys(map(base_of, job_ids)))


def base_of(job_id: str) -> str:
    """The array that a task is of; a job itself."""
    return job_id.partition("_")[0]


def condensed(job_ids: Iterable[str]) -> list[str]:
    """Job ids with the tasks of an array put together, ``7_[0-3,8]``."""
    tasks: dict[str, list[int]] = {}
    plain: list[str] = []
    for job_id in job_ids:
        if found := TASK.match(job_id):
            tasks.setdefault(found[1], []).append(int(found[2]))
        else:
            plain.append(job_id)
    return plain + [f"{job}_[{spans(numbers)}]" for job, numbers in tasks.items()]


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers as ranges, ``0-3,8``."""
    ends: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def expanded(text: str) -> list[str]:
    """Every task of ``7_[0-3,8%2]``; another id stands for itself."""
    found = re.match(r"^(\d+)_\[([\d,-]+)", text)
    if not found:
        return [text]
    pairs = (span.partition("-") for span in found[2].split(",") if span)
    ends = [(int(first), int(last or first)) for first, _, last in pairs if first.isdecimal()]
    return [f"{found[1]}_{number}" for first, last in ends for number in range(first, last + 1)]


def name_of(job: Place | str) -> str:
    """What the array of a place is called in the queue; a single job's name is its own."""
    return job if isinstance(job, str) else slurm_script.job_name(job.sweep_id, job.number)
