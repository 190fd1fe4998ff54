"""What a live SLURM says of itself to a plain user: five commands, each run once, and their text taken apart.

A command that fails or answers nothing leaves its part unknown: many sites close sacctmgr to users, without an error.
Source: scontrol(1), sacctmgr(1), sinfo(1) and slurm.conf(5) of SLURM 22.05 and 25.05, https://slurm.schedmd.com/
"""

from __future__ import annotations

import os
import pwd
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from forgia import process
from forgia.errors import ClusterError
from forgia.fields import parse_duration

TIMEOUT_S = 60.0
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "config": ("scontrol", "show", "config"),
    "partitions": ("scontrol", "show", "partition", "-o"),
    "nodes": ("sinfo", "--noheader", "--exact", "--format=%R|%D|%c|%m|%G"),
    "qos": ("sacctmgr", "-nP", "show", "qos", "format=Name,MaxWall,MaxTRES,MinTRES,Flags"),
    "associations": ("sacctmgr", "-nP", "show", "assoc", "where", "user={user}", "format=Account,QOS,DefaultQOS"),
}
NOTHING = frozenset({"", "N/A", "(null)", "NONE", "UNLIMITED", "INFINITE", "Partition_Limit"})
GPU = re.compile(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)")
MEMORY_UNITS_GB = {"": 1 / 1024, "M": 1 / 1024, "K": 1 / 1024**2, "G": 1.0, "T": 1024.0}
"""Of a billing weight for memory; megabytes where none is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a node has."""

    cpus: int
    memory_mb: int
    gpus: int = 0
    gpu_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a partition or a QOS allows one job; None: no limit."""

    walltime_s: int | None = None
    nodes_min: int | None = None
    nodes_max: int | None = None
    cores_max: int | None = None
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition as scontrol shows it."""

    limits: Limits
    exclusive: bool
    qos: str | None
    """Whose limits hold for every job here."""
    allowed_qos: tuple[str, ...]
    """Empty: any."""
    cpus_per_node: int | None
    memory_mb_per_node: int | None
    weights: Mapping[str, float]
    """Charge an hour by core, gpu, gb and node; empty: the site sets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A live cluster; an empty part is unknown."""

    name: str = ""
    version: str = ""
    max_array_size: int | None = None
    """Tasks of one array job; None: it does not say."""
    largest_wins: bool = False
    """Of the parts of a job's billing; else they are added up."""
    partitions: Mapping[str, Partition]
    shapes: Mapping[str, Shape]
    """Partition → its most frequent kind of node."""
    qos: Mapping[str, Limits]
    accounts: tuple[str, ...] = ()
    own_qos: tuple[str, ...] = ()
    default_qos: str | None = None
    complaints: tuple[str, ...] = ()


def ask() -> Cluster:
    """Every command once. Raises: ClusterError — there is no SLURM here, or its controller does not answer."""
    answers: dict[str, str] = {}
    complaints: list[str] = []
    for part, argv in COMMANDS.items():
        try:
            answers[part] = answer(argv)
        except ClusterError as error:
            if part == "config":  # without the controller, each of the others would wait for it as long
                raise
            complaints.append(f"{error.message}; {part} stay unknown")
    return parse(answers, complaints=tuple(complaints))


def answer(argv: Sequence[str]) -> str:
    """What a command prints. Raises: ClusterError — it failed, or printed nothing."""
    hint = "run it on a login node of the cluster, while scontrol show config answers there"
    user, shown = pwd.getpwuid(os.getuid()).pw_name, " ".join(word for word in argv[:4] if word[0] not in "-w")
    try:
        done = process.run([word.format(user=user) for word in argv], timeout_s=TIMEOUT_S)
    except ClusterError as error:
        raise ClusterError(error.message, transient=error.transient, hint=hint) from error
    if done.returncode or not done.stdout.strip():
        words = " ".join(done.stderr.split()) if done.returncode else "it answered nothing"
        raise ClusterError(f"{shown}: {words}", transient=True, hint=hint)
    return done.stdout


def parse(answers: Mapping[str, str], *, complaints: tuple[str, ...] = ()) -> Cluster:
    """The cluster behind these answers, by the names of ``COMMANDS``."""
    config = config_values(answers.get("config", ""))
    linear = config.get("SelectType") == "select/linear"
    rows = [line.split("|") for line in answers.get("associations", "").splitlines() if line.count("|") == 2]
    return Cluster(
        name=config.get("ClusterName", ""),
        version=config.get("SLURM_VERSION", ""),
        max_array_size=int(found) if (found := config.get("MaxArraySize", "")).isdecimal() else None,
        largest_wins="MAX_TRES" in config.get("PriorityFlags", ""),
        partitions=dict(partition(line, linear=linear) for line in answers.get("partitions", "").splitlines() if line),
        shapes=shapes(answers.get("nodes", "")),
        qos=dict(qos(line) for line in answers.get("qos", "").splitlines() if line.count("|") == 4),
        accounts=tuple(dict.fromkeys(row[0] for row in rows if row[0])),
        own_qos=tuple(dict.fromkeys(name for row in rows for name in row[1].split(",") if name)),
        default_qos=next((row[2] for row in rows if row[2]), None),
        complaints=complaints,
    )


def config_values(text: str) -> dict[str, str]:
    """Key → value of ``scontrol show config``."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def partition(line: str, *, linear: bool) -> tuple[str, Partition]:
    """Name and facts of one line; ``linear``: the site gives out whole nodes everywhere."""
    words = dict(pair for word in line.split() if (pair := split_pair(word)))
    allowed = words.get("AllowQos", "ALL")
    return words.get("PartitionName", ""), Partition(
        limits=Limits(
            walltime_s=seconds(words.get("MaxTime", "")),
            nodes_min=number(words.get("MinNodes", "")),
            nodes_max=number(words.get("MaxNodes", "")),
        ),
        exclusive=linear or words.get("OverSubscribe") == "EXCLUSIVE",
        qos=None if words.get("QoS", "") in NOTHING else words["QoS"],
        allowed_qos=() if allowed == "ALL" else tuple(allowed.split(",")),
        cpus_per_node=number(words.get("MaxCPUsPerNode", "")),
        memory_mb_per_node=number(words.get("MaxMemPerNode", "")),
        weights=weights(words.get("TRESBillingWeights", "")),
    )


def split_pair(word: str) -> tuple[str, str] | None:
    """``Key=a=b`` as key and value."""
    key, sign, value = word.partition("=")
    return (key, value) if sign else None


def weights(text: str) -> dict[str, float]:
    """Of ``CPU=1.0,Mem=0.25G,GRES/gpu=8.0``, those that forgia asks for; a kind of GPU stands for all of them."""
    found: dict[str, float] = {}
    for name, value in filter(None, map(split_pair, text.split(","))):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)([KMGT]?)", value, re.IGNORECASE)
        kind = {"cpu": "core", "mem": "gb", "node": "node", "gres/gpu": "gpu"}.get(name.lower().partition(":")[0])
        if match and kind:
            weight = float(match[1]) / MEMORY_UNITS_GB[match[2].upper()] if kind == "gb" else float(match[1])
            found[kind] = max(weight, found.get(kind, 0.0))
    return found


def shapes(text: str) -> dict[str, Shape]:
    """The most frequent kind of node of each partition, of ``sinfo``."""
    counts: dict[str, Counter[Shape]] = {}
    for name, nodes, shape in shape_rows(text):
        counts.setdefault(name, Counter())[shape] += nodes
    return {name: counter.most_common(1)[0][0] for name, counter in counts.items()}


def shape_rows(text: str) -> Iterator[tuple[str, int, Shape]]:
    """Partition, number of nodes and their shape; lines that say something else are passed over."""
    for line in text.splitlines():
        parts = line.split("|")
        counts = [number(part) for part in parts[1:4]]
        if len(parts) != 5 or None in counts:
            continue
        nodes, cpus, memory_mb = (count or 0 for count in counts)
        gpus = GPU.findall(parts[4])
        total = sum(int(count) for _, count in gpus)
        kind = next((name for name, _ in gpus if name), None)
        yield parts[0], nodes, Shape(cpus=cpus, memory_mb=memory_mb, gpus=total, gpu_type=kind)


def qos(line: str) -> tuple[str, Limits]:
    """Name and limits of a line of ``sacctmgr show qos``."""
    name, wall, most, least, flags = line.split("|")
    most_of, least_of = (dict(filter(None, map(split_pair, text.split(",")))) for text in (most, least))
    return name, Limits(
        walltime_s=seconds(wall),
        nodes_min=number(least_of.get("node", "")),
        nodes_max=number(most_of.get("node", "")),
        cores_max=number(most_of.get("cpu", "")),
        flags=frozenset(flags.split(",")) - {""},
    )


def seconds(text: str) -> int | None:
    """Of SLURM's clock; None where there is no limit."""
    return read(text, parse_duration)


def number(text: str) -> int | None:
    """A count, at least 1; None where there is none."""
    return read(text.rstrip("+"), int)


def read(text: str, convert: Callable[[str], int]) -> int | None:
    """The value; None for nothing, no limit, or words that are no such value."""
    try:
        return None if text.strip() in NOTHING else convert(text) or None
    except ValueError:
        return None
