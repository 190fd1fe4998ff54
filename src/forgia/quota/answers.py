"""Whether a hold fits, and the text that a refusal is: the arithmetic, what is free where, what would fit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from forgia.grant import Holder, HoldRequest
from forgia.quota import tree
from forgia.quota.records import Answer, GrantState, Offer

HOUR_S = 3600

UNITS = {"gpus": "GPUs at once", "jobs": "jobs at once", "billing_s": "billing-s held and charged"}
"""Ceiling that a hold is measured against → what it counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a ceiling leaves."""

    holder: Holder
    kind: str
    value: int
    used: int

    @property
    def left(self) -> int:
        """How much more there may be."""
        return max(0, self.value - self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request, and what the ledger knows about it."""

    request: HoldRequest
    now: datetime
    grants: Sequence[GrantState]
    """Of the lineage, in the order of use."""
    rooms: Sequence[Room]
    allow_cross: bool = False
    overdraft: bool = False

    def end(self, walltime_s: int) -> datetime:
        """Until when a grant must be valid."""
        return self.now if self.allow_cross else self.now + timedelta(seconds=walltime_s)

    def usable(self, walltime_s: int) -> list[GrantState]:
        """Grants that may bear a job of this length."""
        end, resource = self.end(walltime_s), self.request.resource
        return [grant for grant in self.grants if not tree.why_not(grant, resource, start=self.now, end=end)]

    def budget(self, walltime_s: int) -> int:
        """What they can give together, under the ceilings on billing-seconds."""
        free = sum(tree.usable(grant) for grant in self.usable(walltime_s))
        return min([free, *(room.left for room in self.rooms if room.kind == "billing_s")])


def answer(question: Question) -> Answer:
    """Whether it fits, and what would."""
    request = question.request
    grants = question.usable(request.walltime_s)
    parts = tree.split(grants, request.amount, overdraft=question.overdraft)
    problems = [*_ceilings(question)]
    if parts is None:
        problems.append(_too_little(question, grants))
    return Answer(
        wanted=request.amount,
        free=sum(tree.usable(grant) for grant in grants),
        parts=() if problems or parts is None else parts,
        offers=tuple(_offers(question)),
        problems=tuple(problems),
        arithmetic=arithmetic(request),
        largest_walltime_s=_largest_walltime(question),
        largest_attempts=_largest(question, request.attempts, per=request.amount // request.attempts),
        largest_tasks=_largest_tasks(question),
        largest_share=_largest_share(question),
    )


def arithmetic(request: HoldRequest) -> str:
    """How the amount of a hold comes about."""
    return (
        f"{request.rate:,} billing × ({request.walltime_s:,} s + {request.MARGIN_S:,} s)"
        f" × {_counted(request.attempts, 'attempt')} × {_counted(request.tasks, 'task')} = {amount(request.amount)}"
    )


def amount(value: int) -> str:
    """An amount for a person: billing-seconds, and hours of it where that is shorter."""
    return f"{value:,} billing-s ({value / HOUR_S:,.1f} billing-h)"


def refusal(request: HoldRequest, found: Answer) -> str:
    """The text of a refusal."""
    return "\n".join([f"hold {request.key} for {request.holder} does not fit:", *_lines(request, found)])


def _lines(request: HoldRequest, found: Answer) -> Iterator[str]:
    yield f"  wanted: {found.arithmetic}"
    yield f"  free:   {amount(found.free)}"
    for offer in found.offers:
        grant = offer.grant
        title = f" {grant.terms.title!r}" if grant.terms.title else ""
        until = f"until {grant.terms.valid_until:%Y-%m-%d}"
        state = f"not used: {offer.why_not}" if offer.why_not else f"{grant.free:,} billing-s free"
        yield f"    grant {grant.id}{title} of {grant.holder}, {until}: {state}"
    for problem in found.problems:
        yield f"  {problem}"
    yield f"  {_fitting(request, found)}"


def _fitting(request: HoldRequest, found: Answer) -> str:
    walltime_s = found.largest_walltime_s
    rules = (
        (walltime_s, f"a walltime of {timedelta(seconds=walltime_s)} ({walltime_s:,} s)"),
        (request.attempts > 1 and found.largest_attempts, _counted(found.largest_attempts, "attempt")),
        (request.tasks > 1 and found.largest_tasks, _counted(found.largest_tasks, "task")),
        (found.largest_share, f"{int(found.largest_share * 100)} % of the nodes"),
    )
    options = [text for applies, text in rules if applies]
    return f"would fit, all else equal: {' or '.join(options)}" if options else "nothing smaller would fit either"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _offers(question: Question) -> Iterator[Offer]:
    request = question.request
    end = question.end(request.walltime_s)
    for grant in question.grants:
        reason = tree.why_not(grant, request.resource, start=question.now, end=end)
        yield Offer(grant=grant, why_not=reason)


def _too_little(question: Question, grants: Sequence[GrantState]) -> str:
    if not question.grants:
        return f"{question.request.holder} has no grant, and nobody above it has one"
    free = sum(tree.usable(grant) for grant in grants)
    return f"short of: {amount(question.request.amount - free)}"


def _ceilings(question: Question) -> Iterator[str]:
    request = question.request
    wanted = {"gpus": request.gpus, "jobs": request.tasks, "billing_s": request.amount}
    for room in question.rooms:
        if wanted[room.kind] > room.left:
            numbers = f"{room.value:,} {UNITS[room.kind]}, {room.used:,} in use, {wanted[room.kind]:,} wanted"
            yield f"ceiling of {room.holder}: {numbers}"


def _obstructed(question: Question, *kinds: str) -> bool:
    """A ceiling of these kinds is in the way, which a smaller amount does not change."""
    wanted = {"gpus": question.request.gpus, "jobs": question.request.tasks}
    return any(room.kind in kinds and wanted[room.kind] > room.left for room in question.rooms)


def _largest_walltime(question: Question) -> int:
    """The longest walltime that fits: shorter jobs end within more grants, and cost less."""
    request = question.request
    if _obstructed(question, "gpus", "jobs"):
        return 0
    per_second = request.rate * request.attempts * request.tasks
    ends = {int((grant.terms.valid_until - question.now).total_seconds()) for grant in question.grants}
    lengths = [length for length in {request.walltime_s, *ends} if 0 < length <= request.walltime_s]
    if not per_second:
        return max(lengths, default=0)
    fitting = [min(length, question.budget(length) // per_second - request.MARGIN_S) for length in lengths]
    return max([0, *fitting])


def _largest(question: Question, asked: int, *, per: int) -> int:
    """How many of something fit, each costing as much."""
    if _obstructed(question, "gpus", "jobs"):
        return 0
    return min(asked, question.budget(question.request.walltime_s) // per) if per else asked


def _largest_tasks(question: Question) -> int:
    request = question.request
    jobs = [room.left for room in question.rooms if room.kind == "jobs"]
    if _obstructed(question, "gpus"):
        return 0
    free = question.budget(request.walltime_s)
    each = replace(request, tasks=1).amount
    return min([request.tasks, *jobs, *([free // each] if each else [])])


def _largest_share(question: Question) -> float:
    """The part of the nodes that fits, where rate and GPUs are in proportion to them."""
    request = question.request
    if _obstructed(question, "jobs"):
        return 0.0
    shares = [1.0]
    if request.amount:
        shares.append(question.budget(request.walltime_s) / request.amount)
    if request.gpus:
        shares += [room.left / request.gpus for room in question.rooms if room.kind == "gpus"]
    return max(0.0, min(shares))
