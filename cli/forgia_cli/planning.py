"""What check, plan, submit and run do first, and how a plan is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forgia.fields import format_duration
from forgia.plan import Plan
from forgia_cli.app import App, shown
from forgia_cli.wish import Wish


def planned(app: App, wish: Wish) -> Plan:
    """The plan that a wish becomes, its warnings said; tells when sample data stands in for data that is not bound."""
    client = app.client
    folder = client.open_recipe(wish.recipe)
    for role, binding in folder.recipe.data.items():
        if not binding.bound and binding.sample:
            app.say(f"data {role}: nothing is bound; generated sample data {binding.sample} stands in")
    profile = client.open_profile(wish.profile, account=wish.account)
    plan = client.plan(folder, profile=profile, sets=wish.sets, test=wish.test)
    for warning in plan.warnings:
        app.say(f"warning: {warning}")
    return plan


def cost_sentence(plan: Plan) -> str:
    """The worst case, with what is not known said."""
    cost = plan.cost
    parts = [f"{cost.gpu_h:.2f} GPU-h", f"{cost.core_h:.2f} core-h"]
    parts.append(f"{cost.units:.2f} {cost.unit} billed" if cost.units is not None else "no billing known")
    parts.append(f"about {cost.kwh:.2f} kWh" if cost.kwh is not None else "energy unknown")
    parts.append(f"{cost.eur:.2f} €" if cost.eur is not None else "price unknown")
    walltime = format_duration(plan.request["resources"]["walltime_s"])
    return f"worst case (all processes until {walltime}): {', '.join(parts)}"


def rows(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Every resolved value and where it came from."""
    for section in ("resources", "train", "params", "evaluate"):
        for name, value in flat(plan.request[section]):
            key = f"{section}.{name}"
            origin = (
                plan.origins.get(key.removesuffix("_s"))
                or plan.origins.get(key)
                or plan.origins.get(key.rsplit(".", 1)[0])
                or "default"
            )
            yield key, shown(value), origin
    for name in ("partition", "qos", "account"):
        if value := plan.request["profile"].get(name):
            yield f"profile.{name}", str(value), f"profile {plan.request['profile']['name']}"


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields by dotted name."""
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item
