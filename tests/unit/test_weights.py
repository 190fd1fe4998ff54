"""Weights that others have trained: what may be named, by what they are known, and that the run's identity says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import forgia
from forgia import store, submission, weights
from forgia.errors import IntegrityError, NotFound, UserError
from forgia.paths import HomePaths

FILES = ("config.json", "tokenizer.json")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({"weight": np.arange(4, dtype=np.float32)}, folder / "model.safetensors")
    for name in FILES:
        (folder / name).write_text("{}")
    return folder


def test_a_folder_of_safetensors_is_taken(base: Path) -> None:
    assert weights.located(str(base), needs=FILES) == base
    assert weights.located(str(base / "model.safetensors"), needs=FILES) == base / "model.safetensors"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_refused_by_name(base: Path, name: str) -> None:
    (base / "model.safetensors").rename(base / name)
    with pytest.raises(UserError, match="reading such a file runs the code in it") as caught:
        weights.located(str(base))
    assert name in caught.value.message


def test_a_pickle_beside_safetensors_is_neither_read_nor_counted(base: Path) -> None:
    before = weights.digest_of(base)
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    (base / "README.md").write_text("about")
    assert weights.located(str(base)) == base
    assert weights.digest_of(base) == before


def test_what_is_missing_is_named(base: Path, tmp_path: Path) -> None:
    (base / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"lacks tokenizer\.json"):
        weights.located(str(base), needs=FILES)
    with pytest.raises(NotFound):
        weights.located(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        weights.located(str(tmp_path / "empty"))


def test_they_are_known_by_their_bytes_wherever_they_lie(base: Path, tmp_path: Path) -> None:
    known = weights.digest_of(base)
    moved = base.rename(tmp_path / "elsewhere")
    assert weights.digest_of(moved) == known
    weights.verify(moved, known)
    (moved / "config.json").write_text('{"changed": true}')
    with pytest.raises(IntegrityError):
        weights.verify(moved, known)
    with pytest.raises(IntegrityError, match="nothing that this node sees"):
        weights.verify(base, known)


def test_the_base_is_part_of_the_identity_and_its_place_is_not(base: Path, home: HomePaths, tmp_path: Path) -> None:
    client = forgia.Client(forgia.Settings(home=home))

    def plan(place: Path | str) -> forgia.Plan:
        return client.plan("document-assistant", test=True, sets=[f"params.base={json.dumps(str(place))}"])

    first, none = plan(base), plan("")
    known = weights.digest_of(base)
    assert first.request["params"]["base"] == first.request["weights"]["base"] == known
    assert "weights" not in none.request
    assert none.identity != first.identity
    assert str(base) not in json.dumps(first.request)
    moved = base.rename(tmp_path / "elsewhere")
    assert plan(moved).identity == first.identity
    save_file({"weight": np.zeros(4, dtype=np.float32)}, moved / "model.safetensors")
    assert plan(moved).identity != first.identity
    paths = home.run("frozen")
    submission.freeze(paths, plan(moved))
    assert store.read_json(paths.inputs)[weights.digest_of(moved)] == str(moved)


def test_a_base_that_cannot_be_used_is_a_problem_of_the_plan(base: Path, home: HomePaths) -> None:
    (base / "config.json").unlink()
    client = forgia.Client(forgia.Settings(home=home))
    with pytest.raises(UserError) as caught:
        client.plan("document-assistant", test=True, sets=[f"params.base={base}"])
    assert any(problem.field == "params.base" and "config.json" in problem.message for problem in caught.value.problems)
