"""A month of an AI factory's jobs, settled into a ledger: seconds, memory, and what simpler rules would have charged.

    python bench/settlement.py [--jobs 100000] [--firms 40] [--again]

The jobs are synthetic and the same for one seed: lengths and sizes are drawn, one in eight is requeued some times, one
in fifty is nobody's. The table of rules is of these records, and of those that a SLURM 22.05.8 told in the tests.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forgia.grant import Actor, Holder, HoldRequest, Terms
from forgia.quota import accounting, holds, naive
from forgia.quota.accounting import FIELDS, Queue, Row
from forgia.quota.book import Book
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.settlement import Batch, settle

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 2, tzinfo=UTC)
AT_ONCE = 1000
RECORDED = Path(__file__).resolve().parents[1] / "tests/unit/recorded/sacct"
SHAPES = ((8, 8, 1), (16, 16, 2), (32, 32, 4), (64, 64, 8), (24, 24, 1))
"""Billing, cores and GPUs of a job, as Leonardo's Booster bills."""


def month(jobs: int, firms: int, *, seed: int = 0) -> Iterator[str]:
    """Lines of sacct, an attempt each."""
    draw, index = random.Random(seed), 0
    for number in range(jobs):
        billing, cores, gpus = draw.choice(SHAPES)
        tres = f"billing={billing},cpu={cores},gres/gpu={gpus},mem={cores * 15000}M,node={max(1, gpus // 4)}"
        # One in ten gets whole nodes, with all that is on them, for a GPU that it asked for.
        wanted = "billing=8,cpu=8,gres/gpu=1,mem=120000M,node=1" if number % 10 == 3 else tres
        start = int(BEGIN.timestamp()) + draw.randrange(30 * 86400)
        name = f"firm-{number % firms:02}-run-{number}" if number % 50 else f"Notebook {number}"
        again = draw.randrange(1, 5) if number % 8 == 0 else 0
        for attempt in range(again + 1):
            index, length = index + 1, int(draw.expovariate(1 / 3600)) + 1
            values = dict.fromkeys(FIELDS, "") | {
                **{"Cluster": "leonardo", "DBIndex": str(index), "JobIDRaw": str(10**6 + number), "User": "a08"},
                **{"JobID": str(10**6 + number), "Account": "aifac_f01_001", "Partition": "boost_usr_prod"},
                **{"State": "REQUEUED" if attempt < again else "COMPLETED", "Submit": str(start - 60)},
                **{"Start": str(start), "End": str(start + length), "ElapsedRaw": str(length)},
                **{"Suspended": "00:00:00", "AllocTRES": tres, "ReqTRES": wanted, "NNodes": "1"},
                **{"TimelimitRaw": "1440", "JobName": name},
            }
            start += length + 120
            yield "|".join(values[field] for field in FIELDS)


def prepare(ledger: Ledger, jobs: int, firms: int, by: Actor) -> None:
    """A grant a firm, and a hold a run."""
    for firm in range(firms):
        terms = Terms(
            holder=Holder(("leonardo", f"firm-{firm:02}")),
            amount=10**13,
            valid_from=BEGIN - timedelta(days=60),
            valid_until=BEGIN + timedelta(days=300),
        )
        ledger.grant(terms, by=by, reason="bench")
    for first in range(0, jobs, AT_ONCE):
        # Through the ledger's own book, many in one transaction: this is no measurement of holds.
        with ledger._writing(by) as book:
            some = [request(number, firms) for number in range(first, min(first + AT_ONCE, jobs)) if number % 50]
            read_ahead(book, some)
            for one in some:
                holds.hold(book, one, allow_cross=False, overdraft=False)


def read_ahead(book: Book, requests: Sequence[HoldRequest]) -> None:
    """Ask in a few statements what the holds would ask for one by one."""
    keys = [one.key for one in requests]
    book.load("hold_state", [(key,) for key in keys])
    book.load_group("hold_part", keys)
    book.load("hold_part", [(one.key, grant["id"]) for one in requests for grant in book.grants_of(one.holder)])


def request(number: int, firms: int) -> HoldRequest:
    """The hold of one of the runs."""
    firm = f"firm-{number % firms:02}"
    run = f"{firm}-run-{number}"
    holder = Holder(("leonardo", firm))
    return HoldRequest(key=f"{run}@1", run_id=run, holder=holder, resource="gpu", rate=32, walltime_s=36000, attempts=2)


def peak_mb() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def recorded() -> list[Row]:
    """The records of a real SLURM."""
    header, _, lines = (RECORDED / "sacct-22.05.8.txt").read_text().partition("\n")
    return [row for row in accounting.parse(lines, header.split("|")) if isinstance(row, Row)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--firms", type=int, default=40)
    parser.add_argument("--again", action="store_true", help="settle the same month a second time")
    asked = parser.parse_args()
    print("recorded on SLURM 22.05.8:")
    print("\n".join(naive.table(recorded(), now=NOW + timedelta(days=60), slurmdbd=2354)), flush=True)
    with tempfile.TemporaryDirectory() as folder, open_ledger(Path(folder, "ledger.db"), now=lambda: BEGIN) as ledger:
        me = ledger.actor_of()
        started = time.perf_counter()
        prepare(ledger, asked.jobs, asked.firms, me)
        print(f"{asked.jobs:,} jobs held in {time.perf_counter() - started:.1f} s", flush=True)
        text = "\n".join(month(asked.jobs, asked.firms))
        print(f"{text.count(chr(10)) + 1:,} rows, {len(text) / 1e6:.0f} MB of text, {peak_mb()} MB so far", flush=True)
        for _ in range(1 + asked.again):
            started, worked = time.perf_counter(), time.process_time()
            empty = Queue(ids=frozenset(), names=frozenset())
            result = settle(ledger, Batch(rows=accounting.parse(text, FIELDS), queue=empty), by=me, now=NOW)
            took = f"{time.perf_counter() - started:.1f} s, {time.process_time() - worked:.1f} s of them at work"
            print(f"settled in {took}, at most {peak_mb()} MB: {result.posted:,} posted, {result.known:,} known")
            print(f"{result.charged:,} billing-s, {result.unmanaged:,} rows of nobody's", flush=True)
    rows = [row for row in accounting.parse(text, FIELDS) if isinstance(row, Row)]
    print("\n".join(naive.table(rows, now=NOW)))


if __name__ == "__main__":
    main()
