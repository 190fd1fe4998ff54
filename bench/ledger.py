"""How fast a ledger is with a million entries in it: holds, a settlement of 100,000 jobs, questions, proof, memory.

    python bench/ledger.py [--entries 1000000] [--jobs 100000] [--holds 500] [--database sqlite|postgresql]

PostgreSQL is started for the purpose, waits for the disk as it does in service, and is gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from forgia.grant import Actor, Holder, HoldRequest, Kind, Terms, Usage
from forgia.quota import holds
from forgia.quota.book import Book
from forgia.quota.ledger import Ledger, open_ledger
from forgia.quota.postings import Row

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract"))

import postgres_server

START = datetime(2026, 1, 1, tzinfo=UTC)
STAFF = Actor(name="bench", role="staff")
FIRMS = [Holder(("leonardo", f"firm-{number}")) for number in range(40)]
BATCH = 5_000


def person(number: int) -> Holder:
    firm = FIRMS[number % len(FIRMS)]
    return Holder((*firm.path, f"project-{number % 3}", f"person-{number % 7}"))


def hold_request(key: str, number: int) -> HoldRequest:
    return HoldRequest(
        key=key, run_id=key.partition("@")[0], holder=person(number), resource="gpu", rate=32, walltime_s=3600, gpus=4
    )


def usage(key: str, number: int) -> Usage:
    start = START + timedelta(seconds=number)
    return Usage(
        key=key,
        cluster="leonardo",
        job_id=str(number),
        state="COMPLETED",
        billing_s=32 * 1800,
        rate=32,
        seconds=1800,
        start=start,
        end=start + timedelta(seconds=1800),
        account="AIFAC_1",
        user="anna",
        partition="boost_usr_prod",
        name=f"forgia-{number}",
        resource="gpu",
        gpus=4,
        nodes=1,
        raw=f"leonardo|{number}|{number}|COMPLETED|0:0|billing=32,cpu=32,gres/gpu=4,mem=494000M,node=1|boost_usr_prod",
    )


def grants(ledger: Ledger) -> None:
    for firm in FIRMS:
        for months in (6, 12):
            terms = Terms(holder=firm, amount=10**13, valid_from=START, valid_until=START + timedelta(days=31 * months))
            ledger.grant(terms, by=STAFF, reason="bench")


def hold_in_bulk(ledger: Ledger, first: int, count: int) -> None:
    """Many holds in one transaction, which no job does: only to fill the ledger."""
    for start in range(first, first + count, BATCH):
        with ledger.database.writing() as connection:
            book = Book(connection, now=START, actor=STAFF, reason="")
            book.lock()
            read_ahead(book, range(start, min(start + BATCH, first + count)))
            for number in range(start, min(start + BATCH, first + count)):
                request = hold_request(f"bulk-{number}@1", number)
                holds.hold(book, request, allow_cross=False, overdraft=False)
            book.flush()


def read_ahead(book: Book, numbers: range) -> None:
    """Ask in a few statements what the holds would ask for one by one."""
    keys = [f"bulk-{number}@1" for number in numbers]
    book.load("hold_state", [(key,) for key in keys])
    book.load_group("hold_part", keys)
    named = [(key, granted(book, number)) for number, key in zip(numbers, keys, strict=True)]
    book.load("hold_part", [(key, grant["id"]) for key, grants in named for grant in grants])


def granted(book: Book, number: int) -> list[Row]:
    return book.grants_of(FIRMS[number % len(FIRMS)])


def fill(ledger: Ledger, entries: int) -> None:
    """One entry a job: charges of jobs that nothing was held for."""
    rows = ((usage(f"fill:{number}", number), None, person(number)) for number in range(entries))
    ledger.post_usages(rows, by=STAFF)


def timed(name: str, seconds: float) -> None:
    print(f"  {name:58} {seconds:10.3f} s", flush=True)


def measure(place: str, *, entries: int, jobs: int, singles: int) -> None:
    with open_ledger(place, now=lambda: START) as ledger:
        grants(ledger)
        begun = time.perf_counter()
        fill(ledger, max(0, entries - 3 * jobs))
        timed("filling, in bulk", time.perf_counter() - begun)
        first = 10**7
        hold_in_bulk(ledger, first, jobs)
        rows = [(usage(f"month:{n}", n), f"bulk-{n}@1", None) for n in range(first, first + jobs)]
        begun = time.perf_counter()
        ledger.post_usages(rows, by=STAFF)
        timed(f"settling {jobs:,} jobs in one transaction", time.perf_counter() - begun)
        begun = time.perf_counter()
        ledger.post_usages(rows, by=STAFF)
        timed("settling them again", time.perf_counter() - begun)
        del rows
        print(f"  memory so far, peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
        print(f"  on the disk: {size_mb(ledger, place):,.0f} MiB")
        latency(ledger, singles)
        cold(ledger, place)
        questions(ledger, place)


def latency(ledger: Ledger, singles: int) -> None:
    took = []
    for number in range(singles):
        begun = time.perf_counter()
        ledger.hold(hold_request(f"single-{number}@1", number), by=STAFF)
        took.append(time.perf_counter() - begun)
    p50, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
    print(f"  holds, one after the other: {1 / statistics.mean(took):,.0f} a second,", end="")
    print(f" median {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms")


def cold(ledger: Ledger, place: str) -> None:
    """``forgia quota show`` in processes of its own, as staff and as a viewer, beside what any such process takes."""
    token = ledger.issue_token("bench", "viewer", FIRMS[0], by=STAFF, reason="bench")
    commands: dict[str, tuple[list[str], dict[str, str]]] = {
        "python -c pass": (["-c", "pass"], {}),
        "import sqlalchemy": (["-c", "import sqlalchemy"], {}),
        "forgia quota show, staff": (["-m", "forgia_cli.main", "quota", "show"], {}),
        "forgia quota show, viewer": (["-m", "forgia_cli.main", "quota", "show"], {"FORGIA_LEDGER_TOKEN": token}),
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(10):  # in turns, so that a noisy minute hits all alike
        for name, (arguments, more) in commands.items():
            took[name].append(process_s([sys.executable, *arguments], {**os.environ, "FORGIA_LEDGER": place, **more}))
    for name, times in took.items():
        wall, busy = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"  {name:58} {wall:10.3f} s, of it {busy:.3f} s of CPU: median of {len(times)}", flush=True)


def process_s(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that a process takes, and those of them at work."""
    begun = time.perf_counter()
    child = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, argv
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def size_mb(ledger: Ledger, place: str) -> float:
    """What the ledger takes on the disk."""
    if "://" not in place:
        return Path(place).stat().st_size / 2**20
    with ledger.database.reading() as connection:
        return float(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one()) / 2**20


def questions(ledger: Ledger, place: str) -> None:
    begun = time.perf_counter()
    with open_ledger(place) as again:
        timed("opening", time.perf_counter() - begun)
        lines = again.balances(by=STAFF)
        timed(f"opening and balances of {len(lines)} organisations", time.perf_counter() - begun)
    begun = time.perf_counter()
    ledger.balances(by=STAFF)
    timed("balances alone", time.perf_counter() - begun)
    begun = time.perf_counter()
    number = sum(1 for _ in ledger.entries(by=STAFF, kinds=[Kind.CHARGE], limit=100_000))
    timed(f"reading {number:,} charges", time.perf_counter() - begun)
    begun = time.perf_counter()
    assert ledger.verify() == ()
    last = max(entry.seq for entry in ledger.entries(by=STAFF, kinds=[Kind.HOLD], holder=FIRMS[0]))
    timed(f"verifying more than {last:,} entries", time.perf_counter() - begun)
    print(f"  memory, peak: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


@contextlib.contextmanager
def places(database: str) -> Iterator[str]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder, "ledger.db"))
        return
    with postgres_server.server(durable=True) as server:
        server.run("CREATE SCHEMA bench")
        yield server.url("bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--holds", type=int, default=500)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    print(f"{options.database}, {options.entries:,} entries")
    with places(options.database) as place:
        measure(place, entries=options.entries, jobs=options.jobs, singles=options.holds)


if __name__ == "__main__":
    main()
