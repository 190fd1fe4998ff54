"""The command line as a whole: help, exit codes, errors in words."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from forgia.paths import HomePaths
from forgia.run import Journal, State
from forgia_cli.app import App, aligned
from forgia_cli.main import TREE, cli, explained


def commands(tree: Mapping[str, Any], names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, (_, second) in tree.items():
        if isinstance(second, Mapping):
            yield from commands(second, (*names, name))
        else:
            yield (*names, name)


@pytest.mark.parametrize("names", list(commands(TREE)), ids=" ".join)
def test_every_command_has_help_with_an_example(names: tuple[str, ...]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="forgia")
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None
        context, command = click.Context(found, info_name=name, parent=context), found
    assert command.help
    assert "forgia " in command.help.split("\b")[-1], "an example, behind a line with \\b"
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-command"], 2, "no command 'no-such-command'"),
        (["jbo", "list"], 2, "did you mean job?"),
        (["job", "lits"], 2, "did you mean list?"),
        (["job", "show", "nowhere"], 3, "no run named 'nowhere'"),
        (["plan", "no-such-recipe"], 3, "no recipe named"),
        (["plan", "predictive-maintenace"], 3, "did you mean predictive-maintenance?"),
        (["check"], 3, "forgia init"),
        (["dataset", "show", "nowhere"], 3, "no dataset named 'nowhere'"),
        (["model", "show", "nowhere"], 3, "no model named 'nowhere'"),
        (["profile", "show", "leonard-booster"], 3, "did you mean leonardo-booster"),
        (["run", "predictive-maintenance", "--set", "nonsense"], 2, "field=value"),
        (["init", "../x", "--from", "predictive-maintenance"], 2, "recipe name"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_with_its_exit_code(
    forgia_command: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = forgia_command(*arguments)
    assert outcome.exit_code == code, outcome.output
    assert words in outcome.stderr
    assert "Traceback" not in outcome.output
    assert outcome.stdout == ""


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_goes_away_is_no_error(reader: str) -> None:
    program = "from forgia_cli.main import main; main()"
    pipe = f"'{sys.executable}' -c '{program}' vocabulary list | {reader}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_the_unexpected_is_called_a_bug_and_leaves_a_report(
    forgia_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(App, "home", property(lambda self: 1 // 0))
    outcome = forgia_command("job", "list")
    assert outcome.exit_code == 1
    assert "this is a bug in forgia" in outcome.stderr
    report = Path(outcome.stderr.rsplit(" ", 1)[1].strip())
    assert "ZeroDivisionError" in report.read_text()
    report.unlink()


def test_a_folder_that_may_not_be_read_is_told_without_a_traceback(
    forgia_command: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    outcome = forgia_command("job", "list")
    assert outcome.exit_code in (0, 1)
    assert "Traceback" not in outcome.output


def test_the_shell_completes_names_of_commands() -> None:
    environment = {**os.environ, "_FORGIA_COMPLETE": "bash_complete", "COMP_WORDS": "forgia job sh", "COMP_CWORD": "2"}
    argv = [sys.executable, "-c", "from forgia_cli.main import main; main()"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert "plain,show" in done.stdout


def test_settings_are_shown_with_their_origin(forgia_command: Callable[..., Any]) -> None:
    outcome = forgia_command("config")
    assert "environment" in next(line for line in outcome.stdout.splitlines() if line.startswith("home"))


@pytest.mark.parametrize("address", ["anna:hunter2@host/db", "anna@host/db?password=hunter2", "host/db?user=anna"])
def test_a_password_that_somebody_wrote_into_the_ledgers_address_is_not_shown(
    forgia_command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("FORGIA_LEDGER", f"postgresql://{address}")
    shown = forgia_command("config").stdout + forgia_command("config", "--json").stdout
    assert (shown.count("postgresql://"), shown.count("host/db"), shown.count("anna")) == (2, 2, 2)
    assert "hunter2" not in shown


def test_what_the_system_refuses_names_the_place_that_was_written(tmp_path: Path) -> None:
    copied = OSError(errno.ENOSPC, "No space left on device", "recipe/README.md", None, "mine/README.md")
    assert explained(copied)[0] == "the system refused: mine/README.md: No space left on device"
    assert (
        explained(OSError(errno.ENOSPC, "No space left on device"))[0] == "the system refused: No space left on device"
    )


def test_talk_goes_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    app = App()
    with app.progress("run", total=1.0) as advance:
        advance(0.5)
        app.say("run [mine]: running")
    assert "run [mine]: running" in [
        line.strip() for line in re.split(r"\r|\n|\x1b\[[0-9;?]*[A-Za-z]", terminal.getvalue())
    ]


def test_logs_of_an_attempt_or_a_rank_that_never_was_say_so(
    forgia_command: Callable[..., Any], home: HomePaths
) -> None:
    assert "no runs yet" in forgia_command("job", "list").stderr
    paths = home.run("mill-1")
    paths.root.mkdir(parents=True)
    paths.request.write_text("{}")
    Journal(paths).record(State.FAILED, by="submitter", attempt=1, reason="no node")
    assert "mill-1: nothing was written yet" in forgia_command("job", "logs").stderr
    told = forgia_command("job", "logs", "mill-1", "--attempt", "9", "--rank", "2").stderr
    assert "nothing was written by attempt 9, rank 2" in told
    assert "no run is open" in forgia_command("job", "list", "--open").stderr


def test_every_wrong_flag_is_told_at_once(forgia_command: Callable[..., Any]) -> None:
    outcome = forgia_command("plan", "predictive-maintenance", "--set", "width", "--set", "train.epochs=x")
    assert outcome.exit_code == 2
    assert "width: write it as field=value" in outcome.stderr
    assert "train.epochs: input should be a valid integer" in outcome.stderr


def test_tables_align_numbers_to_the_right_and_show_what_is_missing() -> None:
    assert (
        aligned(("name", "rows"), [("a", 10), ("bcd", 2), ("e", None)])
        == "name  rows\na       10\nbcd      2\ne        –"
    )
