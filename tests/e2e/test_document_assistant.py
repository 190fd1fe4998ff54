"""The document assistant on a base from a folder: adapters trained, interrupted, resumed, released, and put to use."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import forgia
from forgia import collection, submission
from forgia.errors import UserError
from forgia.paths import HomePaths, RunPaths
from forgia.registry.contents import contents
from forgia.run import Journal, State
from forgia.store import read_lines

SMALL = (
    "train.max_steps=10", "train.checkpoint_every=4", "train.epochs=1", "train.learning_rate=0.02", "rank=2",
    "dropout=0.1", "evaluate.baseline=untrained", "evaluate.gate=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> forgia.Client:
    return forgia.Client(forgia.Settings(home=HomePaths(tmp_path_factory.mktemp("assistant") / "home")))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a tokenizer of its own, as somebody else would have left it."""
    from forgia.features import FeatureSpec
    from forgia_jobs.text import language, tokenizing

    folder = tmp_path_factory.mktemp("base")
    tokenizer = tokenizing.learn(["tighten the nut, drain the air dryer"] * 4, vocabulary=300)
    samples = {"kind": "tokens", "context": 256, "vocabulary": tokenizer.vocabulary, "begin": 0, "end": 0}
    spec = FeatureSpec(numeric=(), categorical=(), target="text", output="tokens", samples=samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what transformers imports
        language.write(folder, language.small(spec, language.Shape(width=32, layers=1, heads=2)), merge=False)
    tokenizer.save(folder)
    return folder


@pytest.fixture
def new_run(client: forgia.Client, base: Path) -> Callable[..., RunPaths]:
    def make(name: str, *sets: str) -> RunPaths:
        paths = client.home.run(name)
        plan = client.plan("document-assistant", test=True, sets=[f"base={json.dumps(str(base))}", *SMALL, *sets])
        submission.freeze(paths, plan)
        return paths

    return make


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process's worth of training, here."""
    for name in [name for name in os.environ if name.startswith(("SLURM", "SUBMITIT", "MASTER"))]:
        monkeypatch.delenv(name)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)


def train_here(paths: RunPaths) -> int:
    from forgia_jobs.attempt import main

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    try:
        return main(str(paths.root))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def lines(paths: RunPaths, kind: str) -> list[dict[str, Any]]:
    return [line for line in read_lines(paths.metrics) if line["kind"] == kind]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """As a cluster does before the time is up: asked when a step has been reported."""
    from forgia_jobs.progress import Progress

    write = Progress.write

    def writing(own: Progress, kind: str, **fields: Any) -> None:
        write(own, kind, **fields)
        if kind == "step" and fields["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Progress, "write", writing)


def test_adapters_are_trained_resumed_released_and_used(
    new_run: Callable[..., RunPaths],
    client: forgia.Client,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = new_run("whole"), new_run("broken")
    assert train_here(whole) == 0
    with monkeypatch.context() as patched:
        stop_at(patched, 6)
        train_here(broken)
    assert Journal(broken).status().state is State.CHECKPOINTED
    assert train_here(broken) == 0
    assert lines(broken, "step") == lines(whole, "step")
    (judged,), (again,) = lines(whole, "evaluation"), lines(broken, "evaluation")
    assert again["tensors_digest"] == judged["tensors_digest"]
    assert judged["model"]["test"]["perplexity"] < judged["baseline"]["test"]["perplexity"]
    stored = sum(path.stat().st_size for path in whole.checkpoints.rglob("*.safetensors"))
    assert stored < (base / "model.safetensors").stat().st_size, "the base is in no checkpoint"

    collected = collection.collect(client.home, client.settings.organisation, "whole")
    model = client.open_model(f"document-assistant@{collected.version}")
    with pytest.raises(UserError, match="is a language model"):
        model.threshold()
    folder = tmp_path / "release"
    release(client, collected.version, folder)
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "model.safetensors").exists()
    known = json.loads(whole.request.read_text())["weights"]["base"]
    assert known in (folder / "README.md").read_text()
    assert known.removeprefix("sha256:") in (folder / "provenance.json").read_text()
    assert str(base) not in "".join(path.read_text() for path in folder.glob("*.json"))
    use_as_told(folder, base)


def release(client: forgia.Client, version: str, folder: Path) -> None:
    from forgia.registry.models import find_model

    found = find_model(client.home, client.settings.organisation, f"document-assistant@{version}")
    inside = contents(found.layout, found.digest)
    folder.mkdir()
    for file in inside.files("model"):
        place = folder / file.title
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(inside.read(file.title))
    (folder / "provenance.json").write_bytes(inside.read("provenance.json"))


def use_as_told(folder: Path, base: Path) -> None:
    """The very code of the card."""
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    code = found[1].replace("RELEASE", str(folder)).replace("BASE", str(base))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        exec(compile(code, "card", "exec"), {})


def train_two(paths: RunPaths) -> list[int]:
    """Two processes of one run, to their end."""
    argv = [sys.executable, "-m", "forgia_jobs", str(paths.root)]
    ranks = [
        subprocess.Popen(argv, env={**os.environ, "RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    return [rank.wait(timeout=240) for rank in ranks]


@pytest.mark.slow
def test_sharded_over_two_processes_the_adapters_become_the_same(new_run: Callable[..., RunPaths]) -> None:
    few = ("train.max_steps=3", "train.checkpoint_every=2", "dropout=0.0", "evaluate.metrics=[perplexity]")
    alone = new_run("alone", *few)
    sharded = new_run("sharded", *few, "train.strategy=fsdp", "resources.tasks_per_node=2")
    assert train_here(alone) == 0
    assert train_two(sharded) == [0, 0]
    losses = [[line["loss"] for line in lines(paths, "step")] for paths in (alone, sharded)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    (one,), (other,) = lines(alone, "evaluation"), lines(sharded, "evaluation")
    assert one["model"]["test"]["perplexity"] == pytest.approx(other["model"]["test"]["perplexity"], rel=1e-5)


def test_a_base_that_was_altered_or_is_gone_ends_the_run_before_it_trains(
    new_run: Callable[..., RunPaths], base: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(base, kept)
    altered = new_run("altered", f"base={json.dumps(str(kept))}")
    with (kept / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x77")
    assert train_here(altered) == 1
    assert "weights" in Journal(altered).status().reason
    shutil.rmtree(kept)
    assert train_here(altered) == 1
    assert "nothing that this node sees" in Journal(altered).status().reason
    assert not lines(altered, "step") if altered.metrics.exists() else True
