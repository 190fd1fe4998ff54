"""How SLURM's limits are asked for and told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from forgia.errors import UserError
from forgia_cli.app import aligned
from forgia_cli.quota.rendering import plain

if TYPE_CHECKING:
    from forgia.quota.projection import Change, Wanted
    from forgia.quota.sync import Applied, Plan

HEADERS = ("QOS", "organisation", "billing-min", "counted", "held", "free", "GPUs", "jobs", "state")
MINUTE_S = 60


def accounts_of(texts: Sequence[str]) -> dict[str, str]:
    """Organisation → account, an empty one for all others. Raises: UserError — one is given two."""
    found: dict[str, str] = {}
    for text in texts:
        organisation, _, account = text.rpartition("=")
        if organisation in found:
            whose = f"of {organisation}" if organisation else "of all"
            raise UserError(f"--account {text}: the account {whose} is {found[organisation]} already")
        found[organisation] = account
    return found


def plan_text(planned: Plan) -> str:
    """The limits as they are to be, then what has to change for that, each with its command."""
    if not planned.changes:
        return "\n".join([*_limits(planned), f"nothing to change on {planned.cluster}"])
    lines = [f"{len(planned.changes)} to change on {planned.cluster}; --apply does it:"]
    return "\n".join([*_limits(planned), *lines, *(line for one in planned.changes for line in _change(one))])


def applied_text(planned: Plan, applied: Applied) -> str:
    """What was done."""
    from forgia.quota.sync import told

    lines = [f"done: {change.sentence}" for change in applied.changes]
    if applied.record:
        lines.append(f"noted in the ledger: {told(applied.record)}")
    return "\n".join([*_notes(planned), *(lines or [f"nothing to change on {planned.cluster}"])])


def _limits(planned: Plan) -> list[str]:
    table = aligned(HEADERS, [_row(one) for one in planned.wanted])
    return [*([table, ""] if planned.wanted else []), *_notes(planned)]


def _notes(planned: Plan) -> list[str]:
    return [f"note: {note}" for note in planned.notes]


def _row(one: Wanted) -> tuple[Any, ...]:
    amounts = [amount // MINUTE_S for amount in (one.counted, one.held, one.free)]
    state = f"paused: {one.paused}" if one.paused else "open"
    return (one.qos, str(one.holder), one.limits.minutes, *amounts, one.limits.gpus, one.limits.jobs, state)


def _change(one: Change) -> tuple[str, str]:
    return f"- {one.sentence}", f"    {' '.join(one.argv)}"


def plan_json(planned: Plan) -> dict[str, Any]:
    """For a program; amounts in billing-seconds, limits as SLURM counts them."""
    limits = [{**plain(one), "limits": plain(one.limits)} for one in planned.wanted]
    for one in limits:
        one["limits"].pop("flags")
    return {
        "site": str(planned.site),
        "cluster": planned.cluster,
        "limits": limits,
        "changes": [_change_json(change) for change in planned.changes],
        "notes": list(planned.notes),
    }


def applied_json(planned: Plan, applied: Applied) -> dict[str, Any]:
    """The same, with what was done and where the ledger has it."""
    record = applied.record
    note = None if record is None else {"posting": record.posting or None, "request": record.request or None}
    return {**plan_json(planned), "applied": [_change_json(change) for change in applied.changes], "record": note}


def _change_json(change: Change) -> dict[str, Any]:
    return {"command": list(change.argv), "sentence": change.sentence}
