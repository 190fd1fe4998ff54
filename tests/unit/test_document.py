"""Hand-written YAML, read with its lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from forgia import document
from forgia.errors import UserError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()
    several: list[Inner] = []


def written(tmp_path: Path, text: str) -> document.Document:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return document.load(path)


def test_plain_words_are_read_as_yaml_1_2_reads_them(tmp_path: Path) -> None:
    text = "no: no\nclock: 12:30:00\nsmall: 1e-3\nbig: 1_000\noctal: 010\nempty:\nyes: true\nday: 2026-01-01\n"
    found = written(tmp_path, text).value
    assert found == {
        "no": "no",
        "clock": "12:30:00",
        "small": 1e-3,
        "big": "1_000",
        "octal": 10,
        "empty": None,
        "yes": True,
        "day": "2026-01-01",
    }


def test_every_problem_has_its_line_its_field_and_the_nearest_name(tmp_path: Path) -> None:
    found = written(tmp_path, "nam: x\ninner:\n  widht: 2\nseveral:\n  - width: 1\n  - width: many\n")
    with pytest.raises(UserError) as caught:
        document.validate(found, Outer)
    lines = {(problem.line, problem.field): problem.message for problem in caught.value.problems}
    assert "did you mean name?" in lines[1, "nam"]
    assert lines[1, "name"] == "is required"
    assert "did you mean width?" in lines[3, "inner.widht"]
    assert "many" in lines[6, "several[1].width"]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "written twice"),
        ("a: [1\n", "expected"),
        ("- 1\n", "expected fields"),
        ("", "expected fields"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("a: \x00\n", "special characters"),
    ],
)
def test_what_is_not_a_mapping_of_plain_values_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        written(tmp_path, text)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="cannot be read"):
        document.load(path)
