"""Data parallel with differential privacy: every sample's gradient is clipped, and noise hides what is left of it.

Gradients of single samples come from torch's ``vmap``, so that any network of batched operations can be trained; what
is done with them, and the account of what it costs, are Opacus's.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import torch
from opacus.accountants import RDPAccountant
from opacus.optimizers import DistributedDPOptimizer, DPOptimizer
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from forgia.errors import UserError
from forgia_jobs.request import Privacy
from forgia_jobs.strategies import MakeOptimizer, Share
from forgia_jobs.strategies.ddp import DataParallel
from forgia_jobs.task import TrainingTask


class PrivateDataParallel(DataParallel):
    """Every rank clips the gradients of its own samples; the first one adds the noise; the sum is everyone's."""

    def wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Raises: UserError — the network mixes the samples of a batch."""
        if mixing := [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]:
            text = f"train.privacy: batch normalisation ({', '.join(mixing[:3])}) mixes the samples of a batch"
            raise UserError(f"{text}, so that none has a gradient of its own", hint="use group or layer normalisation")
        super().wrap(model, make_optimizer)
        asked = self._privacy
        kind = DistributedDPOptimizer if self.world.size > 1 else DPOptimizer
        self._noisy = kind(
            self.optimizer,
            noise_multiplier=asked.noise,
            max_grad_norm=asked.clip,
            expected_batch_size=self.train.batch_size / self.world.size,  # of a rank: Opacus takes the mean of all
            generator=_secret_generator(self.world.device),
        )

    def step(self, task: TrainingTask, shares: Sequence[Share], *, global_rows: int) -> Tensor:
        """As ``DataParallel``; a step that drew no sample at all is a step of noise."""
        total = torch.zeros((), device=self.world.device)
        for index, share in enumerate(shares):
            gradients, losses = self._of_samples(task, share)
            for name, parameter in self.model.named_parameters():
                parameter.grad_sample = gradients.get(name)  # type: ignore[attr-defined]  # where Opacus looks for it
            total += losses.sum() / max(global_rows, 1)
            self._noisy.signal_skip_step(do_skip=index < len(shares) - 1)
            self._noisy.step()
            self._noisy.zero_grad(set_to_none=True)
        return total

    def _spread(self, model: nn.Module) -> nn.Module:
        """Opacus adds up over the ranks."""
        return model

    @property
    def _privacy(self) -> Privacy:
        if self.train.privacy is None:
            raise AssertionError("this strategy is chosen where privacy is asked for")
        return self.train.privacy

    def _of_samples(self, task: TrainingTask, share: Share) -> tuple[dict[str, Tensor], Tensor]:
        """Gradients by parameter, and losses, of the rows that count; the first dimension counts them.

        Raises: UserError — torch cannot tell the samples of this network apart.
        """
        learnt = {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}
        fixed = {name: tensor for name, tensor in self.model.named_parameters() if not tensor.requires_grad}
        rest = {**fixed, **dict(self.model.named_buffers())}
        if not share.rows:
            return {name: tensor.new_zeros(0, *tensor.shape) for name, tensor in learnt.items()}, torch.zeros(0)
        bound = _Loss(task, self.model)

        def loss(parameters: Mapping[str, Tensor], sample: Mapping[str, Tensor]) -> Tensor:
            batch = {name: value.unsqueeze(0) for name, value in sample.items()}
            named = {f"model.{name}": value for name, value in {**rest, **parameters}.items()}
            found: Tensor = functional_call(bound, named, (batch,))
            return found

        try:
            of_all = vmap(grad_and_value(loss), in_dims=(None, 0), randomness="different")
            gradients, losses = of_all({name: tensor.detach() for name, tensor in learnt.items()}, dict(share.batch))
        except RuntimeError as error:
            raise UserError(
                f"train.privacy: torch cannot tell the samples of this network apart: {str(error).splitlines()[0]}",
                hint="train it without privacy, or build it of operations that torch.func.vmap knows",
            ) from error
        return gradients, losses.detach()


class _Loss(nn.Module):
    """A task's loss as a module, for whose parameters others can be put."""

    def __init__(self, task: TrainingTask, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.task.loss(self.model, batch)


def epsilon(privacy: Privacy, *, sample_rate: float, steps: int) -> float:
    """What ``steps`` steps on samples drawn with this probability have cost, by the account of Rényi divergence.

    Source: Mironov, Talwar, Zhang: Rényi Differential Privacy of the Sampled Gaussian Mechanism,
    https://arxiv.org/abs/1908.10530, as Opacus computes it.
    """
    account = RDPAccountant()
    account.history = [(privacy.noise, sample_rate, steps)]
    return float(account.get_epsilon(privacy.delta))


def _secret_generator(device: torch.device) -> torch.Generator:
    """Of a seed that nobody keeps: whoever knew it could take the noise off again."""
    return torch.Generator(device=device).manual_seed(secrets.randbits(63))
