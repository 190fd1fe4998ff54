"""Batch scripts as text: golden files for the profiles we ship, and nothing that a value could break out of."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import profile as profiles
from forgia.errors import UserError
from forgia.paths import HomePaths, RunPaths
from forgia.recipe import STRATEGIES
from forgia.schedulers import open_scheduler, slurm_script

GOLDEN = Path(__file__).parent / "golden"
HOME = HomePaths(Path("/home/anna/.forgia"))
PYTHON = {"python": "/opt/forgia/bin/python"}
RESOURCES = {
    "generic-slurm": {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 1, "cpus_per_task": 4, "memory_gb": 16},
    "it4lia": {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 1, "cpus_per_task": 8, "memory_gb": 64},
    "jupiter": {"nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 72, "memory_gb": 400},
    "juwels-booster": {"nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 12, "memory_gb": 400},
    "karolina": {"nodes": 2, "tasks_per_node": 2, "gpus_per_node": 2, "cpus_per_task": 16, "memory_gb": 200},
    "laptop": {"nodes": 1, "tasks_per_node": 2, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 4},
    "leonardo-booster": {"nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 8, "memory_gb": 480},
    "leonardo-dcgp": {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 112, "memory_gb": 400},
    "leonardo-lisa": {"nodes": 1, "tasks_per_node": 8, "gpus_per_node": 8, "cpus_per_task": 8, "memory_gb": 400},
    "leonardo-serial": {"nodes": 1, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 4, "memory_gb": 30},
    "lumi-g": {"nodes": 1, "tasks_per_node": 2, "gpus_per_node": 2, "cpus_per_task": 8, "memory_gb": 120},
    "marenostrum5-acc": {"nodes": 1, "tasks_per_node": 2, "gpus_per_node": 2, "cpus_per_task": 20, "memory_gb": 200},
    "meluxina": {"nodes": 2, "tasks_per_node": 4, "gpus_per_node": 4, "cpus_per_task": 8, "memory_gb": 400},
    "slurm-local": {"nodes": 1, "tasks_per_node": 2, "gpus_per_node": 2, "cpus_per_task": 1, "memory_gb": 4},
}
"""On GPUs wherever a cluster has them."""
CHOSEN = {
    "jupiter": {"account": "industry1"},
    "juwels-booster": {"account": "industry1"},
    "karolina": {"account": "open-33-7"},
    "leonardo-booster": {
        "account": "AIFAC_P02_001",
        "python": "/leonardo_work/AIFAC_P02_001/env/bin/python",
        "modules": ["cuda/12.6"],
    },
    "leonardo-dcgp": {"account": "IscrC_MILL"},
    "lumi-g": {"account": "project_465000001"},
    "marenostrum5-acc": {"account": "ehpc101"},
    "meluxina": {"account": "p200301"},
}
"""What a user adds to the shipped profile."""


BUDGETS = {"time_limit": 20, "preemption": 20, "node_failure": 3}


def request_for(name: str, repository: Path) -> dict[str, Any]:
    shipped = profiles.load(repository / "cluster-profiles" / f"{name}.yaml").model_dump(mode="json")
    return {
        "profile": {**shipped, **PYTHON, **CHOSEN.get(name, {})},
        "resources": {**RESOURCES[name], "walltime_s": 5400, "walltime_total_s": 5400, "attempts": BUDGETS},
    }


@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_the_script_of_a_shipped_profile_is_the_golden_one(
    name: str, repository: Path, request: pytest.FixtureRequest
) -> None:
    wanted = request_for(name, repository)
    scheduler = open_scheduler(wanted["profile"]["scheduler"], home=HOME)
    text = scheduler.render(wanted, HOME.run("press-failures-0f3a9c11d2"))
    place = GOLDEN / f"{name}.{'sh' if name == 'laptop' else 'sbatch'}"
    if request.config.getoption("--update-golden", default=False):
        place.write_text(text)
    assert text == place.read_text(), "rendered text changed; if that is meant: pytest --update-golden"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("name", sorted(RESOURCES))
def test_the_golden_script_starts_every_strategy(name: str, strategy: str, repository: Path) -> None:
    wanted = {**request_for(name, repository), "train": {"strategy": strategy}}
    text = open_scheduler(wanted["profile"]["scheduler"], home=HOME).render(
        wanted, HOME.run("press-failures-0f3a9c11d2")
    )
    assert text == (GOLDEN / f"{name}.{'sh' if name == 'laptop' else 'sbatch'}").read_text()


def test_every_shipped_profile_has_a_golden_script(repository: Path) -> None:
    shipped = {path.stem for path in (repository / "cluster-profiles").glob("*.yaml")}
    assert shipped == set(RESOURCES)
    assert shipped == {path.stem for path in GOLDEN.iterdir() if path.suffix in (".sh", ".sbatch")}


def test_memory_is_not_asked_for_where_it_follows_the_cores() -> None:
    plain, following = minimal(), minimal(memory_follows_cores=True)
    assert flags_of(slurm_script.render(plain, HOME.run("r"), attempt=1))["mem"] == "1024M"
    assert "mem" not in flags_of(slurm_script.render(following, HOME.run("r"), attempt=1))


def minimal(**profile: Any) -> dict[str, Any]:
    wanted = {"nodes": 2, "tasks_per_node": 1, "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 1, "walltime_s": 60}
    return {"profile": {"name": "p", **profile}, "resources": wanted}


def flags_of(text: str) -> dict[str, str]:
    """The directives as SLURM takes them."""
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH ")]
    pairs = [line.partition("=") for line in lines]
    return {name: (shlex.split(value) or [""])[0] for name, _, value in pairs}


@pytest.mark.parametrize(
    ("style", "flag", "value"),
    [("gres", "gres", "gpu:a100:4"), ("gpus-per-node", "gpus-per-node", "a100:4"), ("gpus", "gpus", "a100:8")],
)
def test_gpus_are_asked_for_in_the_sites_style(style: str, flag: str, value: str) -> None:
    request = minimal(gpu={"type": "a100", "request_style": style})
    request["resources"]["gpus_per_node"] = 4
    flags = flags_of(slurm_script.render(request, HOME.run("r"), attempt=1))
    assert flags[flag] == value
    assert {"gres", "gpus", "gpus-per-node"} & set(flags) == {flag}


@given(walltime_s=st.integers(1, 10_000_000))
def test_the_time_limit_is_never_shorter_than_asked_and_less_than_a_minute_longer(walltime_s: int) -> None:
    request = minimal()
    request["resources"]["walltime_s"] = walltime_s
    hours, minutes, seconds = flags_of(slurm_script.render(request, HOME.run("r"), attempt=1))["time"].split(":")
    assert 0 <= int(hours) * 3600 + int(minutes) * 60 + int(seconds) - walltime_s < 60


HOSTILE = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=40)
FOLDER = HOSTILE.filter(lambda text: text != "." and "/" not in text)


@given(values=st.fixed_dictionaries(dict.fromkeys(("partition", "account", "qos", "python"), HOSTILE)), folder=FOLDER)
def test_no_value_becomes_shell_or_another_flag(values: dict[str, str], folder: str) -> None:
    request = minimal(**values, environment={"WORDS": values["account"]}, srun_args=[values["qos"]], modules=["a"])
    paths = RunPaths(Path("/home") / folder / "runs" / "r-1")
    try:
        text = slurm_script.render(request, paths, attempt=1)
    except UserError as error:
        assert any(word in str(error) for word in ("control character", "%", "heterogeneous"))
        return
    flags = flags_of(text)
    assert {name: flags[name] for name in ("partition", "account", "qos")} == {
        name: values[name] for name in ("partition", "account", "qos")
    }
    assert flags["chdir"] == str(paths.root)
    words = shlex.split(text, comments=True)
    assert f"WORDS={values['account']}" in words
    assert values["python"] in words
    assert values["qos"] in words


@pytest.mark.parametrize(
    "hostile", ["$(touch hurt)", "`touch hurt`", "'; touch hurt; '", '"; touch hurt; "', "\\", "#", "!x"]
)
def test_bash_takes_a_hostile_script_as_words(hostile: str, tmp_path: Path) -> None:
    text = slurm_script.render(minimal(account=hostile, environment={"A": hostile}), HOME.run("r"), attempt=1)
    script = tmp_path / "job.sh"
    script.write_text(text)
    subprocess.run(["bash", "-n", str(script)], check=True)
    exported = next(line for line in text.splitlines() if line.startswith("export A="))
    done = subprocess.run(
        ["bash", "-c", f"{exported}; printenv A"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == f"{hostile}\n"
    assert not (tmp_path / "hurt").exists()


def test_every_reason_against_a_request_is_told_at_once() -> None:
    request = minimal(
        account="a\nb",
        environment={"FORGIA_HOME": "x", "not a name": "y"},
        extra_sbatch={"job-name": "z", "Wrong Flag": "1", "comment": "c"},
    )
    with pytest.raises(UserError) as caught:
        slurm_script.render(request, HOME.run("r"), attempt=1)
    for words in (
        "--account",
        "FORGIA_HOME is set by the launcher",
        "'not a name'",
        "--job-name is decided",
        "'Wrong Flag'",
    ):
        assert words in str(caught.value)


def test_the_local_scheduler_is_one_machine() -> None:
    with pytest.raises(UserError, match="this one machine"):
        open_scheduler("local", home=HOME).render(minimal(), HOME.run("r"))


def test_a_short_job_is_warned_late_enough_to_have_worked() -> None:
    request = minimal(signal_lead_s=300)
    assert flags_of(slurm_script.render(request, HOME.run("r"), attempt=1))["signal"] == "USR2@20"
    request["resources"]["walltime_s"] = 86400
    assert flags_of(slurm_script.render(request, HOME.run("r"), attempt=1))["signal"] == "USR2@300"


@given(slowest_s=st.floats(0, 100_000), walltime_s=st.integers(60, 30 * 86400))
def test_a_job_is_warned_early_enough_for_the_slowest_checkpoint_that_was_measured(
    slowest_s: float, walltime_s: int
) -> None:
    request = minimal()
    request["resources"]["walltime_s"] = walltime_s
    text = slurm_script.render(request, HOME.run("r"), attempt=2, slowest_checkpoint_s=slowest_s)
    lead_s = int(flags_of(text)["signal"].removeprefix("USR2@"))
    assert lead_s >= min(90, walltime_s // 3)
    assert lead_s >= slowest_s or lead_s >= min(walltime_s // 3, 65_535)
    assert f"export FORGIA_SIGNAL_LEAD={lead_s}\n" in text


@pytest.mark.parametrize(("attempt", "again", "last"), [(1, 0, "$((1 + 0))"), (4, 2, "$((4 + 2))")])
def test_a_job_is_told_its_last_attempt_and_goes_no_further(attempt: int, again: int, last: str) -> None:
    request = minimal()
    request["resources"]["attempts"] = {"time_limit": again, "preemption": 0, "node_failure": 0}
    text = slurm_script.render(request, HOME.run("r"), attempt=attempt)
    assert f"export FORGIA_LAST_ATTEMPT={last}\n" in text
    assert '[ "$FORGIA_ATTEMPT" -lt "$FORGIA_LAST_ATTEMPT" ]' in text
    request["resources"]["nodes"] = 1
    told = open_scheduler("local", home=HOME).render(request, HOME.run("r"), attempt=attempt)
    assert f"export FORGIA_LAST_ATTEMPT={attempt + again}\n" in told


def test_the_attempts_of_a_job_follow_from_the_budgets_of_its_request() -> None:
    request = minimal()
    request["resources"]["attempts"] = {"time_limit": 2, "preemption": 0, "node_failure": 1}
    assert "FORGIA_LAST_ATTEMPT=$((1 + 3))" in slurm_script.render(request, HOME.run("r"), attempt=1)


def test_a_later_attempt_is_warned_by_what_its_run_measured(tmp_path: Path) -> None:
    home = HomePaths(tmp_path)
    paths, request = home.run("r"), minimal()
    request["resources"]["walltime_s"] = 86400
    paths.checkpoints.mkdir(parents=True)
    paths.slowest_checkpoint.write_text('{"seconds": 100.5}')
    scheduler = open_scheduler("slurm", home=home)
    assert flags_of(scheduler.render(request, paths, attempt=2))["signal"] == "USR2@332"
    assert flags_of(scheduler.render(request, paths))["signal"] == "USR2@90"


def test_rendering_depends_on_nothing_but_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    request, paths = minimal(python="/p"), HOME.run("r")
    before = slurm_script.render(request, paths, attempt=1)
    monkeypatch.setenv("SBATCH_ACCOUNT", "other")
    monkeypatch.setenv("PATH", "/nowhere")
    assert slurm_script.render(request, paths, attempt=1) == before
