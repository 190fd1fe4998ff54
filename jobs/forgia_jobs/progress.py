"""metrics.jsonl: what the run says while it trains, one JSON line each, without a doubled step after a resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from forgia import store


class Progress:
    """The writer of metrics.jsonl; silent on all ranks but the leader."""

    def __init__(self, path: Path, *, is_writer: bool) -> None:
        self._path = path
        self._descriptor: int | None = None
        if is_writer:
            self._descriptor = store.create(path, os.O_APPEND)

    def write(self, kind: str, **fields: Any) -> None:
        """Append a line; a reader sees it at once, a power cut may lose it (a checkpoint knows how far it counts)."""
        if self._descriptor is not None:
            line = json.dumps({"kind": kind, **fields}, separators=(",", ":"))
            os.write(self._descriptor, line.encode() + b"\n")

    def take_over(self, before: Path, *, position: int) -> None:
        """Begin with what another run has said, as far as it counts; with nothing where that run's file is gone."""
        self.rewind(0)
        if self._descriptor is not None and before.is_file():
            with before.open("rb") as file:
                os.write(self._descriptor, file.read(position))

    def position(self) -> int:
        """Bytes so far; 0 where nothing is written."""
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def keep(self) -> None:
        """See to it that a power cut does not take what is written."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def rewind(self, position: int) -> None:
        """Forget what came after this many bytes: the steps that are about to be done again."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, min(position, os.fstat(self._descriptor).st_size))

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
