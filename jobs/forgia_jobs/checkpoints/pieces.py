"""The state of a training in one form for all strategies: named tensors, each in one piece or in rows of several ranks.

Names are ``model/<parameter or buffer>``, ``optimizer/<parameter>/<quantity>`` and ``best/<parameter or buffer>``;
never a position, which another strategy would count otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one rank has of one tensor."""

    name: str
    tensor: Tensor
    """This rank's rows; the whole tensor where ``rows`` is None."""
    offset: int = 0
    """First row, along the first dimension."""
    rows: int | None = None
    """Rows of the whole tensor; None: the tensor is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One rank's part; the parts of all ranks cover every tensor exactly once."""

    pieces: tuple[Piece, ...]
    scalars: Mapping[str, Any]
    """What is no tensor, equal on every rank; JSON. ``groups``: the optimizer's groups, with the ``names`` of their
    parameters; ``state``: parameter → quantity → value."""


class StateReader(Protocol):
    """A checkpoint's tensors, read as they are wanted."""

    scalars: Mapping[str, Any]

    def names(self) -> Iterable[str]:
        """Every tensor's name."""
        ...

    def whole(self, name: str) -> Tensor:
        """One tensor, on the CPU."""
        ...

    def slice(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of one tensor, on the CPU; no other row is read."""
        ...
