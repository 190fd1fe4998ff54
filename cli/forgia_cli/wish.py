"""What a person wants of a recipe: the arguments that check, plan, run and submit share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A recipe, where it should run, and what should be different."""

    recipe: str | None
    """A folder or a name of the catalogue; None: the recipe here."""
    profile: str | None
    account: str | None
    sets: tuple[str, ...]
    test: bool


ARGUMENTS = (
    click.argument("recipe", required=False),
    click.option(
        "-p", "--profile", metavar="NAME", help="Cluster profile (FORGIA_PROFILE; default: laptop). See profile list."
    ),
    click.option("--account", metavar="NAME", help="Account to charge, where the cluster wants one."),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Change a field of the recipe: width=64, train.epochs=5.",
    ),
    click.option("--test", is_flag=True, help="Use the recipe's small test settings."),
)
go_on_option = click.option(
    "--go-on-from",
    "goes_on_from",
    default="",
    metavar="RUN",
    help="Begin with the newest checkpoint of this run, under another strategy, with other processes or elsewhere.",
)
again_option = click.option("--again", is_flag=True, help="A fresh run even if this very request has run before.")


def wish_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the shared arguments, as one ``wish``."""

    @functools.wraps(command)
    def wished(
        *given: Any,
        recipe: str | None,
        profile: str | None,
        account: str | None,
        sets: tuple[str, ...],
        test: bool,
        **own: Any,
    ) -> Any:
        wish = Wish(recipe=recipe, profile=profile, account=account, sets=sets, test=test)
        return command(*given, wish=wish, **own)

    return functools.reduce(lambda inner, argument: argument(inner), reversed(ARGUMENTS), wished)
