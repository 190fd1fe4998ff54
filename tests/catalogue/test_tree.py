"""The tree itself: content folders hold content, documents point somewhere, the wheel carries the catalogue."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CONTENT = ("recipes", "cluster-profiles", "datasets", "notebooks")
ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if ".venv" not in path.parts and "forgia-demo" not in path.parts)


@pytest.mark.parametrize("name", [*CONTENT, "jobs", "cli", "src", "tests"])
def test_a_root_folder_shadows_no_package_of_others(name: str) -> None:
    assert not (ROOT / name / "__init__.py").exists()


@pytest.mark.parametrize("name", CONTENT)
def test_a_content_folder_says_what_lies_there_in_twenty_lines(name: str) -> None:
    lines = (ROOT / name / "README.md").read_text().splitlines()
    assert 3 <= len(lines) <= 20


def test_every_root_folder_stands_in_the_readme() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    tree = (ROOT / "README.md").read_text().split("## The tree")[1]
    assert {line.split("/")[0] for line in tree.splitlines() if re.match(r"[a-z-]+/", line)} == folders


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_relative_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document}: {target}"


def test_the_generated_documents_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_carries_packages_and_catalogue(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("forgia-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        "forgia/client.py",
        "forgia/py.typed",
        "forgia_cli/main.py",
        "forgia_jobs/attempt.py",
        "forgia/_catalogue/recipes/predictive-maintenance/recipe.yaml",
        "forgia/_catalogue/cluster-profiles/laptop.yaml",
        "forgia/_catalogue/datasets/three-firms/generate.py",
    }
    assert wanted <= names
    assert not [name for name in names if name.startswith("tests/") or ".pyc" in name]
