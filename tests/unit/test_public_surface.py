"""What ``import forgia`` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import forgia

HEAVY = {
    "torch", "ray", "deepspeed", "dask", "sklearn", "pydantic", "yaml", "rich", "numpy", "pyarrow", "pint", "submitit",
    "onnxruntime", "matplotlib", "pandas", "traceback", "difflib", "tomllib",
}  # fmt: skip


def test_every_public_name_is_there() -> None:
    assert sorted(forgia.PLACES) == forgia.__all__
    for name in forgia.__all__:
        assert getattr(forgia, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        forgia.nothing  # noqa: B018


@pytest.mark.parametrize("arguments", [["--help"], ["job", "list"], ["job", "--help"], ["config"]])
def test_what_is_typed_all_day_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom forgia_cli.main import invoke\n"
        f"code = invoke({arguments!r})\nprint('\\n'.join(['modules:', *sys.modules]))\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split("modules:\n")[1].split())
    assert not HEAVY & modules


def test_importing_the_library_is_cheap() -> None:
    program = "import sys, forgia; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())
