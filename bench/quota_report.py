"""A month of 100,000 charged jobs of 40 firms: how long report, alerts, forecast and pace take, and how much memory.

    python bench/quota_report.py [--jobs 100000] [--firms 40] [--keep FOLDER]

Each question is a process of its own, so that its memory is its own; the time is the process's, imports included. On a
machine that others use, look at the CPU.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forgia.grant import Actor, Holder, HoldRequest, Terms, Usage
from forgia.quota.ledger import Ledger, open_ledger

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
MONTH_S = 31 * 24 * 3600
TASKS = 50
"""Jobs that share a hold, as the tasks of an array do."""
AT_ONCE = 500
QUESTIONS = {
    "report csv": ("report", "--month", "2026-10", "--format", "csv", "-o", "report.csv"),
    "report parquet": ("report", "--month", "2026-10", "--format", "parquet", "-o", "report.parquet"),
    "report json": ("report", "--month", "2026-10", "--format", "json", "-o", "report.json"),
    "report html": ("report", "--month", "2026-10", "--format", "html", "-o", "report.html"),
    "report table": ("report", "--month", "2026-10"),
    "invoice": ("invoice", "--month", "2026-10", "--organisation", "firm-07"),
    "forecast": ("forecast",),
    "alerts": ("alerts", "--all", "--prometheus", "quota.prom", "--ood", "balance.json"),
    "pace": ("pace",),
    "show": ("show",),
}


def fill(ledger: Ledger, *, jobs: int, firms: int) -> None:
    """Grants, holds of arrays, and their jobs."""
    me = ledger.actor_of()
    terms = {"valid_from": BEGIN - timedelta(days=5), "valid_until": BEGIN + timedelta(days=85), "strategy": "cineca"}
    holders = [Holder(("leonardo", f"firm-{number:02d}")) for number in range(firms)]
    for holder in holders:
        ledger.grant(Terms(holder=holder, amount=144_000_000, **terms), by=me, reason="bench")
    draw = random.Random(7)
    found: list[tuple[Usage, str | None, Holder | None]] = []
    for number in range(jobs // TASKS):
        holder = Holder((*draw.choice(holders).path, "main", f"user{number % 3}"))
        found += array(ledger, number, holder, draw, by=me)
        if len(found) >= AT_ONCE:
            ledger.post_usages(found, by=me)
            found = []
    ledger.post_usages(found, by=me)


def array(
    ledger: Ledger, number: int, holder: Holder, draw: random.Random, *, by: Actor
) -> Iterator[tuple[Usage, str | None, Holder | None]]:
    """One array job of which every task is one of the month's jobs."""
    key = f"mill-{number:010x}@1"
    facts = {"recipe": f"recipe-{number % 12}@1.0.0", "datasets": ["mill@3"], "profile": "leonardo-booster"}
    request = HoldRequest(
        key=key, run_id=key[:-2], holder=holder, resource="gpu", rate=8, walltime_s=1200, tasks=TASKS, facts=facts
    )
    ledger.hold(request, by=by)
    for task in range(TASKS):
        seconds = draw.randint(10, 1200)
        start = BEGIN + timedelta(seconds=draw.randint(0, MONTH_S - seconds - 1))
        yield usage(number * TASKS + task, start, seconds, ends=task == TASKS - 1), key, None


def usage(number: int, start: datetime, seconds: int, *, ends: bool) -> Usage:
    """One job with one GPU."""
    end = start + timedelta(seconds=seconds)
    raw = f"leonardo|{number}|{number}|{number}|anna|aifac_p02_042|boost_usr_prod|normal|COMPLETED|0:0|" + "x" * 120
    return Usage(
        key=f"leonardo:{number}",
        cluster="leonardo",
        job_id=str(number),
        state="COMPLETED",
        billing_s=8 * seconds,
        ends_job=ends,
        rate=8,
        seconds=seconds,
        start=start,
        end=end,
        account="aifac_p02_042",
        user="anna",
        partition="boost_usr_prod",
        resource="gpu",
        gpus=1,
        nodes=1,
        raw=raw,
    )


def ask(name: str, arguments: tuple[str, ...], folder: Path) -> str:
    """One question, as the command line answers it."""
    environment = {**os.environ, "FORGIA_HOME": str(folder), "HOME": str(folder)}
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "forgia_cli.main", "quota", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    busy = used.ru_utime + used.ru_stime
    figures = f"{name:<16} {took:6.2f} s  of it {busy:5.2f} s of CPU  {used.ru_maxrss / 1024:6.0f} MB"
    return figures + (f"  exit {code}" if code else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--firms", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="a folder for the ledger; one that is there is asked again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        place = folder / "quota" / "ledger.db"
        began = time.perf_counter()
        if not place.exists():
            with open_ledger(place, now=lambda: BEGIN + timedelta(days=1)) as ledger:
                fill(ledger, jobs=given.jobs, firms=given.firms)
        took = time.perf_counter() - began
        print(f"{given.jobs:,} jobs of {given.firms} firms: ledger of {place.stat().st_size >> 20} MB in {took:.1f} s")
        for name, arguments in QUESTIONS.items():
            print(ask(name, arguments, folder), flush=True)


if __name__ == "__main__":
    main()
