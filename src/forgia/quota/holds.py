"""Reservations: made before the scheduler hears of a job, resized between attempts, given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from forgia.errors import NotFound, Problem, Refused, UserError
from forgia.grant import Holder, HoldRequest, Kind, QuotaExceeded
from forgia.quota import access, answers, chain, rows, tree
from forgia.quota.answers import Question, Room
from forgia.quota.book import Book, move, open_holds, within
from forgia.quota.moments import spelled
from forgia.quota.postings import Row, Set
from forgia.quota.records import Answer, GrantState, Hold
from forgia.quota.schema import HOLDER

COUNTED = ("gpus", "jobs", "billing_s")
"""Ceilings that a hold is measured against; what the registry may store is the registry's to ask."""

LEAST = {"rate": 0, "walltime_s": 1, "attempts": 1, "tasks": 1, "gpus": 0}
"""Field of a request → the least that makes sense."""


def hold(book: Book, request: HoldRequest, *, allow_cross: bool, overdraft: bool) -> Hold:
    """See ``Ledger.hold``."""
    access.check(book.actor, "overdraft" if overdraft else "hold", request.holder)
    _check(request)
    if book.find("hold_state", (request.key,)):
        return _same(find(book, request.key), request)
    found = answers.answer(_question(book, request, allow_cross=allow_cross, overdraft=overdraft))
    if not found.fits:
        raise _exceeded(request, found)
    book.post(
        Kind.HOLD,
        key=f"hold:{request.key}",
        holder=request.holder,
        run_id=request.run_id,
        hold_key=request.key,
        moves=_reserve(found.parts),
        sets=[_hold_set(book, request), *_part_sets(request.key, found.parts, first=0)],
        facts={"arithmetic": found.arithmetic, "allow_cross": allow_cross},
    )
    return find(book, request.key)


def preview(book: Book, request: HoldRequest, *, allow_cross: bool) -> Answer:
    """See ``Ledger.preview``."""
    access.check(book.actor, "hold", request.holder)
    _check(request)
    return answers.answer(_question(book, request, allow_cross=allow_cross, overdraft=False))


def find(book: Book, key: str) -> Hold:
    """A hold as it stands. Raises: NotFound."""
    row = book.find("hold_state", (key,))
    if row is None:
        raise NotFound("hold", key)
    return rows.hold(row, book.parts_of(key))


def release(book: Book, key: str) -> Hold:
    """See ``Ledger.release``."""
    found = find(book, key)
    access.check(book.actor, "hold", found.holder)
    if found.open and (row := book.find("hold_state", (key,))):
        let_go(book, row, key=f"release:{key}")
    return find(book, key)


def let_go(book: Book, row: Row, *, key: str) -> int:
    """Give back what is left of an open hold, as its row says, and close it; returns how much that was."""
    parts = book.parts_of(row["key"])
    book.post(
        Kind.RELEASE,
        key=key,
        holder=row["holder"],
        run_id=row["run_id"],
        hold_key=row["key"],
        moves=[line for part in parts for line in move(part["grant_id"], "held", "free", part["held"])],
        sets=[("hold_state", [row["key"]], {"open": False})],
    )
    return sum(part["held"] for part in parts)


def resize(book: Book, key: str, amount: int, *, allow_cross: bool) -> Hold:
    """See ``Ledger.resize_hold``."""
    found = find(book, key)
    access.check(book.actor, "hold", found.holder)
    if amount < 0:
        raise UserError(f"hold {key}: {amount} billing-seconds cannot be held")
    if not found.open:
        raise Refused(f"hold {key} is closed", hint="ask for a new hold, under the key of the next attempt")
    if amount < found.held:
        _shrink(book, found, found.held - amount)
    elif amount > found.held:
        _grow(book, found, amount - found.held, allow_cross=allow_cross)
    return find(book, key)


def _shrink(book: Book, found: Hold, less: int) -> None:
    """Give back from the last part first: the first ones are nearest, or end first."""
    moves = []
    for part in reversed(found.parts):
        some = min(less, part.held)
        moves += move(part.grant, "held", "free", some)
        less -= some
    _resized(book, found, moves)


def _grow(book: Book, found: Hold, more: int, *, allow_cross: bool) -> None:
    request = HoldRequest(
        key=found.key,
        run_id=found.run_id,
        holder=found.holder,
        resource=found.resource,
        rate=found.rate,
        walltime_s=found.walltime_s,
    )
    question = _question(book, request, allow_cross=allow_cross, overdraft=False)
    free = question.budget(found.walltime_s)
    parts = tree.split(question.usable(found.walltime_s), more) if more <= free else None
    if parts is None:
        message = f"hold {found.key} cannot hold {answers.amount(more)} more: {answers.amount(free)} free"
        raise QuotaExceeded(message, wanted=more, free=free, hint="let it end, or ask for budget")
    known = {part.grant for part in found.parts}
    fresh = [part for part in parts if part[0] not in known]
    sets = _part_sets(found.key, fresh, first=len(found.parts))
    _resized(book, found, _reserve(parts), list(sets))


def _resized(book: Book, found: Hold, moves: Sequence[tuple[str, int]], sets: Sequence[Set] = ()) -> None:
    book.post(Kind.HOLD, holder=found.holder, run_id=found.run_id, hold_key=found.key, moves=moves, sets=sets)


def _check(request: HoldRequest) -> None:
    """Raises: UserError — with every field that makes no sense."""
    problems = [
        Problem("hold", None, name, f"{getattr(request, name)} is less than {least}")
        for name, least in LEAST.items()
        if getattr(request, name) < least
    ]
    if request.resource not in ("gpu", "cpu"):
        problems.append(Problem("hold", None, "resource", f"{request.resource!r} is neither gpu nor cpu"))
    if not (request.key and request.key.isprintable() and request.run_id.isprintable()):
        problems.append(Problem("hold", None, "key", "a printable name of the hold is missing"))
    if problems:
        raise UserError(f"hold {request.key!r} cannot be asked for", problems=problems)


def _same(found: Hold, request: HoldRequest) -> Hold:
    """The hold that there is. Raises: Refused — its key was used for something else."""
    if (found.holder, found.run_id, found.asked) != (request.holder, request.run_id, request.amount):
        message = f"hold {request.key} exists already, for {found.asked:,} billing-s of run {found.run_id}"
        raise Refused(message, hint="every attempt needs a key of its own")
    return found


def _exceeded(request: HoldRequest, found: Answer) -> QuotaExceeded:
    hint = "ask for less, wait until holds are released, or ask staff for budget"
    return QuotaExceeded(answers.refusal(request, found), wanted=found.wanted, free=found.free, hint=hint)


def _question(book: Book, request: HoldRequest, *, allow_cross: bool, overdraft: bool) -> Question:
    return Question(
        request=request,
        now=book.now,
        grants=lineage_grants(book, request.holder),
        rooms=tuple(_rooms(book, request.holder)),
        allow_cross=allow_cross,
        overdraft=overdraft,
    )


def lineage_grants(book: Book, holder: Holder) -> list[GrantState]:
    """Grants of a holder and of those above it, in the order of use."""
    book.load_group("grant_state", [str(above) for above in holder.lineage])
    found = [rows.grant(row) for above in holder.lineage for row in book.grants_of(above)]
    return tree.in_order(found, holder)


def _rooms(book: Book, holder: Holder) -> Iterator[Room]:
    """What the ceilings on a holder and on those above it leave."""
    keys = [(str(above), kind) for above in holder.lineage for kind in COUNTED]
    book.load("ceiling", keys)
    for place, kind in keys:
        if row := book.find("ceiling", (place, kind)):
            above = Holder.parse(place)
            yield Room(holder=above, kind=kind, value=row["value"], used=_used(book, above, kind))


def _used(book: Book, holder: Holder, kind: str) -> int:
    if kind == "billing_s":
        total = sa.func.sum(HOLDER.c.held + HOLDER.c.charged)
        return int(book.connection.execute(sa.select(total).where(within(HOLDER.c.holder, holder))).scalar() or 0)
    column = {"gpus": "gpus", "jobs": "tasks"}[kind]
    return sum(row[column] for row in open_holds(book, holder))


def _reserve(parts: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    return [line for grant, amount in parts for line in move(grant, "free", "held", amount)]


def _part_sets(key: str, parts: Sequence[tuple[int, int]], *, first: int) -> Iterator[Set]:
    for position, (grant, _) in enumerate(parts, start=first):
        yield "hold_part", [key, grant], {"position": position, "amount": 0, "held": 0, "charged": 0}


def _hold_set(book: Book, request: HoldRequest) -> Set:
    fields = ("run_id", "resource", "rate", "walltime_s", "attempts", "tasks", "gpus")
    values: Row = {name: getattr(request, name) for name in fields}
    values |= {"holder": str(request.holder), "opened": spelled(book.now), "asked": request.amount, "open": True}
    values |= {"seq": book.next_seq, "facts": _facts(request)}
    return "hold_state", [request.key], values


def _facts(request: HoldRequest) -> str:
    """Raises: UserError — the facts are not JSON."""
    try:
        facts: dict[str, Any] = dict(request.facts)
        return chain.canonical(facts)
    except (TypeError, ValueError) as error:
        raise UserError(f"hold {request.key}: its facts are not JSON: {error}") from error
