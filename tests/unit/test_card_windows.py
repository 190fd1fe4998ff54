from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forgia import reference
from forgia.features import FeatureSpec, NumericFeature
from forgia.reference import Beginning
from forgia.splitting import Split
from forgia_jobs.request import Columns, SplitRule
from forgia_jobs.telling import card_classes, card_windows

COLUMNS = {"numeric": ("reading",), "categorical": (), "target": "left", "group": "machine", "time": "cycle"}


def rule(**changes: Any) -> SplitRule:
    return SplitRule(**{"by": "group", "fractions": (0.6, 0.2, 0.2), **changes})


@pytest.mark.parametrize(
    ("changes", "columns", "said"),
    [
        ({}, {}, "by whole groups (machine)"),
        ({}, {"episodes_of": "wear"}, "by whole groups (machine, resets of wear)"),
        ({}, {"group": None}, "by whole groups"),
        ({"by": "time"}, {}, "by time (`cycle`), the latest rows for the test"),
        ({"by": "part"}, {}, "by whole groups (machine)"),
        ({"by": "part"}, {"part": "split"}, "as `split` says (every window is judged)"),
        ({"by": "part", "judge": "last"}, {"part": "split"}, "as `split` says (the last window of each test group"),
    ],
)
def test_the_card_says_how_samples_were_parted(changes: dict[str, Any], columns: dict[str, Any], said: str) -> None:
    assert card_windows.split(rule(**changes), Columns(**{**COLUMNS, **columns})).startswith(said)


def test_the_card_says_which_groups_were_judged() -> None:
    data: Any = SimpleNamespace(test_groups=tuple(f"press-{number:02}" for number in range(23)))
    (said,) = card_windows.tested(data, Columns(**COLUMNS))
    assert said.startswith("The test part (`machine`): press-00, press-01, ")
    assert said.endswith("press-19 and 3 more.")
    assert not list(card_windows.tested(SimpleNamespace(test_groups=()), Columns(**COLUMNS)))  # type: ignore[arg-type]


def test_the_card_says_which_classes_were_never_judged() -> None:
    split = Split(train=np.array([0, 1, 2]), validation=np.array([3]), test=np.array([4, 5]))
    data: Any = SimpleNamespace(
        spec=SimpleNamespace(classes=("dent", "good", "ok")), split=split, target=np.array([0, 1, 2, 1, 1, 2])
    )
    assert card_classes.never_judged(data) == (
        "The validation part has no image of dent (1 in all), ok (2 in all): weights and threshold are chosen without "
        "any. The test part has no image of dent (1 in all): no figure says how well such are told apart."
    )
    data.spec.classes = ("dent",)
    data.target = np.zeros(6, dtype=np.int64)
    assert card_classes.never_judged(data) == ""


def spec(**changes: Any) -> FeatureSpec:
    given = {"output": "value", "samples": {"kind": "rows"}, **changes}
    return FeatureSpec(numeric=(NumericFeature(name="setting"),), categorical=(), target="left", **given)


def test_the_card_says_what_is_given() -> None:
    assert card_windows.gives(spec(output="probability")) == "the probability that `left` is true"
    assert card_windows.gives(spec(target_unit="h")) == "the value of `left` in h"
    assert card_windows.gives(spec(cap=125.0)) == "the value of `left`, a greater one than 125 counting as 125"
    assert "never learnt from" in card_windows.gives(spec(output="score"))


def test_the_card_says_what_readings_are_held_against() -> None:
    values = np.array([[0.0], [10.0]] * 20)
    samples = {"kind": "windows", "length": 30, "group": "machine", "time": "cycle", "lead_in": True}
    usual = spec(
        samples=samples,
        conditions=reference.fit_conditions(values, (0,)),
        beginning=Beginning(rows=400, least=(1.0,)),
    )
    said = " ".join(card_windows.read_as(usual))
    for words in ("30 rows of one `machine`", "that row is repeated", "`setting`; 2 condition(s)", "first 400 rows"):
        assert words in said
    assert not list(card_windows.read_as(spec()))
