"""The causes that are known: how each shows, what it means, what to do.

Patterns are tried in this order against one line at a time: of a reason, a log, the scheduler.
Source: SLURM's messages are those of a live 22.05.8 and of https://slurm.schedmd.com/sbatch.html; torch's those of
torch 2.6 to 2.9 (c10/cuda/CUDACachingAllocator.cpp, ProcessGroupNCCL.cpp, third_party/gloo) and of
https://github.com/pytorch/pytorch/issues/16417, 118369; the kernel's those of errno(3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One row."""

    name: str
    pattern: str
    """A regular expression; its named groups may stand in the texts."""
    sentence: str
    """With fields in braces: of the pattern, or of the run (see ``facts_of``)."""
    next: str
    is_symptom: bool = False
    """It says that something went wrong, not what: any clearer cause goes before it."""

    def found_in(self, text: str) -> re.Match[str] | None:
        """Where the pattern shows."""
        return re.search(self.pattern, text)


RETRY = "forgia job retry {run}"
MORE_MEMORY = "forgia run {recipe} --set resources.memory_gb={more_memory_gb}"
REFUSED = "{hint}"
"""What the table of SLURM's refusals advises."""

CAUSES = (
    Cause(
        name="nan-loss",
        pattern=r"the loss is (?P<value>-?nan|-?inf) at step (?P<step>\d+)",
        sentence="the loss became {value} at step {step}: the training diverged",
        next="forgia run {recipe} --set train.learning_rate={lower_rate}",
    ),
    Cause(
        name="world-size",
        pattern=r"(?P<found>\d+) process\(es\) were launched together|(?P<met>\d+) rank\(s\) met, but",
        sentence="{found}{met} process(es) came together, but the run asked for another number",
        next="forgia plan {recipe} --profile {profile}",
    ),
    Cause(
        name="integrity",
        pattern=r"(?P<what>dataset (?P<dataset>[\w.-]+@\d+)[^:]{0,300}?) is not what its digest says",
        sentence="{what} is not what its digest says: its bytes changed after the run was planned",
        next="forgia dataset verify {dataset}",
    ),
    Cause(
        name="integrity",
        pattern=r"(?P<what>/[^:]*/datasets/(?P<dataset>[^/:]+)/(?P<version>\d+)/[^:]+?) is not what its digest says",
        sentence="{what} is not what its digest says: its bytes changed after the run was planned",
        next="forgia dataset verify {dataset}@{version}",
    ),
    Cause(
        name="integrity",
        pattern=r"(?P<what>[^:]{1,300}?) is not what its digest says",
        sentence="{what} is not what its digest says: its bytes changed after the run was planned",
        next="forgia run {recipe} --again",
    ),
    Cause(
        name="integrity",
        pattern=r"the list of this array's runs was altered",
        sentence="the list of the sweep's runs was altered after it was sent, so nothing was started",
        next=RETRY,
    ),
    Cause(
        name="gate-refused",
        pattern=r"(?:^|Refused: |: )gate: (?P<gate>.+)",
        sentence="the model was trained, but the recipe's gate refused it: {gate}",
        next="forgia job show {run}",
    ),
    Cause(
        name="no-gpu",
        pattern=r"torch \S+ sees none here|RuntimeError: (?:No CUDA GPUs are available|Found no NVIDIA driver)",
        sentence="GPUs were asked for, but torch sees none on the node",
        next="forgia profile check {profile}",
    ),
    Cause(
        name="gpu-memory",
        pattern=r"torch\.(?:cuda\.)?OutOfMemoryError|^OutOfMemoryError|(?:CUDA|HIP) out of memory"
        r"|CUDA error: out of memory",
        sentence="the GPU's memory is too small for this batch size and network",
        next="forgia run {recipe} --set train.batch_size={half_batch}",
    ),
    Cause(
        name="gpu-fault",
        pattern=r"uncorrectable (?:NVLink|ECC) error|fallen off the bus|CUDA error: unspecified launch failure",
        sentence="a GPU of the node is faulty",
        next=RETRY,
    ),
    Cause(
        name="disk-quota",
        pattern=r"Disk quota exceeded|\[Errno 122\]|EDQUOT",
        sentence="the disk quota of you or of your project is used up",
        next="remove what is not needed (the site's quota command shows it), then: forgia job retry {run}",
    ),
    Cause(
        name="disk-full",
        pattern=r"No space left on device|\[Errno 28\]|ENOSPC",
        sentence="the disk is full",
        next="make room, then: forgia job retry {run}",
    ),
    Cause(
        name="host-memory",
        pattern=r"[Oo][Oo][Mm][-_ ][Kk]ill|\bOUT_OF_MEMORY\b|used more memory than it asked for|Out [Oo]f [Mm]emory"
        r"|exceeded (?:job |step )?memory limit|\bMemoryError\b|Cannot allocate memory|can't allocate memory"
        r"|std::bad_alloc|killed by signal: (?:Killed|Bus error)",
        sentence="a node's memory was not enough: {memory} for each node",
        next=MORE_MEMORY,
    ),
    Cause(
        name="environment",
        pattern=r"the environment cannot be used on node [^:]+: (?P<why>.+)"
        r"|execve\(\): (?P<execve>.+)|line \d+ of the batch script failed: (?P<command>.+)"
        r"|No module named '?(?P<own>forgia\w*|submitit|torch)\b|(?P<python>\S*python\S*: (?:cannot execute: )?"
        r"(?:No such file or directory|Permission denied|command not found))",
        sentence="the job's environment cannot be used on the node: {why}{execve}{command}{own}{python}",
        next="forgia profile check {profile}",
    ),
    Cause(
        name="import-error",
        pattern=r"No module named '?(?P<module>[\w.]+)|(?P<name>cannot import name .+)|^ImportError: (?P<other>.+)",
        sentence="the recipe imports what the job's environment lacks: {module}{name}{other}",
        next="add it to the environment or take the import out, then: forgia run {recipe}",
    ),
    Cause(
        name="time-limit",
        pattern=r"DUE TO TIME LIMIT|reached its time limit",
        sentence="the run reached its time limit of {walltime}",
        next="forgia job retry {run}  (goes on from the last checkpoint; more time: --set resources.walltime={longer})",
    ),
    Cause(
        name="preempted",
        pattern=r"DUE TO PREEMPTION|another job took its place",
        sentence="a job of higher priority took its place",
        next=RETRY,
    ),
    Cause(
        name="node-failure",
        pattern=r"DUE TO NODE FAILURE|a node failed under it|a node did not boot|Node failure on",
        sentence="a node failed under the run",
        next=RETRY,
    ),
    Cause(
        name="deadline",
        pattern=r"its deadline passed",
        sentence="the job's deadline passed before it could end",
        next=RETRY,
    ),
    Cause(
        name="cancelled",
        pattern=r"cancelled by (?P<who>(?:user )?\S+)",
        sentence="it was cancelled by {who}",
        next=RETRY,
    ),
    Cause(
        name="never-submitted",
        pattern=r"the submission never reached the scheduler",
        sentence="the submission never reached the scheduler; nothing was started and nothing was charged",
        next=RETRY,
    ),
    Cause(
        name="expired-budget",
        pattern=r"(?i)expired budget|refused it.*Assoc(?:Grp)?\w*Minutes",
        sentence="SLURM refused the job: the account has expired, or its budget is used up",
        next=REFUSED,
    ),
    Cause(
        name="bad-account",
        pattern=r"Invalid account|AccountNotAllowed|InvalidAccount",
        sentence="SLURM refused the job: account {account} is none that you may charge here",
        next=REFUSED,
    ),
    Cause(
        name="bad-partition",
        pattern=r"(?i)invalid partition|User's group not permitted|Access/permission denied",
        sentence="SLURM refused the job: partition {partition} is not there, or not for you",
        next=REFUSED,
    ),
    Cause(
        name="bad-qos",
        pattern=r"(?i)invalid qos",
        sentence="SLURM refused the job: its QOS is not there, or not for you",
        next=REFUSED,
    ),
    Cause(
        name="too-much-asked",
        pattern=r"Requested time limit is invalid|Memory specification can not be satisfied"
        r"|Requested node configuration is not available|More processors requested than permitted",
        sentence="SLURM refused the job: it asks for more than the partition or its nodes have",
        next=REFUSED,
    ),
    Cause(
        name="over-limit",
        pattern=r"violates accounting/QOS policy|refused it.*\b(?:QOS|Assoc)\w+",
        sentence="SLURM refused the job: it is over a limit of the account or the QOS",
        next=REFUSED,
    ),
    Cause(
        name="lost",
        pattern=r"is unknown to its scheduler and the job wrote nothing",
        sentence="the scheduler does not know the job any more, and the job left no word",
        next=RETRY,
    ),
    Cause(
        name="refused",
        pattern=r"the scheduler refused it: (?P<words>.+)",
        sentence="the scheduler refused the job: {words}",
        next=REFUSED,
        is_symptom=True,
    ),
    Cause(
        name="lost-peer",
        pattern=r"^rank (?P<silent>\d+) left no word",
        sentence="rank {silent} ended or hung without a word of its own, and the others lost it",
        next=RETRY,
        is_symptom=True,
    ),
    Cause(
        name="network",
        pattern=r"did not meet the others|for rank 0 to publish an address",
        sentence="the ranks did not find each other",
        next=RETRY,
        is_symptom=True,
    ),
    Cause(
        name="collective-timeout",
        pattern=r"Watchdog caught collective operation timeout|Timed out waiting \d+ms",
        sentence="the ranks waited in vain for one of them: it hung, died or took another path",
        next=RETRY,
        is_symptom=True,
    ),
    Cause(
        name="crashed",
        pattern=r"Segmentation fault|Bus error|Illegal instruction|Aborted|by signal (?:4|6|7|8|11)\b",
        sentence="a process crashed in native code",
        next="forgia job logs {run}",
        is_symptom=True,
    ),
    Cause(
        name="killed",
        pattern=r"by signal 9\b|: Killed\b|exit code 137|Exited with exit code 137|gone without a word",
        sentence="a process was killed from outside, most often for want of memory",
        next=f"{RETRY}  (if it is killed again: {MORE_MEMORY})",
        is_symptom=True,
    ),
    Cause(
        name="given-up",
        pattern=r"given up early (?P<after>after epoch \d+)",
        sentence="its sweep gave it up {after}, when other points were better",
        next="forgia sweep show last",
    ),
    Cause(
        name="cancelled",
        pattern=r"it was cancelled",
        sentence="it was cancelled, not by way of forgia",
        next=RETRY,
        is_symptom=True,
    ),
    Cause(
        name="lost-peer",
        pattern=r"contact with another rank was lost|Connection closed by peer|another rank has failed"
        r"|Connection reset by peer",
        sentence="a rank lost contact with another one",
        next=RETRY,
        is_symptom=True,
    ),
)
