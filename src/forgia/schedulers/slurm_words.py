"""What SLURM says, and what it means to us: states, reasons, refusals.

Source: https://slurm.schedmd.com/squeue.html (job state codes, job reason codes, SLURM 22.05 to 25.05),
https://slurm.schedmd.com/job_state_codes.html, https://slurm.schedmd.com/job_reason_codes.html (22.05 to 25.05),
https://slurm.schedmd.com/resource_limits.html, and the messages of a live 22.05.8.
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
    "REQUEUED": "it was sent back to the queue",
    "TIMEOUT": "it reached its time limit",
}

LIVING = {
    "COMPLETING": "its job is ending",
    "STOPPED": "it is stopped and keeps its nodes",
    "SUSPENDED": "it is suspended while others use its nodes",
}
"""What is to be said of a job that holds nodes and does not work."""

REASONS = {
    "AccountingPolicy": "a limit of the account or QOS holds it back",
    "AccountNotAllowed": "the partition does not take this account; it will never start",
    "AssocGrpBillingMinutes": "the account's budget is used up",
    "AssocGrpCPUMinutesLimit": "the account's budget is used up",
    "AssocGrpGRES": "the account already uses all the GPUs it may use at once",
    "AssocGrpGRESMinutes": "the account's GPU budget is used up",
    "AssocMaxJobsLimit": "the account already runs as many jobs as it may",
    "AssociationJobLimit": "the account already runs as many jobs as it may",
    "AssociationResourceLimit": "the account already uses all it may use at once",
    "AssociationTimeLimit": "the account's time is used up",
    "BadConstraints": "no node has what was asked for; it will never start",
    "BeginTime": "it may not start before a set time, as after it was sent back to the queue",
    "BurstBufferOperation": "an operation of the burst buffer failed",
    "BurstBufferResources": "the burst buffer has no room yet",
    "BurstBufferStageIn": "its data is being brought in",
    "Cleaning": "its earlier start is still being tidied up",
    "DeadLine": "its deadline passed",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it waits for a job that failed; it will never start",
    "InvalidAccount": "its account is not valid any more; it will never start",
    "InvalidQOS": "its QOS is not valid any more; it will never start",
    "JobArrayTaskLimit": "as many tasks of its array run as may at once",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held, by its user",
    "JobHoldMaxRequeue": "it was sent back to the queue too often and is held",
    "JobLaunchFailure": "it could not be launched: a bad node, a broken file system, or a wrong path",
    "Licenses": "all licences it asked for are in use",
    "MaxMemPerLimit": "it asks for more memory than the limit of the partition; it will never start",
    "MaxPoweredUpNodes": "as many nodes are powered up as may be",
    "NodeDown": "a node it needs is down",
    "NonZeroExitCode": "it ended with an exit code other than zero",
    "OutOfMemory": "it used more memory than it asked for",
    "PartitionConfig": "the partition does not take such a job; it will never start",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes jobs but starts none for now",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives one job",
    "PartitionTimeLimit": "it asks for more time than the partition gives",
    "Priority": "jobs of higher priority come first",
    "Prolog": "its nodes are being prepared",
    "QOSMaxGRESPerUser": "you already use all the GPUs the QOS gives one user",
    "QOSMaxJobsPerUserLimit": "you already run as many jobs as the QOS gives one user",
    "QOSJobLimit": "the QOS already runs as many jobs as it may",
    "QOSNotAllowed": "the partition or the account does not take this QOS; it will never start",
    "QOSResourceLimit": "the QOS already uses all it may use at once",
    "QOSTimeLimit": "the time of the QOS is used up",
    "QOSUsageThreshold": "the account has used too much for this QOS",
    "ReqNodeNotAvail": "the nodes are down or kept for maintenance",
    "Reservation": "it waits for its reservation",
    "ReservationDeleted": "its reservation was deleted; it will never start",
    "Resources": "it is next; the nodes are still in use",
    "SchedDefer": "it asked to start at once, and the scheduler puts such jobs off",
    "SystemFailure": "a failure of SLURM, a file system or the network stopped it",
    "TimeLimit": "it reached its time limit",
    "WaitingForScheduling": "SLURM has not looked at it yet",
    "job_requeued_in_held_state": "it was sent back to the queue, to be held there",
    "launch_failed_requeued_held": "it could not be launched, went back to the queue and is held",
}
"""Reason code → a sentence; the families of limits are read by ``limit_sentence``."""

LIMIT = re.compile(
    r"(?P<owner>Assoc|QOS|)(?P<scope>Grp|Max|Min)(?P<thing>Billing|BB|Cpu|CPU|Energy|GRES|Jobs?|License|Mem(?:ory)?|Node|"
    r"SubmitJobs?|Unknown|Wall(?:Duration)?|WallDuration)(?P<time>(?:Run)?Min(?:ute)?s?)?(?P<per>Per\w+?)?(?:Limit)?"
    r"(?:NotSatisfied)?"
)
OWNERS = {"Assoc": "the account", "QOS": "the QOS", "": "the QOS"}
THINGS = {
    "BB": "burst buffer",
    "Billing": "billing units",
    "CPU": "cores",
    "Cpu": "cores",
    "Energy": "energy",
    "GRES": "GPUs",
    "Job": "jobs",
    "Jobs": "jobs",
    "License": "licences",
    "Mem": "memory",
    "Memory": "memory",
    "Node": "nodes",
    "SubmitJob": "queued jobs",
    "SubmitJobs": "queued jobs",
    "Unknown": "some resource",
    "Wall": "wall time",
    "WallDuration": "wall time",
}
PER = {"PerJob": "one job", "PerNode": "one node", "PerUser": "one user", "PerAccount": "one account"}

HELD = {
    "JobHeldUser": "scontrol release {job_id}",
    "JobHeldAdmin": "ask the site why it holds job {job_id}",
    "JobHoldMaxRequeue": "scontrol release {job_id}",
    "JobLaunchFailure": "scontrol release {job_id}",
    "job_requeued_in_held_state": "scontrol release {job_id}",
    "launch_failed_requeued_held": "scontrol release {job_id}",
}
"""Reason codes of jobs that start only after somebody has done this."""
LAUNCH_FAILURES = ("JobLaunchFailure", "launch_failed_requeued_held")


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
    code = bare(code)
    return REASONS.get(code, "") or limit_sentence(code) or ending_of(word) or code


def bare(code: str) -> str:
    """A reason code as the tables have it: without brackets and without what SLURM adds behind a comma."""
    plain = "" if code in ("None", "(null)") else code.strip("()")
    return plain.partition(",")[0].replace(" ", "_")


def ending_of(word: str) -> str:
    """A sentence for the way a job ended; empty where the word says too little."""
    return ENDINGS.get(word.partition(" ")[0].rstrip("+"), "")


def limit_sentence(code: str) -> str:
    """A sentence for one of the limits of an account or a QOS; empty for any other code."""
    found = LIMIT.fullmatch(code)
    if found is None:
        return ""
    owner, thing, per = OWNERS[found["owner"]], THINGS[found["thing"]], PER.get(found["per"] or "", "")
    if found["scope"] == "Min":
        return f"it asks for fewer {thing} than {owner} wants; it will never start"
    counted = f"{thing} times minutes" if found["time"] else thing
    if (found["time"] or "").startswith("Run"):
        return f"the running jobs may use up all the {counted} that {owner} gives at once"
    if found["scope"] == "Max" and (per in ("one job", "one node") or found["thing"] == "WallDuration"):
        return f"it asks for more {counted} than {owner} gives {per or 'one job'}; it will never start"
    share = f" for {per}" if per else ""
    return (
        f"the budget of {counted} of {owner}{share} is used up"
        if found["time"]
        else f"{owner} is at its limit of {counted}{share}"
    )


def waiting(word: str, code: str) -> str:
    """Which kind of waiting this is: ``queued``, ``limited``, ``held``, ``launch-failed`` or ``never-starts``."""
    code = bare(code)
    if code in LAUNCH_FAILURES:
        return "launch-failed"
    if code in HELD or word in ("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"):
        return "held"
    if "never start" in reason_of(word, code) or code in ("PartitionTimeLimit", "PartitionNodeLimit"):
        return "never-starts"
    return "limited" if LIMIT.fullmatch(code) or code.startswith(("Association", "QOS", "Accounting")) else "queued"
