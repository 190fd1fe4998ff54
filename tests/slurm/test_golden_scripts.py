"""What the unit tests hold as golden for this cluster, SLURM itself accepts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab import SlurmLab

GOLDEN = Path(__file__).resolve().parents[1] / "unit/golden"
SCRIPTS = sorted(path for path in GOLDEN.iterdir() if path.name.startswith("slurm-local") and path.suffix == ".sbatch")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_sbatch_would_take_the_golden_script(script: Path, slurm_lab: SlurmLab) -> None:
    argv = ["sbatch", "--test-only", str(script)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=slurm_lab.environment())
    assert done.returncode == 0 and "to start at" in done.stderr, done.stderr


def test_there_is_a_golden_script_for_this_cluster() -> None:
    assert SCRIPTS
