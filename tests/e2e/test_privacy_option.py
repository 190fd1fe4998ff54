"""Training with differential privacy, as somebody asks for it on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from .conftest import Command, in_ranks

PRIVATE = ("--set", "train.privacy={kind: dp, noise: 1.0}")


@pytest.mark.slow
def test_two_processes_train_privately_and_the_card_says_what_it_cost(mine: Command) -> None:
    asked = (
        *PRIVATE,
        "--set",
        "train.determinism=D0",
        "--set",
        "resources.tasks_per_node=2",
        "--set",
        "train.epochs=2",
    )
    ref = mine("run", "mine", "--test", *asked).stdout.split()[0]
    mine("model", "pull", ref, "--to", "out")
    cards = "".join(path.read_text() for path in Path("out").rglob("README.md"))
    assert re.search(r"ε = \d+\.\d* at δ = 1e-05, noise 1, clip 1", cards)


@pytest.mark.slow
def test_two_processes_move_the_weights_as_far_as_one() -> None:
    alone, together = (json.loads(in_ranks(size, "private_program.py")[0].splitlines()[-1]) for size in (1, 2))
    assert together == pytest.approx(alone, rel=1e-5)


def test_what_would_give_the_noise_away_is_refused_all_at_once(mine: Command) -> None:
    asked = (*PRIVATE, "--set", "train.strategy=deepspeed", "--set", "train.class_weights=balanced")
    done = mine("check", "mine", *asked, check=False)
    assert done.returncode == 2
    for words in (
        "deepspeed cannot keep the samples' gradients apart",
        "set train.determinism to D0",
        "how often each",
    ):
        assert words in done.stderr
