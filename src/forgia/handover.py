"""A training that goes on as another run: under another strategy, with other processes, or on another machine.

The request names the checkpoint by the digest that its manifest gives, the run's folder the place; the nodes must see
the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia import store
from forgia.errors import UserError
from forgia.paths import RunPaths
from forgia.run import Journal, State

KEY = "goes_on_from"
"""In a request: whose checkpoint its training begins with."""
FREE = (
    *("resources", "profile", "environment", KEY),
    *(f"train.{name}" for name in ("strategy", "deepspeed", "accumulate", "activation_checkpointing", "compile")),
    *(f"train.{name}" for name in ("checkpoint_every", "keep_checkpoints", "collective_timeout_s", "preflight")),
)
"""Fields of a request that may differ: how the training is done, and not what is learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The newest checkpoint of a run."""

    run_id: str
    place: Path
    digest: str
    """Of its manifest, which holds those of its files."""
    step: int

    def to_json(self) -> dict[str, Any]:
        """What the request says of it."""
        return {"run": self.run_id, "step": self.step, "digest": self.digest}


def given(paths: RunPaths) -> Given:
    """What a run has to give. Raises: UserError — it still goes on, or has no checkpoint."""
    run_id, state = paths.root.name, Journal(paths).status().state
    if not (state.is_final or state.is_success or state is State.CHECKPOINTED):
        raise UserError(f"run {run_id} is {state}: it may write another checkpoint", hint=f"forgia job cancel {run_id}")
    newest = max(paths.checkpoints.glob("step-*/manifest.json"), default=None, key=lambda path: path.parent.name)
    if newest is None:
        raise UserError(f"run {run_id} has no checkpoint to go on from", hint=f"forgia job show {run_id}")
    manifest = store.read_json(newest)
    try:
        return Given(run_id=run_id, place=newest.parent, digest=str(manifest["digest"]), step=int(manifest["step"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{newest}: not the manifest of a checkpoint: {error}", hint=f"forgia job retry {run_id}"
        ) from error


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Fields in which two requests learn something else."""
    for name in sorted({*before, *after}):
        path, one, other = f"{prefix}{name}", before.get(name), after.get(name)
        if path in FREE or one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from differences(one, other, f"{path}.")
        else:
            yield path
