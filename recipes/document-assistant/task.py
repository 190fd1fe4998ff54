"""The next token of the firm's documents, and of the answers to its questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from forgia.features import FeatureSpec
from forgia_jobs.judging import scores
from forgia_jobs.samples.tokens import Question
from forgia_jobs.text import language

from .network import network

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""


class DocumentAssistant:
    """Every token counts the same, in whichever block, on whichever process it lies."""

    spec: FeatureSpec
    params: Mapping[str, Any]

    def model(self, spec: FeatureSpec, params: Mapping[str, Any]) -> nn.Module:
        """The network, its random weights drawn from torch's generator."""
        self.spec, self.params = spec, params
        return network(spec, params)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Surprise a token: blocks differ in what is learnt of them, so they are divided by their mean, not their own.

        The sum over micro-batches and processes is then the very loss of the whole batch.
        """
        found = language.surprise(model, batch, apart=self.params["apart"])
        return (found * batch["weight"]).mean() / self.spec.target_mean

    def predict(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Surprise a block; the target is its count of tokens."""
        return language.surprise(model, batch, apart=self.params["apart"])

    def schedule(self, step: int, total_steps: int) -> float:
        """Up in a line, down along half a cosine to a tenth."""
        warm = max(1.0, WARM_UP * total_steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.1 + 0.45 * (1.0 + math.cos(math.pi * (step - warm) / max(total_steps - warm, 1.0)))

    def metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """What is watched during training, on the validation part."""
        return scores.watched(self.spec.output, predictions, targets)

    def answers(self, model: nn.Module, questions: Sequence[Question]) -> list[list[int]]:
        """What the network says to questions, token by token the likeliest."""
        prompts, room = [question.prompt for question in questions], [question.room for question in questions]
        return language.continued(model, prompts, room=room, end=self.spec.samples["end"])

    def write(self, folder: Path, model: nn.Module) -> None:
        """Weights that transformers, or peft on the same base, opens."""
        language.write(folder, model, merge=self.params["merge"])
