"""What quota commands are told: amounts in any unit, dates, the terms of a grant; every problem at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from forgia.errors import NotFound, Problem, UserError, nearest
from forgia_cli.app import App

if TYPE_CHECKING:
    from forgia.grant import Holder, Terms
    from forgia.quota.modes import AccessMode
    from forgia.quota.office import Office
    from forgia.quota.rates import RateCard

Value = TypeVar("Value")
RESOURCES = ("any", "gpu", "cpu")
STRATEGIES = ("none", "cineca", "jsc", "it4i")
MODES = ("playground", "fast-lane", "large-scale")
UNITS = ("gpu-h", "node-h", "units", "billing-s")
DATE = "a date, such as 2026-11-01"
LOOK_BACK = timedelta(days=30)
FIRST_YEAR, LAST_YEAR = 2000, 2200
"""Dates outside are slips of the hand; far outside, no calendar has them in another time zone."""
MOST_PRIORITY = 1_000_000
LONGEST_CAP = 15
"""Digits of a cap: what every database holds."""

reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the ledger.")
profile_option = click.option(
    "-p", "--profile", metavar="NAME", help="Cluster profile whose billing converts; default: one of the holder's site."
)
unit_option = click.option(
    "--unit", type=click.Choice(UNITS), help="Unit to show; default: GPU-h where GPUs are billed."
)


def the_office(app: App) -> Office:
    """The ledger with this person's role. Raises: NotFound — there is none."""
    from forgia.quota import office

    found = office.open_office(app.settings)
    if found is None:
        raise NotFound("ledger", str(office.place_of(app.settings)), hint=f"{office.MAKE} makes it")
    click.get_current_context().call_on_close(found.ledger.close_connections)
    return found


def card(app: App, site: str, profile: str | None) -> RateCard:
    """The rate card for budgets of a site. Raises: UserError — the profile is of another site."""
    from forgia.quota import rates

    if profile is None:
        return rates.card_of_site(app.catalogue, site, preferred=app.settings.profile)
    found = app.client.open_profile(profile)
    if (found.site or found.name) != site:
        raise UserError(f"profile {profile} is of the site {found.site or found.name}, and the budget of {site}")
    return rates.card_of(found)


class Complaints:
    """Problems with what a command was told, gathered to be said at once."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.problems: list[Problem] = []

    def add(self, option: str, message: str) -> None:
        """One more."""
        self.problems.append(Problem(self.what, None, option, message))

    def take(self, option: str, make: Callable[[], Value]) -> Value | None:
        """What the function makes; None where it complains."""
        try:
            return make()
        except UserError as error:
            self.add(option, "; ".join(filter(None, (error.message, error.hint))))
            return None

    def raise_any(self) -> None:
        """Raises: UserError — there were some."""
        if self.problems:
            raise UserError(f"{self.what}: {len(self.problems)} problem(s), nothing was done", problems=self.problems)

    def sound(self, value: Value | None) -> Value:
        """A value that was taken. Raises: UserError — there are complaints, of this or of another."""
        if value is None and not self.problems:
            self.add("", "something is missing")
        self.raise_any()
        return cast("Value", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """An amount as it was written: one unit, or none."""

    words: dict[str, str] = field(default_factory=dict)
    """Unit → what was written."""
    profile: str | None = None

    def billing_s(self, app: App, site: str | None) -> int:
        """In billing-seconds, rounded up. Raises: UserError — no amount, several, or none that can be converted."""
        if len(self.words) != 1:
            raise UserError("say how much, in one unit: --gpu-h, --node-h, --units or --billing-s")
        return self.convert(app, site, next(iter(self.words.values())))

    def convert(self, app: App, site: str | None, text: str) -> int:
        """Another amount in the same unit; of an unknown site only whether it is an amount."""
        number = self.number(text)
        unit = next(iter(self.words), "billing-s")
        return 1 if site is None else card(app, site, self.profile).billing_s(number, unit)

    def number(self, text: str) -> Fraction:
        """What a text says."""
        from forgia.quota.rates import parse_amount

        return parse_amount(text)

    @property
    def gpu_h(self) -> float | None:
        """GPU-hours, if the amount was written so and makes sense."""
        try:
            return float(self.number(self.words["gpu-h"])) if "gpu-h" in self.words else None
        except UserError:
            return None


AMOUNTS = (
    click.option("--gpu-h", metavar="N", help="Amount in GPU-hours."),
    click.option("--node-h", metavar="N", help="Amount in node-hours."),
    click.option("--units", metavar="N", help="Amount in the site's own unit."),
    click.option("--billing-s", metavar="N", help="Amount in billing-seconds, as the ledger counts."),
    profile_option,
)


def amount_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the ways to write an amount, as one ``asked``."""

    @functools.wraps(command)
    def with_amount(*given: Any, profile: str | None, **own: Any) -> Any:
        written = {unit: own.pop(unit.replace("-", "_")) for unit in UNITS}
        words = {unit: text for unit, text in written.items() if text is not None}
        return command(*given, asked=Asked(words=words, profile=profile), **own)

    return functools.reduce(lambda inner, option: option(inner), reversed(AMOUNTS), with_amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The terms of a grant as they were written."""

    begin: str | None
    until: str | None
    resource: str
    priority: int
    strategy: str
    overdraft: str | None
    refund_node_fail: bool
    title: str
    mode: str | None
    months: int | None


TERMS = (
    click.option("--from", "begin", metavar="DATE", help="First day; default: now. Days begin at midnight in Rome."),
    click.option("--until", metavar="DATE", help="Day at whose beginning it is over; or --months."),
    click.option("--months", type=click.IntRange(1, 120), metavar="N", help="How long, instead of --until."),
    click.option("--mode", type=click.Choice(MODES), help="Access mode of the AI Factories: its size and months."),
    click.option(
        "--resource", type=click.Choice(RESOURCES), default="any", show_default=True, help="What it pays for."
    ),
    click.option(
        "--priority",
        type=click.IntRange(-MOST_PRIORITY, MOST_PRIORITY),
        default=0,
        show_default=True,
        help="Higher is used first.",
    ),
    click.option(
        "--strategy", type=click.Choice(STRATEGIES), default="none", show_default=True, help="Monthly slices."
    ),
    click.option("--overdraft", metavar="N", help="What holds may go below zero by, in the unit of the amount."),
    click.option("--refund-node-fail/--no-refund-node-fail", default=True, help="Give back what failed nodes cost."),
    click.option("--title", default="", metavar="TEXT", help="Such as the project's number at the site."),
)


def terms_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the terms of a grant, as one ``wish``."""

    @functools.wraps(command)
    def with_terms(*given: Any, **own: Any) -> Any:
        fields = {name: own.pop(name) for name in Wish.__dataclass_fields__}
        return command(*given, wish=Wish(**fields), **own)

    return functools.reduce(lambda inner, option: option(inner), reversed(TERMS), with_terms)


def terms(app: App, complaints: Complaints, holder: Holder | None, *, asked: Asked, wish: Wish) -> Terms:
    """The terms that were written, for a holder that was found. Raises: UserError — with every problem at once."""
    from forgia.grant import Terms
    from forgia.quota.modes import MODES as KNOWN

    mode = KNOWN[wish.mode] if wish.mode else None
    if mode:
        asked = sized(complaints, asked, mode, wish.months)
    site = holder.path[0] if holder else None
    amount = complaints.take("amount", lambda: asked.billing_s(app, site))
    overdraft = 0
    if text := wish.overdraft:
        overdraft = complaints.take("--overdraft", lambda: asked.convert(app, site, text)) or 0
    begin, until = validity(complaints, wish, mode)
    return Terms(
        holder=complaints.sound(holder),
        amount=complaints.sound(amount),
        valid_from=complaints.sound(begin),
        valid_until=complaints.sound(until),
        resource=wish.resource,
        priority=wish.priority,
        strategy=wish.strategy,
        overdraft=overdraft,
        refund_node_fail=wish.refund_node_fail,
        title=wish.title or (mode.title if mode else ""),
    )


def sized(complaints: Complaints, asked: Asked, mode: AccessMode, months: int | None) -> Asked:
    """The amount that a mode gives, where none was written."""
    gpu_h = asked.gpu_h
    for sentence in mode.problems(gpu_h if asked.words else None, months) if gpu_h or not asked.words else ():
        complaints.add("--mode", sentence)
    if asked.words or mode.most_gpu_h is None:
        return asked
    return Asked(words={"gpu-h": str(mode.most_gpu_h)}, profile=asked.profile)


def validity(complaints: Complaints, wish: Wish, mode: AccessMode | None) -> tuple[datetime | None, datetime | None]:
    """From when until when."""
    from forgia.quota.modes import months_later

    begin = datetime.now(UTC) if wish.begin is None else written(complaints, "--from", wish.begin)
    until = written(complaints, "--until", wish.until)
    months = wish.months or (mode.months[-1] if mode and not wish.until else None)
    if wish.until and wish.months:
        complaints.add("--until", "and --months: write one of them")
    elif months and begin:
        until = months_later(begin, months)
    elif wish.until is None and not months:
        complaints.add("--until", f"say until when: {DATE}, or --months 3")
    if begin and until and until <= begin:
        complaints.add("--until", f"{wish.until} is not after {wish.begin or 'now'}; are they the wrong way round?")
    return begin, until


def written(complaints: Complaints, option: str, text: str | None) -> datetime | None:
    """The moment that an option says; None where it says none."""
    return None if text is None else complaints.take(option, lambda: moment(text))


def moment(text: str) -> datetime:
    """The beginning of a day in Rome, or a time with its zone. Raises: UserError — neither."""
    from zoneinfo import ZoneInfo

    from forgia.quota.slices import ZONE

    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        hint = f"write {DATE}, or a time with its zone, such as 2026-11-01T12:00+01:00"
        raise UserError(f"{text!r} is no date", hint=hint) from error
    if not FIRST_YEAR <= found.year < LAST_YEAR:
        raise UserError(f"{text!r} is no date of a budget", hint=f"write a year from {FIRST_YEAR} to {LAST_YEAR - 1}")
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(ZONE))


def known_holder(office: Office, text: str) -> Holder:
    """A holder that has a grant at, above or below it, or used something. Raises: NotFound — with the nearest."""
    from forgia.grant import Holder

    holder = Holder.parse(text)
    found = {above for actor in office.actors() for one in office.ledger.use(by=actor) for above in one.holder.lineage}
    found |= {above for grant in office.grants() for above in grant.holder.lineage}
    found |= {above for actor in office.actors() if actor.holder for above in actor.holder.lineage}
    if holder not in found:
        raise NotFound("holder", text, known=[str(one) for one in found], hint="forgia quota show lists those in sight")
    return holder


def like_another(office: Office, holder: Holder) -> list[str]:
    """Holders beside this one whose name a slip of the hand could have made it; none, if it is known itself."""
    known = {above for grant in office.grants() for above in grant.holder.lineage}
    if holder in known:
        return []
    beside = {one.path[-1]: str(one) for one in known if one.path[:-1] == holder.path[:-1]}
    return [beside[name] for name in nearest(holder.path[-1], beside)]


def remark_if_new(app: App, office: Office, holder: Holder | None) -> None:
    """Say that a name is nearly another one; it may be meant all the same."""
    if holder and (near := like_another(office, holder)):
        app.say(f"note: {holder} is new here; there is {' and '.join(near)} already")


def cap(text: str) -> tuple[str, int | None]:
    """``gpus=8`` or ``gpus=none``. Raises: UserError — neither."""
    from forgia.grant import CEILINGS

    name, sign, value = text.partition("=")
    if name not in CEILINGS:
        close = "".join(f"; did you mean {one}?" for one in nearest(name, CEILINGS)[:1])
        raise UserError(f"no cap is named {name!r}{close or f'; there are {chr(44).join(CEILINGS)}'}")
    if not sign or not (value == "none" or (value.isascii() and value.isdecimal() and len(value) <= LONGEST_CAP)):
        raise UserError(f"write {name}=N with a whole number, or {name}=none")
    return name, None if value == "none" else int(value)


def is_system_user(name: str) -> bool:
    """The operating system knows a user of this name."""
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def json_or_words(text: str) -> Any:
    """JSON, else the words between commas."""
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [word.strip() for word in text.split(",") if word.strip()]


def a_while_ago(office: Office) -> datetime:
    """Where a trail begins that nobody gave a beginning."""
    return office.ledger.now() - LOOK_BACK
