"""Rate cards: from what people count in to billing-seconds and back; and the ledger that settings name."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import profile as profiles
from forgia import settings
from forgia.catalogue import Catalogue
from forgia.errors import NotFound, Refused, UserError
from forgia.grant import Balance, Holder, Terms
from forgia.paths import HomePaths, checked_name
from forgia.profile import Billing
from forgia.quota import office, overview, rates, tres
from forgia.quota.modes import MODES, months_later
from forgia.quota.rates import RateCard, card_of, card_of_site, parse_amount
from forgia.quota.records import GrantState

HOUR_S = 3600


def card(name: str) -> RateCard:
    return card_of(profiles.load(Catalogue().profile(name)))


@pytest.mark.parametrize(
    ("name", "gpu", "node"),
    [
        ("leonardo-booster", 8, 32),
        ("karolina", Fraction(1, 8), 1),
        ("lumi-g", Fraction(1, 2), 4),
        ("marenostrum5-acc", 20, 80),
        ("meluxina", Fraction(1, 4), 1),
        ("juwels-booster", 12, 48),
        ("leonardo-serial", None, None),
    ],
)
def test_a_profile_says_what_a_gpu_hour_and_a_node_hour_cost(
    name: str, gpu: Fraction | None, node: Fraction | None
) -> None:
    found = card(name)
    assert (found.gpu, found.node) == (gpu, node)


def test_a_playground_is_what_saldo_shows_for_it() -> None:
    found = card("leonardo-booster")
    billing_s = found.billing_s(Fraction(MODES["playground"].most_gpu_h or 0), "gpu-h")
    assert found.amount(billing_s, "units") == 40_000
    assert found.label("units") == "local core-h"
    assert found.amount(billing_s, "node-h") == 1_250


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**9), st.sampled_from(rates.UNITS))
def test_what_is_asked_is_rounded_up_by_less_than_a_billing_second(amount: Fraction, unit: str) -> None:
    found = RateCard(gpu=Fraction(1, 3), node=Fraction(7, 3))
    billing_s = found.billing_s(amount, unit)
    seconds = {"gpu-h": Fraction(1200), "node-h": Fraction(8400), "units": Fraction(3600), "billing-s": Fraction(1)}
    assert 0 <= billing_s - amount * seconds[unit] < 1


@given(st.integers(min_value=1, max_value=10**15))
def test_whole_gpu_hours_come_back_as_they_went_in(hours: int) -> None:
    found = card_with_eight()
    assert found.billing_s(Fraction(hours), "gpu-h") == hours * 8 * HOUR_S
    assert found.amount(hours * 8 * HOUR_S, "gpu-h") == hours


def card_with_eight() -> RateCard:
    return RateCard(gpu=Fraction(8), node=Fraction(32))


def test_a_decimal_weight_is_taken_as_it_is_written() -> None:
    plain = profiles.load(Catalogue().profile("karolina"))
    billing = Billing(unit="u", per_gpu=0.1, eur_per_unit=0.3)
    found = card_of(plain.model_copy(update={"billing": billing}))
    assert found.billing_s(Fraction(10), "gpu-h") == 3600
    assert found.euro(36_000) == 3.0
    assert RateCard().euro(1) is None


def test_a_unit_that_nobody_put_a_price_on_is_refused_with_those_that_can_be_used() -> None:
    with pytest.raises(UserError, match="leonardo-serial says nothing of what a gpu-h costs") as caught:
        card("leonardo-serial").billing_s(Fraction(1), "gpu-h")
    assert "units, billing-s" in (caught.value.hint or "")
    with pytest.raises(UserError, match="does not say how its site bills"):
        card("laptop")


def test_a_site_is_counted_by_the_profile_that_bills_gpus_unless_another_is_preferred() -> None:
    catalogue = Catalogue()
    assert card_of_site(catalogue, "leonardo").profile == "leonardo-booster"
    assert card_of_site(catalogue, "leonardo", preferred="leonardo-serial").profile == "leonardo-serial"
    assert card_of_site(catalogue, "karolina", preferred="leonardo-booster").profile == "karolina"
    assert card_of_site(catalogue, "nowhere").units == ("units", "billing-s")


@pytest.mark.parametrize("name", sorted(Catalogue().profiles()))
def test_a_card_read_without_checking_the_profile_is_that_of_the_checked_profile(name: str) -> None:
    path = Catalogue().profile(name)
    found, checked = rates.read_bills(path), profiles.load(path)
    assert found.site == (checked.site or checked.name)
    assert (found.formula is None) == (checked.billing is None)
    if checked.billing:
        assert found.card() == card_of(checked)


def test_what_a_profile_leaves_out_is_the_same_read_either_way() -> None:
    defaults = {name: field.default for name, field in Billing.model_fields.items() if not field.is_required()}
    assert defaults == {name: getattr(tres.Formula(unit="h"), name) for name in defaults}
    assert {"unit", *defaults} == set(tres.Formula.__dataclass_fields__)


@pytest.mark.parametrize(
    "billing", ["billing: 7", "billing: {unit: h, per_gpu: much}", "billing: {unit: h, per_gpus: 1}"]
)
def test_a_profile_that_makes_no_sense_is_told_with_its_problems(tmp_path: Path, billing: str) -> None:
    path = tmp_path / "cluster-profiles" / "odd.yaml"
    path.parent.mkdir()
    path.write_text(f"schema_version: 1\nname: odd\ntitle: Odd\nscheduler: slurm\n{billing}\n")
    with pytest.raises(UserError) as caught:
        card_of_site(Catalogue([tmp_path]), "odd")
    assert [problem.line for problem in caught.value.problems] == [5]


@pytest.mark.parametrize("text", ["", "-5", "0", "0.0", "5,000", "1e3", "five", "1.", "٣"])
def test_an_amount_that_could_be_read_two_ways_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse_amount(text)


def test_months_end_with_the_site_s_clock_and_never_skip_a_month() -> None:
    begin = datetime(2026, 9, 30, 22, tzinfo=UTC)  # midnight in Rome, in summer
    assert months_later(begin, 3).astimezone(UTC) == datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert months_later(datetime(2027, 1, 31, 12, tzinfo=UTC), 1).astimezone(UTC) == datetime(
        2027, 2, 28, 12, tzinfo=UTC
    )


def test_a_mode_says_everything_that_is_not_its_own() -> None:
    assert MODES["fast-lane"].problems(50_000, 3) == []
    assert len(MODES["fast-lane"].problems(50_001, 4)) == 2
    assert MODES["large-scale"].problems(None, 6) == ["Large Scale has no fixed size: say --gpu-h, more than 50,000"]
    assert MODES["large-scale"].problems(50_000, 6) != []


# one line a holder

NOW = datetime(2026, 11, 15, tzinfo=UTC)


def grant(number: int, holder: str, *, free: int, spent: int = 0, frozen: bool = False, month: int = 11) -> GrantState:
    begin, end = datetime(2026, month, 1, tzinfo=UTC), datetime(2026, month, 29, tzinfo=UTC)
    terms = Terms(holder=Holder.parse(holder), amount=free + spent, valid_from=begin, valid_until=end)
    zero = {"held": 0, "expired": 0, "closed": False, "parent": None}
    return GrantState(id=number, terms=terms, free=free, spent=spent, frozen=frozen, **zero)  # type: ignore[arg-type]


def test_a_line_adds_up_what_lasts_and_says_how_fast_it_goes() -> None:
    grants = [
        grant(1, "leonardo/acme", free=60, spent=40),
        grant(2, "leonardo/acme/press", free=100, frozen=True),
        grant(3, "leonardo/acme", free=999, month=10),
        grant(4, "leonardo", free=5),
    ]
    acme, site = sorted(overview.lines(grants, NOW, depth=2), key=lambda one: -len(one.holder.path))
    assert (str(acme.holder), str(site.holder)) == ("leonardo/acme", "leonardo")
    assert acme.balance == Balance(granted=200, held=0, charged=40)
    assert acme.state == "partly frozen"
    assert acme.pace == Fraction(40, 100)
    assert acme.days_left == 14
    assert site.balance.free == 5


@pytest.mark.parametrize(
    ("grants", "state"),
    [
        ([grant(1, "s/o", free=5)], "open"),
        ([grant(1, "s/o", free=0, spent=5)], "used up"),
        ([grant(1, "s/o", free=-1, spent=5)], "overdrawn"),
        ([grant(1, "s/o", free=5, frozen=True)], "frozen"),
        ([grant(1, "s/o", free=5, month=12)], "not yet"),
        ([grant(1, "s/o", free=5, month=10)], "over"),
    ],
)
def test_a_line_says_what_to_know_before_the_numbers(grants: list[GrantState], state: str) -> None:
    assert overview.line(Holder.parse("s/o"), grants, NOW).state == state


# the ledger that the settings name


def given_settings(home: HomePaths, **environment: str) -> settings.Settings:
    known = {"HOME": str(home.root), "FORGIA_HOME": str(home.root), **environment}
    return settings.load(environment=known, folder=home.root.parent)


def test_looking_for_a_ledger_makes_none(home: HomePaths) -> None:
    found = given_settings(home)
    assert office.place_of(found) == home.ledger
    assert office.open_office(found) is None
    assert not home.quota.exists()


def test_an_emptied_ledger_is_no_leave_to_spend_and_a_stopped_maker_can_begin_again(home: HomePaths) -> None:
    found = given_settings(home)
    home.quota.mkdir(parents=True)
    home.ledger.touch()
    with pytest.raises(UserError, match="is empty"):
        office.open_office(found)
    with office.found_office(found) as made:
        assert made.actor.role == "staff"


def test_a_ledger_that_the_settings_name_must_be_there(home: HomePaths, tmp_path: Path) -> None:
    found = given_settings(home, FORGIA_LEDGER=str(tmp_path / "shared" / "ledger.db"))
    with pytest.raises(NotFound) as caught:
        office.open_office(found)
    assert "from environment" in (caught.value.hint or "")
    with office.found_office(found) as made:
        assert made.actor.role == "staff"
    with pytest.raises(Refused, match="is there already"):
        office.found_office(found)
    opened = office.open_office(found)
    assert opened is not None
    with opened:
        assert opened.actor == made.actor


def test_a_ledger_beside_a_settings_file_is_found_from_anywhere_below_it(tmp_path: Path) -> None:
    (tmp_path / "forgia.toml").write_text('ledger = "budgets/ledger.db"\nproject = "press-shop"\n')
    below = tmp_path / "a"
    below.mkdir()
    found = settings.load(environment={"HOME": str(tmp_path)}, folder=below)
    assert found.ledger == tmp_path / "budgets" / "ledger.db"
    assert found.project == "press-shop"
    (tmp_path / "forgia.toml").write_text('ledger = "postgresql://db/forgia"\n')
    assert settings.load(environment={"HOME": str(tmp_path)}, folder=below).ledger == "postgresql://db/forgia"


def test_who_pays_is_site_organisation_project_and_user(home: HomePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office.access, "system_user", lambda: "Anna.Rossi@polito")
    found = office.holder_of(given_settings(home, FORGIA_ORGANISATION="acme"), "leonardo")
    assert found.path[:3] == ("leonardo", "acme", "main")
    assert Holder.parse(str(found)) == found
    assert found.path[3].startswith("anna-rossi-polito-")


@given(st.text(min_size=1, max_size=100), st.text(min_size=1, max_size=100))
def test_two_users_never_share_a_place(one: str, other: str) -> None:
    names = [office.safe_name(name) for name in (one, other)]
    assert all(checked_name("person", name) for name in names)
    assert (names[0] == names[1]) == (one == other)
