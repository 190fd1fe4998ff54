"""Training with differential privacy: gradients of single samples, clipped, added up, and hidden in noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forgia.errors import UserError
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Privacy, Train
from forgia_jobs.strategies import Share
from forgia_jobs.strategies.private import PrivateDataParallel, epsilon

ALONE = World(rank=0, size=1, device=torch.device("cpu"))
ROWS = 24


class Task:
    """Squared errors."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return ((model(batch["numeric"]).squeeze(1) - batch["target"]) ** 2 * batch["weight"]).mean()


def batch(rows: int = ROWS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    numeric = torch.randn(rows, 4, generator=generator)
    return {"numeric": numeric, "target": numeric.sum(1), "weight": torch.ones(rows)}


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def one_step(
    model: nn.Module, privacy: Privacy, cut: Callable[[dict[str, Tensor]], list[Share]] | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a step with learning rate 1, and how far it moved the weights."""
    strategy = PrivateDataParallel(ALONE)
    strategy.setup(Train(privacy=privacy, batch_size=ROWS, gradient_clip=None))
    strategy.wrap(model, lambda network: torch.optim.SGD(network.parameters(), lr=1.0))
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    shares = cut(batch()) if cut else [Share(batch(), ROWS)]
    loss = strategy.step(Task(), shares, global_rows=sum(share.rows for share in shares))  # type: ignore[arg-type]
    return loss, before - nn.utils.parameters_to_vector(model.parameters()).detach()


def in_three(whole: dict[str, Tensor]) -> list[Share]:
    parts = [{name: tensor[start : start + 8] for name, tensor in whole.items()} for start in (0, 8, 16)]
    return [Share(part, 8) for part in parts]


@pytest.mark.parametrize("cut", [None, in_three])
def test_without_noise_and_with_a_wide_clip_it_is_the_gradient_of_the_mean(cut: Any) -> None:
    model = network()
    expected = torch.autograd.grad(Task().loss(model, batch()), list(model.parameters()))
    loss, moved = one_step(model, Privacy(kind="dp", noise=1e-12, clip=1e4), cut)
    assert torch.allclose(moved, torch.cat([gradient.flatten() for gradient in expected]), atol=1e-6)
    assert torch.allclose(loss, Task().loss(network(), batch()))


def test_no_sample_moves_the_weights_by_more_than_the_clip() -> None:
    clip = 0.01
    _, all_of_them = one_step(network(), Privacy(kind="dp", noise=1e-9, clip=clip))
    _, but_one = one_step(
        network(),
        Privacy(kind="dp", noise=1e-9, clip=clip),
        lambda whole: [Share({name: tensor[1:] for name, tensor in whole.items()}, ROWS - 1)],
    )
    assert float((all_of_them - but_one).norm()) <= clip / ROWS * 1.001


def test_the_noise_is_as_large_as_asked_for_and_never_the_same() -> None:
    asked = Privacy(kind="dp", noise=2.0, clip=3.0)
    steps = [one_step(nn.Sequential(nn.Linear(4, 500), nn.Linear(500, 1)), asked, nobody)[1] for _ in range(2)]
    assert float(steps[0].std()) == pytest.approx(2.0 * 3.0 / ROWS, rel=0.1)
    assert not torch.equal(steps[0], steps[1])


def nobody(whole: dict[str, Tensor]) -> list[Share]:
    return [Share({name: tensor[:1] for name, tensor in whole.items()}, 0)]


def test_a_network_that_mixes_samples_is_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    with pytest.raises(UserError, match="batch normalisation"):
        one_step(model, Privacy(kind="dp", noise=1.0))


class Peeking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, numeric: Tensor) -> Tensor:
        found: Tensor = self.layer(numeric)
        return found * 2 if float(numeric.sum()) > 0 else found


def test_a_network_whose_samples_torch_cannot_tell_apart_is_refused() -> None:
    with pytest.raises(UserError, match="cannot tell the samples of this network apart"):
        one_step(Peeking(), Privacy(kind="dp", noise=1.0))


def test_epsilon_grows_with_steps_and_shrinks_with_noise() -> None:
    low = epsilon(Privacy(kind="dp", noise=1.0), sample_rate=0.01, steps=1000)
    assert low == pytest.approx(2.1, abs=0.1)  # Opacus 1.6.0
    assert epsilon(Privacy(kind="dp", noise=1.0), sample_rate=0.01, steps=4000) > low
    assert epsilon(Privacy(kind="dp", noise=2.0), sample_rate=0.01, steps=1000) < low
