"""The ledger beside the site's own count: what saldo, lumi-allocations, it4ifree and sreport say, and the drift.

Nothing is edited towards the site: ``correct`` posts an adjustment, when staff asks for it.
Formats: ``saldo -b`` as printed on Leonardo in September 2026, ``lumi-allocations`` as printed on LUMI in April 2026,
``it4ifree`` as in docs.it4i.cz and it4i.portal.clients, ``sreport -P`` of SLURM 22.05.8. ``saldo -ra`` is not read: its
columns are not documented, and none was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from forgia.errors import UserError
from forgia.grant import Actor, Kind

if TYPE_CHECKING:
    from forgia.quota.ledger import Ledger

ALARM = Fraction(2, 100)
"""A difference beyond this share of the site's count has to be looked into."""
HOUR_S = 3600
SALDO_COLUMNS = 9
LUMI_CELL = re.compile(r"^\s*(\d+)/(\d+)\s*\(.*\)\s*(\S+)\s*$")
LUMI_KINDS = ("core/hours", "gpu/hours")
CORRECTION = re.compile(r"(?:^|:)reconcile:(?P<account>[^:]+):\d+:-?\d+$")
"""The key of a correction's posting."""
SREPORT_UNITS = {"Seconds": Fraction(1, HOUR_S), "Minutes": Fraction(1, 60), "Hours": Fraction(1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCount:
    """What a site says that one account used."""

    account: str
    """In lower case, as SLURM keeps it; sites print it as it was applied for."""
    used_h: Fraction
    """Hours of the site's unit."""
    unit: str
    granted_h: Fraction | None = None
    month_granted_h: Fraction | None = None
    month_used_h: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far the ledger and the site are apart. In billing-seconds."""

    account: str
    site: int
    ours: int

    @property
    def difference(self) -> int:
        """What the site counts beyond the ledger."""
        return self.site - self.ours

    @property
    def share(self) -> Fraction:
        """Of the site's count; all of it where the site counts nothing and the ledger something."""
        return Fraction(abs(self.difference), self.site) if self.site else Fraction(bool(self.difference))

    @property
    def alarms(self) -> bool:
        """It is more than rounding and delay explain."""
        return self.share > ALARM


def parse_saldo(text: str) -> tuple[SiteCount, ...]:
    """``saldo -b``, with ``-n`` or without, and of ``--dcgp``. Raises: UserError — no line of it."""
    rows = [words for line in text.splitlines() if len(words := line.split()) == SALDO_COLUMNS and words[1].isdecimal()]
    return found("saldo", [saldo_row(words) for words in rows], text)


def saldo_row(words: Sequence[str]) -> SiteCount:
    """account start end total localClusterConsumed totConsumed totConsumed% monthTotal monthConsumed."""
    return SiteCount(
        account=words[0].casefold(),
        used_h=Fraction(words[4]),
        unit="local h",
        granted_h=Fraction(words[3]),
        month_granted_h=Fraction(words[7]),
        month_used_h=Fraction(words[8]),
    )


def parse_lumi(text: str, *, kind: str = "gpu/hours") -> tuple[SiteCount, ...]:
    """``lumi-allocations``, whose ``kind`` of hours is to be read. Raises: UserError — no line of it."""
    if kind not in LUMI_KINDS:
        raise UserError(f"lumi-allocations counts {' and '.join(LUMI_KINDS)}, not {kind!r}")
    rows = (line.split("|") for line in text.splitlines() if line.startswith("project_"))
    cells = ((row[0].strip().casefold(), match) for row in rows for match in map(LUMI_CELL.match, row[1:]) if match)
    counts = [
        SiteCount(account=account, used_h=Fraction(match[1]), unit=kind, granted_h=Fraction(match[2]))
        for account, match in cells
        if match[3] == kind
    ]
    return found("lumi-allocations", counts, text)


def parse_it4ifree(text: str) -> tuple[SiteCount, ...]:
    """``it4ifree``: its table of projects, normalized hours if it has them. Raises: UserError — no such table."""
    counts = [
        SiteCount(account=row["PID"].casefold(), used_h=Fraction(row[used]), unit=used.removeprefix("Used "), **granted)
        for row in dashed_rows(text)
        if "Free" in row and (used := used_column(row))
        for granted in [{"granted_h": Fraction(row["Total"])} if row.get("Total", "").isdecimal() else {}]
    ]
    return found("it4ifree", counts, text)


def used_column(row: Mapping[str, str]) -> str:
    """The column of what all members used; of several the normalized hours, which are what is granted."""
    names = sorted(name for name in row if name.startswith("Used") and re.fullmatch(r"\d+(\.\d+)?", row[name]))
    return next((name for name in names if "NCH" in name), next(iter(names), ""))


def dashed_rows(text: str) -> Iterator[dict[str, str]]:
    """Rows of tables whose second line draws a line of dashes below each column's name."""
    names: list[str] = []
    spans: list[tuple[int, int]] = []
    before = ""
    for line in text.splitlines():
        if re.fullmatch(r"\s*-{2,}(\s+-{2,})+\s*", line):
            spans = [match.span() for match in re.finditer(r"-+", line)]
            names = [before[begin:end].strip() for begin, end in spans]
        elif not line.strip():
            spans = []
        elif spans:
            yield {name: line[begin:end].strip() for name, (begin, end) in zip(names, spans, strict=True)}
        before = line


def parse_sreport(text: str, *, tres: str = "billing") -> tuple[SiteCount, ...]:
    """``sreport -P [-t Seconds] cluster AccountUtilizationByUser -T billing``: the accounts' own lines.

    Raises: UserError — no such report, or of a unit that is no time.
    """
    unit = next((SREPORT_UNITS[word] for word in SREPORT_UNITS if f"TRES {word}" in text), None)
    if unit is None:
        raise UserError("no report of sreport in seconds, minutes or hours", hint="sreport -P -t Seconds …")
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == 5)
    counts = [
        SiteCount(account=row[1].casefold(), used_h=int(row[5]) * unit, unit=f"{tres}-h")
        for row in rows
        if row[4] == tres and not row[2] and row[1] != "root" and row[5].isdecimal()
    ]
    return found("sreport", counts, text)


PARSERS: Mapping[str, Callable[[str], tuple[SiteCount, ...]]] = {
    "saldo": parse_saldo,
    "lumi-allocations": parse_lumi,
    "it4ifree": parse_it4ifree,
    "sreport": parse_sreport,
}
"""By the command whose output it is."""


def found(command: str, counts: Sequence[SiteCount], text: str) -> tuple[SiteCount, ...]:
    """The counts. Raises: UserError — there are none, so the text is not what it is taken for."""
    if not counts:
        first = next((line for line in text.splitlines() if line.strip()), "nothing")
        raise UserError(f"this is no output of {command} that forgia can read: {first.strip()[:80]!r}")
    return tuple(counts)


def compare(
    counts: Iterable[SiteCount], charged: Mapping[str, int], *, per_hour: Fraction = Fraction(1)
) -> list[Drift]:
    """Each account of the site beside what the ledger charged for it (billing-seconds by account).

    Args: per_hour — SLURM's billing that makes an hour of it one of the site's unit; 1 on Leonardo.
    """
    ours = {account.casefold(): amount for account, amount in charged.items()}
    return [
        Drift(account=count.account, site=int(count.used_h * HOUR_S * per_hour), ours=ours.get(count.account, 0))
        for count in counts
    ]


def charged_by_account(ledger: Ledger, *, by: Actor) -> dict[str, int]:
    """SLURM's account → billing-seconds that the ledger charged for jobs on it, earlier corrections included.

    Refunds are not taken off: they are between us and a firm, and the site's count knows nothing of them.
    """
    totals: dict[str, int] = {}
    for entry in ledger.entries(by=by, kinds=(Kind.CHARGE, Kind.ADJUST)):
        if entry.kind is Kind.CHARGE:
            account = str(entry.facts["usage"]["account"]).casefold()
        elif corrected := CORRECTION.search(entry.key):
            account = corrected["account"]
        else:
            continue
        totals[account] = totals.get(account, 0) + entry.total("spent")
    return totals


def correct(ledger: Ledger, drift: Drift, *, grant: int, by: Actor, reason: str) -> int:
    """Post the difference as an adjustment to a grant, once for the same counts; returns the posting's number.

    Raises: Refused — the actor may not. UserError — there is no difference.
    """
    key = f"reconcile:{drift.account}:{drift.site}:{drift.ours}"
    return ledger.adjust(grant, drift.difference, by=by, reason=reason, key=key)
