"""What check, plan, submit and run do first, and how a plan is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forgia.environment import built
from forgia.fields import format_duration
from forgia.groups import listed
from forgia.paths import HomePaths
from forgia.plan import Plan
from forgia_cli.app import App, shown
from forgia_cli.wish import Wish

MOST_COLUMNS = 8
"""Named in a line; ``--json`` names all."""


def planned(app: App, wish: Wish, *, is_told_unbuilt: bool = True, goes_on_from: str = "") -> Plan:
    """The plan that a wish becomes, its warnings said; tells when sample data stands in for data that is not bound.

    Args: goes_on_from — the run whose training goes on.
    """
    client = app.client
    folder = client.open_recipe(wish.recipe)
    for role, binding in folder.recipe.data.items():
        if not binding.bound and binding.sample:
            app.say(f"data {role}: nothing is bound; generated sample data {binding.sample} stands in")
    profile = client.open_profile(wish.profile, account=wish.account)
    plan = client.plan(folder, profile=profile, sets=wish.sets, test=wish.test, goes_on_from=goes_on_from)
    for warning in plan.warnings:
        if is_told_unbuilt or "is not built yet" not in warning:
            app.say(f"warning: {warning}")
    return plan


def learnt_sentences(plan: Plan) -> Iterator[str]:
    """What the model reads, and what it does not because a dataset lacks it; a line each."""
    if plan.learnt:
        yield f"learns from {len(plan.learnt)} column(s): {listed(plan.learnt, most=MOST_COLUMNS)}"
    if plan.left_out:
        refs = " and ".join(dict.fromkeys(ref for lacking in plan.left_out.values() for ref in lacking))
        yield f"left out, lacking in {refs}: {listed(list(plan.left_out), most=MOST_COLUMNS)}"


def environment_sentence(home: HomePaths, plan: Plan) -> str:
    """What the ranks live in, and how large it is."""
    section = plan.request["environment"]
    if section["kind"] == "current":
        return f"environment: current (Python {section['python']}); nothing is built"
    if section["kind"] == "image":
        return f"environment: image {section['image']}, {section['digest']}"
    name = f"environment: {section['lock']} on Python {section['python']}, {section['digest']}"
    found = built(home, section["digest"])
    if found is None:
        return f"{name}; not built yet"
    packed, unpacked = found.archive_bytes / 2**20, found.unpacked_bytes / 2**20
    return f"{name}; {len(found.packages)} packages, {packed:.1f} MiB in one file, {unpacked:.1f} MiB unpacked"


def cost_sentence(plan: Plan) -> str:
    """The worst case, with what is not known said."""
    cost = plan.cost
    parts = [f"{cost.gpu_h:.2f} GPU-h", f"{cost.core_h:.2f} core-h"]
    parts.append(f"{cost.units:.2f} {cost.unit} billed" if cost.units is not None else "no billing known")
    parts.append(f"about {cost.kwh:.2f} kWh" if cost.kwh is not None else "energy unknown")
    parts.append(f"{cost.eur:.2f} €" if cost.eur is not None else "price unknown")
    resources = plan.request["resources"]
    walltime, each = format_duration(resources["walltime_total_s"]), format_duration(resources["walltime_s"])
    chain = f", in attempts of {each}" if each != walltime else ""
    return f"worst case (all processes until {walltime}{chain}): {', '.join(parts)}"


def budget_sentence(app: App, plan: Plan) -> str:
    """What the budget would say to the run, without holding anything; empty where nobody counts it."""
    found = app.client.budget.preview(plan.tariff.to_json()) if plan.tariff else None
    if found is None:
        return ""
    from forgia.quota import answers

    wanted, answer = found
    if not answer.fits:
        return f"budget: refused\n{answers.refusal(wanted, answer)}"
    left = answers.amount(answer.free - answer.wanted)
    return f"budget: {wanted.holder} would hold {answer.arithmetic}; {left} stay free"


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
