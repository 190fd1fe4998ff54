"""Weights of an earlier training as the beginning of this one, such as those of a release of the same recipe."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from forgia import weights
from forgia.errors import Problem, UserError

HEAD = "head."
"""The last layer belongs to the classes; where there are others, it begins anew."""
SHOWN = 8


def begin_with(network: nn.Module, place: str) -> None:
    """Read every tensor that the network has, but the head of other classes.

    Raises: UserError — tensors that are missing, strange or of another shape; all of them are listed.
    """
    found: dict[str, Tensor] = {}
    for path in weights.files(Path(place)):
        found |= load_file(path) if path.suffix == weights.SUFFIX else {}
    own = network.state_dict()
    heads = [name for name in own if name.startswith(HEAD)]
    if any(name not in found or found[name].shape != own[name].shape for name in heads):
        found = {name: tensor for name, tensor in found.items() if not name.startswith(HEAD)} | {
            name: own[name] for name in heads
        }
    if wrong := list(misfits(own, found)):
        problems = [Problem(place, None, name, text) for name, text in wrong[:SHOWN]]
        raise UserError(
            f"the weights do not fit this network: {len(wrong)} of {len(own)} tensors differ",
            problems=problems,
            hint="give params.network, width, depth and patch the values that these weights were trained with",
        )
    network.load_state_dict(found)


def misfits(own: dict[str, Tensor], found: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Name and trouble of every tensor that does not fit."""
    missing = [(name, f"is missing; the network has {tuple(own[name].shape)}") for name in own if name not in found]
    strange = [(name, "is no tensor of the network") for name in found if name not in own]
    shapes = [
        (name, f"is {tuple(found[name].shape)}; the network has {tuple(own[name].shape)}")
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    return [*missing, *shapes, *strange]
