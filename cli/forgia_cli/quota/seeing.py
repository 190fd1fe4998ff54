"""What a person may see of budgets: a line a firm, or all of one holder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forgia_cli.app import App, aligned
from forgia_cli.quota.rendering import HEADERS, View, grants_text, line_json, line_row

if TYPE_CHECKING:
    from forgia.grant import Holder
    from forgia.quota.office import Office
    from forgia.quota.overview import Line
    from forgia.quota.records import Ceiling, GrantState, HolderUse

ORGANISATION_DEPTH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """All of one holder."""

    line: Line
    below: tuple[Line, ...]
    """A line for each holder just below that has a grant."""
    grants: tuple[GrantState, ...]
    """Its own, those below, and those above that it may use."""
    use: tuple[HolderUse, ...]
    ceilings: tuple[Ceiling, ...]

    def to_json(self, view: View) -> dict[str, Any]:
        """For a program."""
        use = [
            {"holder": str(one.holder), "used": view.value(one.charged), "held": view.value(one.held)}
            for one in self.use
        ]
        caps = [{"holder": str(one.holder), "name": one.kind, "value": one.value} for one in self.ceilings]
        shown = {"below": [line_json(line, view) for line in self.below], "use": use, "ceilings": caps}
        return {"holder": line_json(self.line, view), **shown}


def firms(app: App) -> list[Line]:
    """A line for every organisation in sight; a site's own grants have their own."""
    from forgia.quota import access, glance, office
    from forgia.quota.overview import lines

    grants = glance.glance(office.place_of(app.settings), token=access.token_from(os.environ))
    if grants is None:
        from forgia_cli.quota.asking import the_office

        grants = the_office(app).grants()
    return lines(grants, datetime.now(UTC), depth=ORGANISATION_DEPTH)


def detail(office: Office, holder: Holder) -> Detail:
    """All of a holder that this person may see."""
    from forgia.quota.overview import line, lines

    by, now = office.at(holder), office.ledger.now()
    grants = office.ledger.grants(by=by, holder=holder, closed=True)
    above = tuple(grant for grant in office.grants() if grant.holder in holder.lineage[1:] and not grant.closed)
    depth = len(holder.path) + 1
    return Detail(
        line=line(holder, grants, now),
        below=tuple(one for one in lines(grants, now, depth=depth) if one.holder != holder),
        grants=(*above, *grants),
        use=office.ledger.use(by=by, holder=holder),
        ceilings=office.ledger.ceilings(by=by, holder=holder),
    )


def detail_text(seen: Detail, view: View) -> str:
    """A table of lines, then of grants, of who used what, and of caps; what is empty is left out."""
    used = [(str(one.holder), view.number(one.charged), view.number(one.held)) for one in seen.use]
    caps = [(str(one.holder), one.kind, one.value) for one in seen.ceilings]
    tables = [
        aligned(HEADERS, [line_row(line, view) for line in (seen.line, *seen.below)]),
        grants_text(seen.grants, view) if seen.grants else "",
        aligned(("who", f"used ({view.label})", "held"), used) if used else "",
        aligned(("ceiling of", "name", "value"), caps) if caps else "",
    ]
    return "\n\n".join(table for table in tables if table)
