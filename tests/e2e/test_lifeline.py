"""A process that died is missed at once, also by ranks that are busy with something else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from forgia.logs import NOTICED, reasons
from forgia.paths import RunPaths

from .conftest import start_ranks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "codes", "told"),
    [
        ("killed", [1, 1, -9], [(0, NOTICED, "contact with rank 2 was lost; checkpoints are kept")]),
        ("failed", [1, 1, 1], [(2, "ValueError", "ValueError: one of its own")]),
        ("well", [0, 0, 0], []),
    ],
)
def test_ranks_that_hear_nothing_end_when_another_is_lost(
    tmp_path: Path, end: str, codes: list[int], told: list[tuple[int, str, str]]
) -> None:
    paths = RunPaths(tmp_path)
    began = time.monotonic()
    ranks = start_ranks(3, "lifeline_program.py", paths.root, end)
    said = [rank.communicate(timeout=50)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == codes, "\n".join(said)
    found = [(words["rank"], words["kind"], words["reason"]) for words in reasons(paths, 1)]
    assert [(rank, kind) for rank, kind, _ in found] == [(rank, kind) for rank, kind, _ in told]
    assert all(text.startswith(begin) for (_, _, text), (_, _, begin) in zip(found, told, strict=True))
    assert time.monotonic() - began < 45.0, "they slept to their end"
    assert ("it stands at" in said[0]) is (end != "well")
