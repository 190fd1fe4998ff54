"""Lines of sacct for the tests of settlement, written as SLURM 24.11 writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from forgia.quota import accounting
from forgia.quota.accounting import FIELDS, Row

START = datetime(2026, 11, 20, 8, tzinfo=UTC)
NODE = "billing=32,cpu=32,gres/gpu=4,gres/gpu:a100=4,mem=494000M,node=1"


def line(index: int, job: str, name: str, state: str = "COMPLETED", **changes: object) -> Row:
    """One attempt. ``after``: seconds from START to its start; ``seconds``: how long it took; None: it runs."""
    after, seconds = int(changes.pop("after", 0)), changes.pop("seconds", 3600)  # type: ignore[call-overload]
    begin = START + timedelta(seconds=after)
    values = dict.fromkeys(FIELDS, "") | {
        **{"Cluster": "leonardo", "DBIndex": str(index), "JobIDRaw": job.partition("_")[0].partition("+")[0]},
        **{"JobID": job, "User": "anna", "Account": "aifac_p02_001", "Partition": "boost_usr_prod", "State": state},
        **{"Submit": stamp(begin - timedelta(seconds=60)), "Start": stamp(begin), "NNodes": "1", "TimelimitRaw": "120"},
        **{"ElapsedRaw": str(seconds if seconds is not None else 600), "Suspended": "00:00:00", "ExitCode": "0:0"},
        **{"End": "Unknown" if seconds is None else stamp(begin + timedelta(seconds=int(str(seconds))))},
        **{"AllocTRES": NODE, "ReqTRES": NODE, "JobName": name},
        **{key: str(value) for key, value in changes.items()},
    }
    found = accounting.parse_line("|".join(values[field] for field in FIELDS), FIELDS)
    assert isinstance(found, Row)
    return found


def stamp(moment: datetime) -> str:
    """As ``%s`` writes it."""
    return str(int(moment.timestamp()))
