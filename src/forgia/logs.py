"""Logs of a run: every rank and attempt, read on from the byte where the last look ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forgia.paths import RunPaths

NOTICED = "noticed"
"""Kind of the failure of a rank that only saw another one go."""


class LogReader:
    """Remembers how far each file was read, so that following a long log reads each byte once."""

    def __init__(self, paths: RunPaths, *, rank: int | None = None, attempt: int | None = None) -> None:
        self.paths = paths
        self.pattern = f"rank-{'*' if rank is None else rank}.*"
        self.attempt = attempt
        self.offsets: dict[Path, int] = {}

    def new_lines(self) -> Iterator[str]:
        """The whole lines written since the last look, each behind its attempt, rank and stream."""
        for path in self.files():
            with path.open("rb") as file:
                file.seek(self.offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self.offsets[path] = self.offsets.get(path, 0) + len(whole)
            yield from self.labelled(path, whole)

    def rest(self) -> Iterator[str]:
        """What is left, with a last line that nobody ended."""
        yield from self.new_lines()
        for path in self.files():
            with path.open("rb") as file:
                file.seek(self.offsets.get(path, 0))
                yield from self.labelled(path, file.read())

    def files(self) -> list[Path]:
        """The files that exist by now, attempts and ranks in their order."""
        folders = (
            [self.paths.attempt(self.attempt)]
            if self.attempt
            else sorted(
                (place for place in self.paths.attempts.glob("*") if place.name.isdigit()),
                key=lambda place: int(place.name),
            )
        )
        return [path for folder in folders for path in sorted(folder.glob(self.pattern), key=rank_of)]

    def labelled(self, path: Path, data: bytes) -> Iterator[str]:
        """Lines with their label; bytes that are not UTF-8 are shown as such."""
        stream = "" if path.suffix == ".out" else " err"
        label = f"[{path.parent.name}.{rank_of(path)[0]}{stream}]"
        for line in data.decode(errors="replace").splitlines():
            yield f"{label} {line}"


def rank_of(path: Path) -> tuple[int, str]:
    """The rank in a log's name, then the stream: what logs are ordered by."""
    digits = path.stem.removeprefix("rank-")
    return (int(digits) if digits.isdigit() else -1, path.suffix)


def reasons(paths: RunPaths, attempt: int) -> list[dict[str, Any]]:
    """Why ranks of an attempt ended badly, who failed first before who came later, and those who only noticed last.

    Each has ``t``, ``rank``, ``host``, ``kind`` and ``reason``; all but the last two may be empty.
    """
    found = [read_reason(path) for path in paths.reasons(attempt) if path.is_file()]
    return sorted(found, key=lambda words: (words["kind"] == NOTICED, str(words["t"])))


def read_reason(path: Path) -> dict[str, Any]:
    """One rank's words; a file of bare text is a reason without time or place."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        words = json.loads(text)
    except ValueError:
        words = {"reason": " ".join(text.split())}
    known = words if isinstance(words, dict) else {"reason": text}
    return {"t": "", "host": "", "kind": "", "reason": "", **known, "rank": rank_of(path)[0]}
