"""Documents and JSON lines as datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgia.dataset.dataset import Dataset
from forgia.paths import HomePaths


@pytest.fixture
def manuals(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    (folder / "presses").mkdir(parents=True)
    (folder / "lathe.md").write_text("# Lathe\n\nTighten; then, check.\n")
    (folder / "presses" / "big.md").write_text("Pressa: perché è ferma?\n", encoding="cp1252")
    return folder


def rows(home: HomePaths, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Dataset.open(home, name).to_table().to_pylist()
    return found


def test_a_folder_of_markdown_is_a_row_a_file(
    manuals: Path, home: HomePaths, forgia_command: Callable[..., Any]
) -> None:
    assert forgia_command("dataset", "add", "manuals", manuals).exit_code == 0
    assert rows(home, "manuals") == [
        {"document_id": "lathe.md", "text": "# Lathe\n\nTighten; then, check."},
        {"document_id": "presses/big.md", "text": "Pressa: perché è ferma?"},
    ]
    sources = Dataset.open(home, "manuals").manifest.sources
    assert [source.name for source in sources] == ["lathe.md", "presses/big.md"]
    again = forgia_command("dataset", "add", "manuals", manuals)
    assert "manuals@1" in again.output
    (manuals / "presses" / "big.md").write_text("Pressa: ferma.\n")
    assert "manuals@2" in forgia_command("dataset", "add", "manuals", manuals).output


def test_plain_text_is_documents_when_it_is_said_so(
    manuals: Path, home: HomePaths, forgia_command: Callable[..., Any]
) -> None:
    (manuals / "note.txt").write_text("a note, with commas, in one line\n")
    assert forgia_command("dataset", "add", "notes", manuals, "--format", "documents").exit_code == 0
    assert [row["document_id"] for row in rows(home, "notes")] == ["lathe.md", "note.txt", "presses/big.md"]
    table = manuals / "presses" / "log.txt"
    table.write_text("Torque [Nm]\tTool wear [min]\n40.1\t3\n41.0\t4\n")
    (manuals / "note.txt").unlink()
    assert forgia_command("dataset", "add", "log", manuals).exit_code == 0
    assert set(rows(home, "log")[0]) == {"torque", "tool_wear"}


@pytest.mark.parametrize(("content", "why"), [(b" \n", "empty"), (b"\x00\x01\x02", "no text file")])
def test_a_document_without_text_is_refused_by_name(
    manuals: Path, forgia_command: Callable[..., Any], content: bytes, why: str
) -> None:
    (manuals / "odd.md").write_bytes(content)
    found = forgia_command("dataset", "add", "manuals", manuals)
    assert found.exit_code == 2
    assert "odd.md" in found.stderr
    assert why in found.stderr


def test_json_lines_are_a_table(tmp_path: Path, home: HomePaths, forgia_command: Callable[..., Any]) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text(
        '{"Documento": "t1", "Domanda": "Come, dove?", "Risposta": "Qui\\nora"}\n{"Documento": "t2", "Testo": "x y"}\n'
    )
    assert forgia_command("dataset", "add", "asked", path).exit_code == 0
    assert rows(home, "asked") == [
        {"document_id": "t1", "question": "Come, dove?", "answer": "Qui\nora", "text": None},
        {"document_id": "t2", "question": None, "answer": None, "text": "x y"},
    ]


@pytest.mark.parametrize(("text", "why"), [('{"a": {"b": 1}}\n', "nested"), ("{not json\n", "not JSON lines")])
def test_json_lines_that_are_no_table_are_refused(
    tmp_path: Path, forgia_command: Callable[..., Any], text: str, why: str
) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text(text)
    found = forgia_command("dataset", "add", "odd", path)
    assert found.exit_code == 2
    assert why in found.stderr
