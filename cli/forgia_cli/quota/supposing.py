"""How a supposed run is shown beside its budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from forgia_cli.quota.reporting import forecast_json

if TYPE_CHECKING:
    from forgia.quota.forecast import Forecast
    from forgia.quota.what_if import WhatIf
    from forgia_cli.quota.rendering import View


def to_text(found: WhatIf, view: View, *, recipe: str) -> str:
    """Sentences, each a figure."""
    return "\n".join(sentences(found, view, recipe))


def sentences(found: WhatIf, view: View, recipe: str) -> Iterator[str]:
    """What it costs, what is left, when the budget ends, how many fit."""
    free, typical = found.answer.free, found.typical
    yield f"{found.request.holder}: {view.text(free)} free"
    yield f"at worst:  {view.text(found.worst)} held ({found.answer.arithmetic}); {view.text(free - found.worst)} left"
    if typical is None:
        yield f"typically: not known; no run of {recipe} has been charged yet"
    else:
        runs = f"the middle of {len(found.past)} charged runs of {recipe}"
        yield f"typically: {view.text(typical)} ({runs}); {view.text(free - typical)} left"
    for problem in found.answer.problems:
        yield f"it would be refused: {problem}"
    yield from moved(found)
    if found.runs_that_fit is not None:
        basis = "its typical cost" if typical else "its worst case"
        yield f"so many such runs fit, one after the other, each at {basis}: {found.runs_that_fit:,}"


def moved(found: WhatIf) -> Iterator[str]:
    """When the budget would be used up, now and then."""
    if found.before is None:
        return
    if found.before.remark:
        yield f"forecast:  none; {found.before.remark}"
        return
    yield f"forecast:  {when(found.before)} as it is"
    for name, after in (("at worst", found.after_worst), ("typically", found.after_typical)):
        if after:
            yield f"           {when(after)} after it, {name}"


def when(found: Forecast) -> str:
    """The middle of the futures."""
    middle = found.exhausted[50]
    return f"used up on {middle}" if middle else f"lasts until its end, {found.end}"


def to_json(found: WhatIf) -> dict[str, Any]:
    """For a program; amounts in billing-seconds."""
    forecasts = {"now": found.before, "after_worst": found.after_worst, "after_typical": found.after_typical}
    return {
        "holder": str(found.request.holder),
        "unit": "billing-s",
        "free": found.answer.free,
        "worst": found.worst,
        "arithmetic": found.answer.arithmetic,
        "typical": found.typical,
        "past_runs": len(found.past),
        "fits": found.answer.fits,
        "problems": list(found.answer.problems),
        "runs_that_fit": found.runs_that_fit,
        "forecasts": {name: one and forecast_json(one) for name, one in forecasts.items()},
    }
