"""What SLURM says, and what it means to us: states, reasons, refusals.

Source: https://slurm.schedmd.com/squeue.html (job state codes, job reason codes, SLURM 22.05 to 25.05),
https://slurm.schedmd.com/job_state_codes.html, https://slurm.schedmd.com/job_reason_codes.html, and the messages of a
live 22.05.8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from forgia.schedulers.protocol import JobState

STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "POWER_UP_NODE": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "BOOT_FAIL": JobState.ENDED,
    "CANCELLED": JobState.ENDED,
    "COMPLETED": JobState.ENDED,
    "DEADLINE": JobState.ENDED,
    "FAILED": JobState.ENDED,
    "NODE_FAIL": JobState.ENDED,
    "OUT_OF_MEMORY": JobState.ENDED,
    "PREEMPTED": JobState.ENDED,
    "TIMEOUT": JobState.ENDED,
}
"""SLURM's word → ours. A preempted job, or one of a failed node, that goes back to the queue says so by PENDING."""

ENDINGS = {
    "BOOT_FAIL": "a node did not boot",
    "CANCELLED": "it was cancelled",
    "DEADLINE": "its deadline passed",
    "NODE_FAIL": "a node failed under it",
    "OUT_OF_MEMORY": "it used more memory than it asked for",
    "PREEMPTED": "another job took its place",
    "TIMEOUT": "it reached its time limit",
}

REASONS = {
    "AssocGrpBillingMinutes": "the account's budget is used up",
    "AssocGrpCPUMinutesLimit": "the account's budget is used up",
    "AssocGrpGRES": "the account already uses all the GPUs it may use at once",
    "AssocGrpGRESMinutes": "the account's GPU budget is used up",
    "AssocMaxJobsLimit": "the account already runs as many jobs as it may",
    "BadConstraints": "no node has what was asked for; it will never start",
    "BeginTime": "it was sent back to the queue and waits a moment",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it waits for a job that failed; it will never start",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held: scontrol release",
    "PartitionDown": "the partition is down",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives one job",
    "PartitionTimeLimit": "it asks for more time than the partition gives",
    "Priority": "jobs of higher priority come first",
    "QOSMaxGRESPerUser": "you already use all the GPUs the QOS gives one user",
    "QOSMaxJobsPerUserLimit": "you already run as many jobs as the QOS gives one user",
    "ReqNodeNotAvail": "the nodes are down or kept for maintenance",
    "Reservation": "it waits for its reservation",
    "Resources": "it is next; the nodes are still in use",
    "launch_failed_requeued_held": "it could not be launched and is held: scontrol release",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What an answer of sbatch means."""

    pattern: str
    transient: bool
    hint: str


REFUSALS = (
    Refusal(
        pattern=r"Socket timed out|timed out on send/recv|(Message (send|receive)|Communication \w+) failure",
        transient=True,
        hint="the job may have been accepted all the same; forgia looks it up before it sends it again",
    ),
    Refusal(
        pattern=r"Unable to contact slurm controller|Connection refused|connect failure|Zero Bytes were transmitted",
        transient=True,
        hint="SLURM's controller does not answer; try again in some minutes",
    ),
    Refusal(
        pattern=r"temporarily unable to accept|Resource temporarily unavailable|in standby mode",
        transient=True,
        hint="SLURM is busy; try again in some minutes",
    ),
    Refusal(
        pattern=r"expired budget",
        transient=False,
        hint="the account is unknown or its budget has ended; the site's command (saldo -b) shows which",
    ),
    Refusal(
        pattern=r"Invalid account",
        transient=False,
        hint="choose an account of yours: sacctmgr show assoc where user=$USER format=account,partition",
    ),
    Refusal(
        pattern=r"(?i)invalid partition", transient=False, hint="choose a partition of this cluster: sinfo --summarize"
    ),
    Refusal(
        pattern=r"(?i)invalid qos",
        transient=False,
        hint="choose a QOS of yours: sacctmgr show assoc where user=$USER format=qos",
    ),
    Refusal(
        pattern=r"Requested time limit is invalid",
        transient=False,
        hint="lower resources.walltime to what the partition allows: sinfo --format='%P %l'",
    ),
    Refusal(
        pattern=r"Memory specification can not be satisfied",
        transient=False,
        hint="lower resources.memory_gb to what a node has: sinfo --format='%P %m'",
    ),
    Refusal(
        pattern=r"Requested node configuration is not available|More processors requested than permitted|gres",
        transient=False,
        hint="no node has so many cores or GPUs, or GPUs of that name: sinfo --format='%P %c %G'; lower resources.*",
    ),
    Refusal(
        pattern=r"violates accounting/QOS policy|QOS\w+Limit|QOSMax\w+|Assoc\w+Limit",
        transient=False,
        hint="you are at a limit of your account or QOS: wait for jobs of yours to end, or ask for less",
    ),
    Refusal(
        pattern=r"Access/permission denied|User's group not permitted",
        transient=False,
        hint="you may not use this partition; ask the site for access, or choose another",
    ),
)
"""In the order they are tried."""
NO_ANSWER = replace(REFUSALS[0], pattern="")
"""Neither an id nor a word, as from an sbatch that was killed."""
OTHER = Refusal(pattern="", transient=False, hint="forgia plan shows the script that SLURM refused")


def refusal(words: str) -> Refusal:
    """What this message of sbatch means."""
    return next((known for known in REFUSALS if re.search(known.pattern, words)), OTHER if words else NO_ANSWER)


def state_of(word: str) -> JobState:
    """Our state for SLURM's; a word we do not know is no end. ``CANCELLED by 1000`` is CANCELLED."""
    return STATES.get(word.partition(" ")[0].rstrip("+"), JobState.UNKNOWN)


def reason_of(word: str, code: str) -> str:
    """A sentence for a reason code, or for the way the job ended; the code itself where there is none."""
    code = "" if code in ("None", "(null)") else code.strip("()")
    ending = ENDINGS.get(word.partition(" ")[0].rstrip("+"), "")
    return REASONS.get(code.partition(",")[0].replace(" ", "_"), "") or ending or code
