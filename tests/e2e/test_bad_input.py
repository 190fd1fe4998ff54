"""A day at a firm: broken files, full disks, missing rights, a hasty Ctrl-C; told in words, with nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forgia.dataset.dataset import list_datasets
from forgia.paths import HomePaths

Command = Callable[..., "subprocess.CompletedProcess[str]"]
HEADER = "UDI,Air temperature [K],Torque [Nm],Machine failure"
EXPORT = HEADER + "\n" + "".join(f"{n},{298 + n % 5}.5,{n % 7}.5,{n % 2}\n" for n in range(4000))


def nothing_left(home: HomePaths) -> bool:
    return not home.datasets.exists() or not list(home.datasets.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (bytes(range(256)) * 40, "this is no text file"),
        (EXPORT.replace("[Nm]", "[degC]").encode(), "'degC' does not measure torque"),
        (EXPORT.replace("Torque [Nm]", "Zorblax").encode(), "Zorblax: no concept has this name"),
        (f"{HEADER}\n1,298.5,2.5,0\n2,298.5,2".encode(), "1 of 2 rows (50.0%) do not parse"),
    ],
    ids=["empty", "binary", "wrong unit", "unknown column", "cut in mid-line"],
)
def test_a_file_that_cannot_be_used_is_told_in_words_with_exit_code_2_and_leaves_nothing(
    command: Command, home: HomePaths, content: bytes, words: str
) -> None:
    Path("export.csv").write_bytes(content)
    done = command("dataset", "add", "mill-7", "export.csv", check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert words in done.stderr
    assert nothing_left(home)


def test_the_one_row_that_a_cut_export_loses_is_told_with_its_line(command: Command, home: HomePaths) -> None:
    Path("export.csv").write_text(EXPORT + "4000,299.5,1")
    done = command("dataset", "add", "mill-7", "export.csv")
    assert "4,000 rows, 4 columns, 1 rows rejected" in done.stderr
    (dataset,) = list_datasets(home)
    assert 'export.csv,4002,3 values instead of 4,"4000,299.5,1"' in dataset.paths.rejects.read_text()


def test_values_in_another_unit_than_the_header_says_are_pointed_out_at_once(command: Command) -> None:
    Path("export.csv").write_text(EXPORT.replace("[K]", "[°C]"))
    told = "mend: air_temperature: 4,000 values lie beyond what is usual (230 to 330 K); is the unit right?"
    assert told in command("dataset", "add", "mill-7", "export.csv").stderr
    assert told in command("dataset", "show", "mill-7").stderr


def test_five_mistakes_in_a_recipe_are_five_lines_and_no_run(command: Command, home: HomePaths) -> None:
    command("init", "mine", "--from", "predictive-maintenance")
    recipe = Path("mine/recipe.yaml")
    text = recipe.read_text()
    for good, bad in (
        ("schema_version: 1", "schema_version: 1\ncolour: red"),
        ("epochs: 60", "epochs: sixty"),
        ("precision: fp32", "precision: fp33"),
        ("concept: product_grade", "concept: product_grad"),
        ("primary: f1", "primary: f11"),
    ):
        text = text.replace(good, bad, 1)
    recipe.write_text(text)
    for verb in ("check", "run"):
        done = command(verb, check=False)
        assert done.returncode == 2
        for words in ("colour: unknown field", "'sixty'", "'fp33'", "did you mean product_grade?", "did you mean f1?"):
            assert words in done.stderr
    assert not home.runs.exists()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 48 kB; only root may mount one."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a tmpfs needs root on Linux; the simulated full disk of test_dataset_ingest.py stands in")
    with tempfile.TemporaryDirectory() as place:
        argv = ["mount", "-t", "tmpfs", "-o", "size=48k,mode=700", "tmpfs", place]
        mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"root may not mount a tmpfs here: {mounted.stderr.strip()}")
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_during_add_is_told_and_keeps_nothing(
    command: Command, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORGIA_HOME", str(small_disk / "home"))
    Path("export.csv").write_text(EXPORT)
    done = command("dataset", "add", "mill-7", "export.csv", check=False)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "nothing was imported" in done.stderr
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []


# An interruption at any moment

INTERRUPTED = """
import os, signal, sys
from forgia_cli.main import main
left, seen = int(sys.argv.pop(1)), 0
def hook(event, _):
    global seen
    if event == "open" or event.startswith(("os.", "shutil.")):
        seen += 1
        if seen == left:
            signal.raise_signal(signal.SIGINT)
sys.addaudithook(hook)
try:
    main()
finally:
    if not left:
        os.write(1, f"\\n{seen}".encode())
"""
"""The command line, with a Ctrl-C as it touches a file for the n-th time; with 0 it counts."""


def interrupted(*arguments: str | Path, at: int) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", INTERRUPTED, str(at), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def assert_told(done: subprocess.CompletedProcess[str]) -> None:
    # Python ends by the signal itself where that came inside exec(), as when a dataclass is made; shells call both 130
    assert done.returncode in (0, 130, -signal.SIGINT), done.stderr
    assert done.returncode == 0 or "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def moments(*arguments: str | Path, count: int = 8) -> list[int]:
    """Moments of a command spread over its whole length, the last ones close together."""
    total = int(interrupted(*arguments, at=0).stdout.rsplit("\n", 1)[1])
    return sorted(
        {max(1, total * part // count) for part in range(1, count)} | set(range(max(1, total - 4), total + 1))
    )


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_an_import_leaves_a_whole_version_or_none(command: Command, home: HomePaths) -> None:
    Path("export.csv").write_text(EXPORT)
    codes = []
    for number, at in enumerate(moments("dataset", "add", "first", "export.csv")):
        done = interrupted("dataset", "add", f"mill-{number}", "export.csv", at=at)
        assert_told(done)
        codes.append(done.returncode)
        assert not list(home.datasets.rglob("*.part"))
        assert not [place for place in home.datasets.iterdir() if not list(place.iterdir())]
    assert codes.count(0) < len(codes) / 2
    for dataset in list_datasets(home):
        dataset.verify()


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_plan_predict_and_pull_leaves_a_whole_file_or_none(
    mine: Command, exports: dict[str, Path], home: HomePaths
) -> None:
    ref = mine("run", "--test").stdout.split()[0]
    whole = len(list(home.runs.iterdir()))
    for at in moments("plan", "--test", "--set", "train.seed=1", count=4):
        assert_told(interrupted("plan", "--test", "--set", "train.seed=1", at=at))
    assert len(list(home.runs.iterdir())) == whole
    for at in moments("predict", ref, exports["alfa"], "-o", "scored.csv", count=5):
        Path("scored.csv").unlink(missing_ok=True)
        assert_told(interrupted("predict", ref, exports["alfa"], "-o", "scored.csv", at=at))
        assert not Path("scored.csv").exists() or len(Path("scored.csv").read_text().splitlines()) == 4001
        assert not list(Path().glob(".*"))
    files = mine("model", "pull", ref, "--to", "counted").stderr
    for number, at in enumerate(moments("model", "pull", ref, "--to", "pulled", count=5)):
        assert_told(interrupted("model", "pull", ref, "--to", f"pulled-{number}", at=at))
        assert not list(Path().glob(".*"))
    for place in Path().glob("pulled*"):
        assert f"{sum(path.is_file() for path in place.rglob('*')) - 1} files" in files  # and release.json


# Rights


def without_rights(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of a user whom file modes bind; root gives up what sets it above them."""
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    argv = [*prefix, sys.executable, "-m", "forgia_cli.main", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_a_registry_that_cannot_be_written_is_told_and_the_release_waits_for_it(mine: Command, home: HomePaths) -> None:
    home.registry.mkdir(mode=0o555)
    home.registry.chmod(0o555)
    done = without_rights("run", "--test")
    assert done.returncode == 4, done.stderr
    assert "cannot be written (Permission denied" in done.stderr
    assert list(home.registry.iterdir()) == []
    home.registry.chmod(0o700)
    assert mine("collect").stdout.startswith("mine@1.0.0")


@pytest.mark.slow
def test_a_run_whose_folder_is_removed_is_not_waited_for_for_ever(mine: Command, home: HomePaths) -> None:
    argv = [sys.executable, "-m", "forgia_cli.main", "run", "--test"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "succeeded" not in (told := process.stderr.readline()) and "pending" not in told:
        assert told
    (folder,) = [place for place in home.runs.iterdir() if not place.name.startswith(".") and place.is_dir()]
    folder.rename(home.root / "gone")
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 3, rest
    assert "its folder was removed meanwhile" in rest
