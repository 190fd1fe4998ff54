"""SLURM's accounting, asked once: one call of sacct for all jobs of some accounts, one row an attempt.

Every attempt is asked for (``-D``), whole allocations only (``-X``), whatever its state, with times as they are: ``-T``
would cut them to the window and ``-s`` would change what the window means.
Source: sacct(1) and squeue(1), https://slurm.schedmd.com/archive/slurm-22.05.8/, tried on 22.05.8
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forgia import digest, process
from forgia.errors import ClusterError

TIMEOUT_S = 300.0
OVERLAP = timedelta(days=7)
"""How far before the last settlement a window begins: records arrive late, and a key is never charged twice."""
ENVIRONMENT = {"TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "4096"}
"""Times as seconds since 1970; the pending rest of an array is not cut off in its middle."""
FIELDS = (
    *("Cluster", "DBIndex", "JobIDRaw", "JobID", "User", "Account", "Partition", "QOS", "State", "ExitCode"),
    *("Submit", "Eligible", "Start", "End", "ElapsedRaw", "Suspended", "TimelimitRaw", "NNodes"),
    *("AllocTRES", "ReqTRES", "Reservation"),
    # Since 23.02, 24.11, 24.11 and 26.05.
    *("FailedNode", "Restarts", "SLUID", "OriginalSLUID"),
    # What users write comes last: it may hold the separator.
    *("WCKey", "JobName"),
)
NEEDED = frozenset({"Cluster", "JobIDRaw", "State", "Submit", "Start", "End", "ElapsedRaw", "AllocTRES", "JobName"})
"""Without these nothing can be charged."""
TRY_LATER = "the accounting does not answer; nothing is lost, settle again in some minutes"
QUEUE_FORMAT = "%A|%F|%j"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What the controller has of some accounts."""

    ids: frozenset[str]
    """Of jobs, and of the arrays that they are tasks of."""
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of sacct: one attempt of one job, as text."""

    values: dict[str, str]
    """By the field's name; a field that this SLURM does not have is not in it."""
    raw: str

    def __getitem__(self, field: str) -> str:
        return self.values.get(field, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A line that is no row, and why."""

    raw: str
    why: str

    @property
    def key(self) -> str:
        """Names the line; it has nothing else that could."""
        return f"line:{digest.of_bytes(self.raw.encode())}"


def fields_of(helpformat: str) -> tuple[str, ...]:
    """Those of ``FIELDS`` that this SLURM has, by the words of ``sacct --helpformat``.

    Raises: ClusterError — one is missing without which nothing can be charged.
    """
    there = {word.casefold() for word in helpformat.split()}
    if missing := sorted(name for name in NEEDED if name.casefold() not in there):
        raise ClusterError(f"sacct has no field {', '.join(missing)}", transient=False, hint="SLURM 20.02 has all")
    return tuple(name for name in FIELDS if name.casefold() in there)


def command(accounts: Sequence[str], fields: Sequence[str], *, since: datetime, cluster: str | None) -> list[str]:
    """The one call; ``since`` is the begin of the window. An empty ``accounts`` asks for all that may be seen."""
    argv = ["sacct", "-D", "-X", "-P", "-n", "--noconvert", "-a"]
    argv += ["-M", cluster] if cluster else []
    argv += ["-A", ",".join(account.casefold() for account in accounts)] if accounts else []
    begin = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return [*argv, "-S", begin, "-E", "now", "-o", ",".join(fields)]


def ask(accounts: Sequence[str], *, since: datetime, cluster: str | None = None) -> Iterator[Row | Malformed]:
    """What the accounting has of these accounts since then. Raises: ClusterError — it does not answer."""
    fields = fields_of(answer(["sacct", "--helpformat"]))
    return parse(answer(command(accounts, fields, since=since, cluster=cluster)), fields)


def parse(text: str, fields: Sequence[str]) -> Iterator[Row | Malformed]:
    """A row a line; a line that is none is told, and does not stop the others."""
    for line in text.split("\n"):
        if line.strip():
            yield parse_line(line, fields)


def parse_line(line: str, fields: Sequence[str]) -> Row | Malformed:
    """One line; separators in the job's name stay in the name."""
    values = line.split("|", len(fields) - 1)
    if len(values) < len(fields):
        return Malformed(raw=line, why=f"{len(values)} fields where {len(fields)} were asked for")
    return Row(values=dict(zip(fields, values, strict=True)), raw=line)


def queued(accounts: Sequence[str], *, cluster: str | None = None) -> Queue:
    """All jobs of these accounts that wait or run now. Ask after the accounting: what is in neither stays away.

    Raises: ClusterError — the controller does not answer.
    """
    argv = ["squeue", "--noheader", f"--format={QUEUE_FORMAT}"]
    argv += ["-M", cluster] if cluster else []
    argv += ["-A", ",".join(account.casefold() for account in accounts)] if accounts else []
    return parse_queue(answer(argv))


def parse_queue(text: str) -> Queue:
    """Lines of ``QUEUE_FORMAT``; a heading with a cluster's name is passed over."""
    rows = [row for line in text.splitlines() if len(row := line.strip().split("|", 2)) == 3]
    ids = frozenset(name for row in rows for name in row[:2] if name.isdecimal())
    return Queue(ids=ids, names=frozenset(row[2] for row in rows))


def answer(argv: Sequence[str]) -> str:
    """What a command prints. Raises: ClusterError (transient) — it failed, or could not reach the accounting."""
    done = process.run(argv, timeout_s=TIMEOUT_S, environment=ENVIRONMENT)
    if done.returncode:
        words = " ".join((done.stderr or done.stdout).split())
        raise ClusterError(f"{argv[0]}: {words}", transient=True, hint=TRY_LATER)
    return done.stdout
