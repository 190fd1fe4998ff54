"""Rows that did not parse: kept in a file with line and reason, and too many of them refused."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from forgia import store
from forgia.dataset.parse import Reject
from forgia.errors import Problem, UserError

HOPELESS_ROWS = 20_000
"""Rejects after which an import in which they are the larger part stops at once."""
SHOWN = 10


class RejectsFile:
    """``rejects.csv``, written as rejects come."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.first: list[Reject] = []
        self._path = path

    def __enter__(self) -> RejectsFile:
        self._file = self._path.open("x", encoding="utf-8", newline="")
        self._path.chmod(store.file_mode(self._path.parent))
        self._csv = csv.writer(self._file)
        self._csv.writerow(["source", "line", "reason", "text"])
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, rejects: Sequence[Reject], *, rows: int) -> None:
        """Raises: UserError — hardly a row is right."""
        self.count += len(rejects)
        self.first += rejects[: SHOWN - len(self.first)]
        self._csv.writerows((item.source, item.line, item.reason, item.text) for item in rejects)
        if self.count > max(HOPELESS_ROWS, rows):
            raise self._refusal(rows)

    def judge(self, *, rows: int, max_share: float) -> None:
        """Raises: UserError — a larger share was rejected than allowed."""
        if self.count > max_share * (rows + self.count):
            raise self._refusal(rows)

    def _refusal(self, rows: int) -> UserError:
        share = self.count / (rows + self.count)
        problems = [Problem(item.source, item.line, "", item.reason) for item in self.first]
        more = f"; the first {len(problems)}:" if self.count > len(problems) else ":"
        return UserError(
            f"{self.count} of {rows + self.count} rows ({share:.1%}) do not parse, so nothing was imported{more}",
            problems=problems,
            hint="mend the file, correct a column with --mapping, or allow more with --max-rejects 0.05",
        )
