"""How speed grows with processes, as somebody measures it who wants to know what to ask for."""

from __future__ import annotations

import json

import pytest

from .conftest import Command


@pytest.mark.slow
def test_two_sizes_are_measured_and_nothing_of_them_reaches_the_registry(mine: Command) -> None:
    asked = ("bench", "scaling", "mine", "--test", "--steps", "10", "--at", "1x1", "--at", "1x2", "--json")
    found = json.loads(mine(*asked).stdout)
    assert [(point["size"], point["state"]) for point in found["points"]] == [
        ("1x1", "succeeded"),
        ("1x2", "succeeded"),
    ]
    assert found["points"][0]["efficiency"] == 1
    assert 0 < found["points"][1]["figures"]["collective_share"] <= 1
    assert json.loads(mine("model", "list", "--json").stdout)["models"] == []
    assert "scaling" in mine("sweep", "list").stdout
