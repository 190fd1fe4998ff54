"""Reading a checkpoint, whatever the number of ranks and the strategy that wrote it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from forgia.errors import IntegrityError
from forgia_jobs.checkpoints import checkpoint_manifest, generators
from forgia_jobs.checkpoints.checkpoint_file import DTYPES
from forgia_jobs.checkpoints.checkpoint_manifest import Held

TYPES = {name: dtype for dtype, name in DTYPES.items()}


class Reader:
    """A ``StateReader`` over the files of a verified checkpoint, which are mapped and not read as a whole."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.manifest = checkpoint_manifest.read(place)
        self.scalars: Mapping[str, Any] = self.manifest.scalars
        self._open: dict[str, Any] = {}

    def names(self) -> Iterable[str]:
        """The tensors of the state."""
        return [name for name in self.manifest.tensors if not name.startswith(generators.PREFIX)]

    def whole(self, name: str) -> Tensor:
        """One tensor, in memory of its own."""
        facts = self.manifest.tensors[name]
        if facts.held[0].rows is None:
            with self._refusing(name):
                tensor: Tensor = self._mapped(facts.held[0].file).get_tensor(name)
                return tensor.clone()
        return self.slice(name, 0, facts.shape[0])

    def slice(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of one tensor, in memory of their own."""
        facts = self.manifest.tensors[name]
        start, stop, _ = slice(start, stop).indices(facts.shape[0])
        found = torch.empty((max(stop - start, 0), *facts.shape[1:]), dtype=TYPES[facts.dtype])
        for piece in facts.held:
            first, last = max(start, piece.offset), min(stop, piece.offset + self._rows(piece, facts.shape))
            if first < last:
                with self._refusing(name):
                    rows = self._mapped(piece.file).get_slice(name)[first - piece.offset : last - piece.offset]
                found[first - start : last - start] = rows
        return found

    def generators(self, rank: int) -> dict[str, Tensor]:
        """What one rank's generators were; empty where the checkpoint has no such rank."""
        prefix = generators.name_of(rank, "")
        return {
            name.removeprefix(prefix): self.whole(name) for name in self.manifest.tensors if name.startswith(prefix)
        }

    @staticmethod
    def _rows(piece: Held, shape: tuple[int, ...]) -> int:
        return shape[0] if piece.rows is None else piece.rows

    def _mapped(self, file: str) -> Any:
        if file not in self._open:
            self._open[file] = safe_open(self.place / Path(file).name, framework="pt", device="cpu")
        return self._open[file]

    @contextlib.contextmanager
    def _refusing(self, name: str) -> Iterator[None]:
        """Raises: IntegrityError — the file cannot be read, though its digest was right a moment ago."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            raise IntegrityError(f"{self.place}: {name}", expected="a tensor", found=str(error)) from error
