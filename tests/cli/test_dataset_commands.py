"""``forgia dataset`` and ``forgia vocabulary``, as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forgia.dataset.binding import Question
from forgia.dataset.kinds import Look
from forgia.dataset.mapping import Entry
from forgia.vocabulary import Vocabulary
from forgia_cli.app import App
from forgia_cli.dataset.view import ask_for

EXPORT = "UDI,Torque [Nm],Machine failure\n" + "".join(f"{n},{n % 7}.5,{n % 2}\n" for n in range(200))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.csv"
    path.write_text(EXPORT)
    return path


def test_add_list_show_and_verify_tell_the_same_story(forgia_command, export: Path) -> None:
    added = forgia_command("dataset", "add", "mill-7", export)
    assert (added.exit_code, added.stdout) == (0, "mill-7@1\n")
    assert "200 rows, 3 columns, 0 rows rejected" in added.stderr
    listed = json.loads(forgia_command("dataset", "list", "--json").stdout)
    assert [item["ref"] for item in listed["datasets"]] == ["mill-7@1"]
    shown = forgia_command("dataset", "show", "mill-7")
    assert "torque" in shown.stdout
    assert "N.m" in shown.stdout
    details = json.loads(forgia_command("dataset", "show", "mill-7@1", "--json").stdout)
    assert [column["concept"] for column in details["columns"]] == ["sequence_number", "torque", "machine_failure"]
    verified = forgia_command("dataset", "verify", "mill-7")
    assert verified.stdout.strip() == details["digest"] == listed["datasets"][0]["digest"]


def test_adding_again_says_that_nothing_was_added(forgia_command, export: Path) -> None:
    forgia_command("dataset", "add", "mill-7", export)
    again = forgia_command("dataset", "add", "mill-7", export)
    assert (again.exit_code, again.stdout) == (0, "mill-7@1\n")
    assert "nothing was added" in again.stderr


def test_an_unknown_column_is_refused_with_a_mapping_to_paste(forgia_command, tmp_path: Path) -> None:
    path, mapping = tmp_path / "export.csv", tmp_path / "mapping.yaml"
    path.write_text("UDI,Foo,Corrente\n1,2,3\n2,3,4\n")
    refused = forgia_command("dataset", "add", "mill-7", path, "--write-mapping", mapping)
    assert refused.exit_code == 2
    assert "Foo: no concept has this name" in refused.stderr
    assert '"Corrente": {concept: current, unit: A}' in refused.stderr
    done = forgia_command("dataset", "add", "mill-7", path, "--mapping", mapping)
    assert (done.exit_code, done.stdout) == (0, "mill-7@1\n")


def test_a_mapping_file_with_a_unit_of_something_else_is_refused(forgia_command, export: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yaml"
    missing = forgia_command("dataset", "add", "mill-7", export, "--mapping", mapping)
    assert (missing.exit_code, "no mapping file named" in missing.stderr) == (3, True)
    mapping.write_text('columns: {"Torque [Nm]": {concept: torque, unit: Pa}}')
    refused = forgia_command("dataset", "add", "mill-7", export, "--mapping", mapping)
    assert refused.exit_code == 2
    assert "unit 'Pa' does not measure torque, which is kept in 'N.m'" in refused.stderr


def test_a_wrong_answer_at_the_terminal_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    vocabulary = Vocabulary.load(app.catalogue)
    answers = iter(["torque Pa", "9", "torque kNm"])
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    entry = ask_for(app, vocabulary)(Question(header="M1", why="no concept has this name", look=Look(kind="number")))
    assert entry == Entry(concept="torque", unit="kNm")


def test_a_mapping_file_that_nothing_needs_is_not_written(forgia_command, export: Path, tmp_path: Path) -> None:
    done = forgia_command("dataset", "add", "mill-7", export, "--write-mapping", tmp_path / "mapping.yaml")
    assert "mapping.yaml was not written" in done.stderr
    assert not (tmp_path / "mapping.yaml").exists()


def test_a_list_of_nothing_says_so(forgia_command) -> None:
    nothing = forgia_command("dataset", "list")
    assert (nothing.stdout, "no datasets yet" in nothing.stderr) == ("", True)
    nothing = forgia_command("vocabulary", "list", "zzz")
    assert (nothing.stdout, "no concept is named 'zzz'" in nothing.stderr) == ("", True)


def test_keep_unbound_keeps_what_has_no_concept(forgia_command, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("UDI,Foo\n1,2\n2,3\n")
    assert forgia_command("dataset", "add", "mill-7", path, "--keep-unbound").exit_code == 0
    columns = json.loads(forgia_command("dataset", "show", "mill-7", "--json").stdout)["columns"]
    assert [(column["name"], column["concept"]) for column in columns] == [
        ("sequence_number", "sequence_number"),
        ("foo", None),
    ]


def test_what_is_kept_is_told_and_a_flag_among_it_warned_of(forgia_command, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("UDI,Foo,Bar\n1,2,0\n2,3,1\n3,4,0\n")
    told = forgia_command("dataset", "add", "mill-7", path, "--keep-unbound").stderr
    assert "kept as they are, without a concept: 'Foo', 'Bar'" in told
    assert "warning: 'Bar' holds only 0 and 1" in told
    assert "'Foo' holds only" not in told


def test_a_label_is_not_kept_as_it_is(forgia_command, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("UDI,label\n1,0\n2,1\n")
    done = forgia_command("dataset", "add", "mill-7", path, "--keep-unbound")
    assert done.exit_code == 2
    assert "label: names what a model is asked about" in done.stderr
    assert '"label": {concept: anomaly}' in done.stderr


def test_a_dry_run_shows_the_binding_and_imports_nothing(forgia_command, export: Path, home) -> None:
    shown = forgia_command("dataset", "add", "mill-7", export, "--dry-run")
    assert shown.exit_code == 0
    assert "torque" in shown.stdout
    assert not home.datasets.exists()
    answer = json.loads(forgia_command("dataset", "add", "mill-7", export, "--dry-run", "--json").stdout)
    assert answer["complete"] is True
    assert answer["files"][0]["columns"][1]["source_unit"] == "Nm"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("dataset", "show", "nothing"), 3),
        (("dataset", "verify", "mill@x"), 2),
        (("dataset", "add", "Mill 7", "nothing.csv"), 3),
        (("vocabulary", "show", "torqe"), 3),
    ],
)
def test_what_is_not_there_has_its_exit_code(forgia_command, arguments: tuple[str, ...], code: int) -> None:
    assert forgia_command(*arguments).exit_code == code


def test_the_vocabulary_is_searched_in_both_languages(forgia_command) -> None:
    found = json.loads(forgia_command("vocabulary", "list", "coppia", "--json").stdout)
    assert [concept["id"] for concept in found["concepts"]] == ["torque"]
    assert "urn:forgia:concept:torque:1" in forgia_command("vocabulary", "show", "torque").stdout
    assert "bearing_temperature" in forgia_command("vocabulary", "list", "cuscinetto").stdout


def test_files_that_look_like_cmapss_are_told_how_they_are_read(forgia_command, tmp_path: Path) -> None:
    path = tmp_path / "train_FD001.txt"
    path.write_text("".join(f"1 {cycle} {' '.join(['0.5'] * 24)}  \n" for cycle in range(1, 6)))
    done = forgia_command("dataset", "add", "engines", path)
    assert done.exit_code == 2
    assert "--format cmapss" in done.stderr
    done = forgia_command("dataset", "add", "engines", path, "--format", "cmapss")
    assert done.exit_code == 0, done.output
    assert "no test_FD001.txt with RUL_FD001.txt is beside it" in done.stderr
    (tmp_path / "test_FD001.txt").write_text(path.read_text())
    (tmp_path / "RUL_FD001.txt").write_text("7\n")
    told = forgia_command("dataset", "add", "engines", path, "--format", "cmapss").stderr
    assert f"reads {tmp_path / 'test_FD001.txt'}, with the answers of {tmp_path / 'RUL_FD001.txt'}" in told
    assert "no test_FD001.txt" not in told


def test_files_that_nothing_tells_apart_are_told_of(forgia_command, tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.csv").write_text("timestamp;Torque [Nm]\n2026-03-09 10:00:00;1.5\n")
    paths = tmp_path / "0.csv", tmp_path / "1.csv"
    assert "--file-column run_id does" in forgia_command("dataset", "add", "loop", *paths).stderr
    assert "--file-column" not in forgia_command("dataset", "add", "loop", *paths, "--file-column", "run_id").stderr
