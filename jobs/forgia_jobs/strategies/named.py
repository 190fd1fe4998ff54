"""An optimizer's state by the names of its parameters, where torch counts them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from forgia.errors import IntegrityError

OPTIMIZER = "optimizer/"
UNSAID = ("params", "param_names")
"""What torch keeps in a group to tell its parameters; here their names do."""


def parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
    """The parameters' names, group by group, in the optimizer's order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]


def scalars_of(
    groups: Iterable[Mapping[str, Any]], names: list[list[str]], state: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What of an optimizer is no tensor, as ``State.scalars`` wants it."""
    said = [
        {"names": of_group} | {key: _plain(value) for key, value in group.items() if key not in UNSAID}
        for group, of_group in zip(groups, names, strict=True)
    ]
    rest = {
        name: {key: value for key, value in found.items() if not isinstance(value, Tensor)}
        for name, found in state.items()
    }
    return {"groups": said, "state": {name: found for name, found in rest.items() if found}}


def whole_quantities(state: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Quantities without a row for each row of their parameter, such as a count of steps: no rank holds a part."""
    found = {
        quantity
        for name, of_parameter in state.items()
        for quantity, value in of_parameter.items()
        if isinstance(value, Tensor) and tuple(value.shape[:1]) != tuple(shapes[name][:1])
    }
    return sorted(found)


def tensor_name(parameter: str, quantity: str) -> str:
    """What a tensor of an optimizer is called in a state."""
    return f"{OPTIMIZER}{parameter}/{quantity}"


def tensors_of(state: Mapping[str, Mapping[str, Any]]) -> dict[str, Tensor]:
    """The tensors of an optimizer by those names."""
    return {
        tensor_name(name, quantity): value
        for name, found in state.items()
        for quantity, value in found.items()
        if isinstance(value, Tensor)
    }


def state_by_name(optimizer: torch.optim.Optimizer, names: list[list[str]]) -> dict[str, dict[str, Any]]:
    """Parameter → quantity → value; parameters that have not been trained yet are missing."""
    groups = zip(names, optimizer.param_groups, strict=True)
    pairs = [pair for of_group, group in groups for pair in zip(of_group, group["params"], strict=True)]
    return {name: dict(optimizer.state[parameter]) for name, parameter in pairs if parameter in optimizer.state}


def quantities(stored: Iterable[str]) -> dict[str, list[str]]:
    """Parameter → quantities that are stored as tensors."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in stored:
        if name.startswith(OPTIMIZER):
            parameter, _, quantity = name.removeprefix(OPTIMIZER).rpartition("/")
            found[parameter].append(quantity)
    return found


def check_groups(scalars: Mapping[str, Any], names: list[list[str]]) -> None:
    """Raises: IntegrityError — the state is of an optimizer with other parameters."""
    if [group["names"] for group in scalars["groups"]] != names:
        raise IntegrityError("optimizer state", expected="the parameters of this network", found="others")


def set_groups(optimizer: torch.optim.Optimizer, scalars: Mapping[str, Any]) -> None:
    """Give each group its settings, in the types that it has."""
    for group, said in zip(optimizer.param_groups, scalars["groups"], strict=True):
        for key, value in said.items():
            if key in group:
                group[key] = tuple(value) if isinstance(group[key], tuple) else value


def load(
    optimizer: torch.optim.Optimizer,
    names: list[list[str]],
    scalars: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Put a state back through torch's own ``load_state_dict``, which moves each tensor to where its kind belongs.

    Raises: IntegrityError — as ``check_groups``.
    """
    check_groups(scalars, names)
    set_groups(optimizer, scalars)
    kept = optimizer.state_dict()
    order = [name for of_group in names for name in of_group]
    state = {name: {**scalars["state"].get(name, {}), **tensors.get(name, {})} for name in order}
    kept["state"] = {index: state[name] for index, name in enumerate(order) if state[name]}
    optimizer.load_state_dict(kept)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value
