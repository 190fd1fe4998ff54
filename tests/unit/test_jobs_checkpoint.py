from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgia.errors import IntegrityError
from forgia_jobs import batches, checkpoint, determinism
from forgia_jobs.checkpoint import Checkpoint
from forgia_jobs.progress import Progress

IDENTITY = "sha256:" + "0" * 64


def state(step: int) -> Checkpoint:
    torch.manual_seed(step)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return Checkpoint(
        step=step,
        cursor={"step": step},
        model=model.state_dict(),
        optimizer=optimizer.state_dict(),
        best=model.state_dict() if step % 2 else None,
        generators=checkpoint.generator_state(torch.device("cpu")),
    )


@pytest.mark.parametrize("step", [4, 5])
def test_what_is_loaded_is_what_was_saved(step: int, tmp_path: Path) -> None:
    saved = state(step)
    found = checkpoint.load(checkpoint.save(tmp_path, saved, identity=IDENTITY))
    assert determinism.tensor_digest(found.model) == determinism.tensor_digest(saved.model)
    assert (found.best is None) == (saved.best is None)
    optimizer = torch.optim.AdamW(torch.nn.Linear(3, 2).parameters(), lr=0.5)
    optimizer.load_state_dict(found.optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1
    for parameter, quantities in saved.optimizer["state"].items():
        for name, value in quantities.items():
            assert torch.equal(optimizer.state_dict()["state"][parameter][name], value)


def test_only_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, state(step), identity=IDENTITY)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["step-000000003", "step-000000010"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_one_is_set_aside_and_the_one_before_is_chosen(name: str, tmp_path: Path) -> None:
    first = checkpoint.save(tmp_path, state(1), identity=IDENTITY)
    newest = checkpoint.save(tmp_path, state(2), identity=IDENTITY)
    (newest / name).write_bytes((newest / name).read_bytes()[:-2])
    place, notes = checkpoint.choose(tmp_path, identity=IDENTITY, attempt=3)
    assert place == first
    assert len(notes) == 1
    assert "set aside as broken-step-000000002-attempt-3" in notes[0]


def test_a_checkpoint_of_another_request_is_not_used(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, state(1), identity=IDENTITY)
    place, notes = checkpoint.choose(tmp_path, identity="sha256:" + "1" * 64, attempt=1)
    assert place is None
    assert "another one" in notes[0]


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    place = checkpoint.save(tmp_path, state(1), identity=IDENTITY)
    (place / "generators.safetensors").unlink()
    with pytest.raises(IntegrityError):
        checkpoint.verify(place, identity=IDENTITY)


def test_every_rank_takes_its_own_generators_out_of_a_file(tmp_path: Path) -> None:
    states = []
    for rank in range(3):
        torch.manual_seed(rank)
        states.append(checkpoint.generator_state(torch.device("cpu"))["cpu"])
    saved = state(1)
    several = Checkpoint(**{**asdict(saved), "generators": {"cpu": torch.cat(states)}})
    found = checkpoint.load(checkpoint.save(tmp_path, several, identity=IDENTITY))
    for rank in range(3):
        torch.manual_seed(rank)
        drawn = torch.rand(4)
        checkpoint.restore_generators(found.generators, rank=rank, device=torch.device("cpu"))
        assert torch.equal(torch.rand(4), drawn)


def test_generators_go_on_where_they_were() -> None:
    torch.manual_seed(8)
    saved = checkpoint.generator_state(torch.device("cpu"))
    expected = torch.rand(3)
    torch.rand(100)
    checkpoint.restore_generators(saved, rank=0, device=torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_metrics_of_steps_to_be_done_again_are_forgotten(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "metrics.jsonl", is_writer=True)
    progress.write("step", step=1)
    position = progress.position()
    progress.write("step", step=2)
    progress.rewind(position)
    progress.write("step", step=2)
    progress.close()
    assert (tmp_path / "metrics.jsonl").read_text().count('"step":2') == 1


def test_a_silent_rank_writes_no_metrics(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "metrics.jsonl", is_writer=False)
    progress.write("step", step=1)
    assert progress.position() == 0
    progress.close()
    assert not (tmp_path / "metrics.jsonl").exists()


@given(count=st.integers(0, 500), world_size=st.integers(1, 17))
def test_shares_of_a_batch_are_the_batch_in_order(count: int, world_size: int) -> None:
    rows = list(range(count))
    shares = [rows[batches.slice_of_rank(count, rank=rank, world_size=world_size)] for rank in range(world_size)]
    assert [row for share in shares for row in share] == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    order = batches.epoch_order(100, seed=1, epoch=2)
    torch.rand(5)
    assert torch.equal(order, batches.epoch_order(100, seed=1, epoch=2))
    assert sorted(order.tolist()) == list(range(100))
    assert not torch.equal(order, batches.epoch_order(100, seed=1, epoch=3))
    assert not torch.equal(order, batches.epoch_order(100, seed=2, epoch=2))


def test_a_tensor_digest_sees_names_types_shapes_and_values() -> None:
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    digest = determinism.tensor_digest(one)
    assert digest == determinism.tensor_digest(dict(reversed(one.items())))
    for other in (
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3, dtype=torch.int32)},
    ):
        assert determinism.tensor_digest(other) != digest
