"""Checkpoints: everything a run needs to go on at the very next row, as tensors and JSON, never as code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from forgia import digest, store
from forgia.errors import ForgiaError, IntegrityError, UserError
from forgia.paths import SLOWEST

KEPT = 2
"""The newest, and one to fall back on."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a training loop between two steps."""

    step: int
    cursor: dict[str, Any]
    """The loop's own numbers; JSON."""
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    """A torch optimizer's ``state_dict``."""
    best: dict[str, Tensor] | None
    """Weights with the best validation figure so far."""
    generators: dict[str, Tensor]
    """State of the random generators, a row a rank."""


def save(folder: Path, checkpoint: Checkpoint, *, identity: str) -> Path:
    """Write a checkpoint beside, then give it its name; older ones but the last two go."""
    final = folder / f"step-{checkpoint.step:09d}"
    if final.exists():
        return final
    scalars, tensors = flatten(checkpoint.optimizer)
    with store.building(final) as place:
        save_file(_owned(checkpoint.model), place / "model.safetensors")
        save_file(_owned(tensors), place / "optimizer.safetensors")
        save_file(_owned(checkpoint.generators), place / "generators.safetensors")
        if checkpoint.best is not None:
            save_file(_owned(checkpoint.best), place / "best.safetensors")
        store.write_json(place / "state.json", {"cursor": checkpoint.cursor, "optimizer": scalars})
        files = {path.name: digest.of_file(path) for path in sorted(place.iterdir())}
        manifest = {"schema_version": 1, "request": identity, "step": checkpoint.step, "files": files}
        store.write_json(place / MANIFEST, manifest)
    for old in list(newest_first(folder))[KEPT:]:
        shutil.rmtree(old)
    return final


def slowest_s(folder: Path) -> float:
    """What the slowest checkpoint took, in any attempt; 0 where none was measured."""
    try:
        return float(store.read_json(folder / SLOWEST)["seconds"])
    except (FileNotFoundError, KeyError, TypeError, ValueError, UserError):
        return 0.0


def remember_slowest(folder: Path, seconds: float) -> None:
    """For attempts to come, and for whoever decides how early they are warned."""
    store.write_json(folder / SLOWEST, {"seconds": round(seconds, 3)})


def newest_step(folder: Path) -> int:
    """Step of the newest checkpoint; 0 where there is none."""
    newest = next(newest_first(folder), None)
    return int(newest.name.removeprefix("step-")) if newest else 0


def newest_first(folder: Path) -> Iterator[Path]:
    """The published checkpoints of a run."""
    return iter(sorted(folder.glob("step-*"), reverse=True)) if folder.is_dir() else iter(())


def choose(folder: Path, *, identity: str, attempt: int) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each broken one, which is set aside under another name."""
    notes = []
    for place in newest_first(folder):
        try:
            verify(place, identity=identity)
        except ForgiaError as error:
            aside = folder / f"broken-{place.name}-attempt-{attempt}"
            place.rename(aside)
            notes.append(f"checkpoint {place.name} is set aside as {aside.name}: {error.message}")
            continue
        return place, notes
    return None, notes


def verify(place: Path, *, identity: str) -> None:
    """Raises: IntegrityError — a file differs, or it is of another request. UserError — its manifest is not JSON."""
    path = place / MANIFEST
    if not path.is_file():
        raise IntegrityError(str(place), expected=f"a {MANIFEST}", found="nothing")
    manifest = store.read_json(path)
    if not isinstance(manifest, dict) or manifest.get("request") != identity:
        raise IntegrityError(str(path), expected=f"a checkpoint of request {identity}", found="another one")
    for name, expected in manifest["files"].items():
        digest.verify_file(place / Path(name).name, expected)


def load(place: Path) -> Checkpoint:
    """Read a verified checkpoint. Raises: IntegrityError — it cannot be read all the same."""
    try:
        state = json.loads((place / "state.json").read_bytes())
        best = place / "best.safetensors"
        return Checkpoint(
            step=int(state["cursor"]["step"]),
            cursor=state["cursor"],
            model=load_file(place / "model.safetensors"),
            optimizer=unflatten(state["optimizer"], load_file(place / "optimizer.safetensors")),
            best=load_file(best) if best.is_file() else None,
            generators=load_file(place / "generators.safetensors"),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise IntegrityError(str(place), expected="a checkpoint", found=str(error)) from error


def flatten(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An optimizer's state as JSON and as tensors named ``<parameter>.<quantity>``."""
    scalars: dict[str, Any] = {"param_groups": state["param_groups"], "state": {}}
    tensors: dict[str, Tensor] = {}
    for parameter, quantities in state["state"].items():
        for name, value in quantities.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{name}"] = value
            else:
                scalars["state"].setdefault(str(parameter), {})[name] = value
    return scalars, tensors


def unflatten(scalars: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The inverse of ``flatten``; tuples come back as lists, which torch takes as well."""
    state: dict[int, dict[str, Any]] = {int(key): dict(value) for key, value in scalars["state"].items()}
    for key, tensor in tensors.items():
        parameter, _, name = key.partition(".")
        state.setdefault(int(parameter), {})[name] = tensor
    return {"state": state, "param_groups": scalars["param_groups"]}


def generator_state(device: torch.device) -> dict[str, Tensor]:
    """This rank's torch generators, each as one row. A task that draws from others is not resumed exactly."""
    found = {"cpu": torch.get_rng_state().unsqueeze(0)}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device).unsqueeze(0)
    return found


def restore_generators(states: Mapping[str, Tensor], *, rank: int, device: torch.device) -> None:
    """Put this rank's generators where they were.

    A row is copied out first: torch 2.13 dies of a state that is not at the beginning of its storage.
    """
    torch.set_rng_state(states["cpu"][rank].clone())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][rank].clone(), device)


def _owned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each in memory of its own, as safetensors wants it."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
