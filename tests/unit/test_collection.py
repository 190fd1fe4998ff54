"""From a run's outbox to a version: verified, once, and harmless to kill at any point."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from forgia import digest
from forgia.client import Client
from forgia.collection import collect
from forgia.errors import IntegrityError, NotFound, UserError
from forgia.paths import HomePaths
from forgia.registry.layout import OciLayout
from forgia.registry.models import describe, find_model, models
from forgia.registry.publish import write_release
from forgia.release import ReleaseDraft, ReleaseFile, metric_annotations
from forgia.run import Journal, State
from forgia.settings import Settings

ORGANISATION = "officina-uno"


def finished_run(home: HomePaths, run_id: str, *, version: str = "1.0.0", f1: float = 0.8, test: bool = False) -> str:
    """A run that succeeded and has its release in the outbox; returns the release's digest."""
    paths = home.run(run_id)
    (paths.root / "made").mkdir(parents=True)
    paths.recipe.mkdir()
    (paths.recipe / "recipe.yaml").write_text("name: mill-failures\n")
    request = {
        "recipe": {"name": "mill-failures", "version": version},
        "evaluate": {"primary": "f1"},
        "params": {"run": run_id},
        **({"test": True} if test else {}),
    }
    paths.request.write_text(json.dumps(request))
    weights = paths.root / "made" / "model.safetensors"
    weights.write_bytes(b"weights of " + run_id.encode())
    draft = ReleaseDraft(
        name="mill-failures",
        recipe_version=version,
        run_id=run_id,
        identity=digest.of_json(request),
        created="2026-11-22T10:00:00Z",
        title="Mill failures",
        summary="Which mill fails next.",
        licence="Apache-2.0",
        authors=("Officina Uno",),
        model_files=[ReleaseFile(path=weights, name="model.safetensors", media="weight")],
        recipe_root=paths.recipe,
        request_path=paths.request,
        annotations=metric_annotations({"f1": f1, "recall": 0.5}, {"f1": 0.7}),
    )
    Journal(paths).record(State.RUNNING, by="job", attempt=2)
    Journal(paths).record(State.SUCCEEDED, by="job", attempt=2)
    return write_release(OciLayout(paths.outbox), draft, run_id)


def collected_lines(home: HomePaths, run_id: str) -> list[dict[str, object]]:
    return [line for line in Journal(home.run(run_id)).read() if line["event"] == "collected"]


def test_a_release_becomes_a_version_and_the_journal_says_so(home: HomePaths) -> None:
    made = finished_run(home, "mill-1")
    found = collect(home, ORGANISATION, "mill-1")
    assert (found.name, found.version, found.digest) == ("mill-failures", "1.0.0", made)
    (line,) = collected_lines(home, "mill-1")
    assert (line["by"], line["attempt"], line["version"], line["digest"]) == ("submitter", 2, "1.0.0", made)
    assert Journal(home.run("mill-1")).status().state is State.COLLECTED


def test_collecting_again_gives_the_same_version_and_no_second_line(home: HomePaths) -> None:
    finished_run(home, "mill-1")
    assert collect(home, ORGANISATION, "mill-1") == collect(home, ORGANISATION, "mill-1")
    assert len(collected_lines(home, "mill-1")) == 1


def test_the_next_run_of_a_recipe_takes_the_next_patch_number(home: HomePaths) -> None:
    for number in (1, 2, 3):
        finished_run(home, f"mill-{number}")
    assert [collect(home, ORGANISATION, f"mill-{number}").version for number in (1, 2, 3, 2)] == [
        "1.0.0",
        "1.0.1",
        "1.0.2",
        "1.0.1",
    ]
    finished_run(home, "mill-4", version="1.1.0+site2")
    assert collect(home, ORGANISATION, "mill-4").version == "1.1.0+site2"


def test_versions_follow_the_order_in_which_runs_ended(home: HomePaths) -> None:
    for name in ("mill-b", "mill-a"):
        finished_run(home, name)
    settings = Settings(home=home, organisation=ORGANISATION, profile="laptop")
    done, complaints = Client(settings).collect_finished()
    assert ([item.version for item in done], complaints) == (["1.0.0", "1.0.1"], [])
    assert collect(home, ORGANISATION, "mill-b").version == "1.0.0"


def test_a_run_without_a_release_is_not_found(home: HomePaths) -> None:
    with pytest.raises(NotFound, match="release of run"):
        collect(home, ORGANISATION, "mill-1")
    OciLayout(home.run("mill-1").outbox).create()
    with pytest.raises(NotFound, match="release of run"):
        collect(home, ORGANISATION, "mill-1")


def test_an_altered_release_is_neither_pushed_nor_journalled(home: HomePaths) -> None:
    made = finished_run(home, "mill-1")
    outbox = OciLayout(home.run("mill-1").outbox)
    (weights,) = [outbox.path(blob.digest) for blob in outbox.walk(made) if blob.title == "model.safetensors"]
    weights.chmod(0o600)
    weights.write_bytes(b"Weights of mill-1")
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        collect(home, ORGANISATION, "mill-1")
    assert list(models(home, ORGANISATION)) == []
    assert collected_lines(home, "mill-1") == []


def test_a_release_that_answers_another_request_is_refused(home: HomePaths) -> None:
    finished_run(home, "mill-1")
    request = home.run("mill-1").request
    request.write_text(request.read_text().replace("mill-1", "mill-2"))
    with pytest.raises(IntegrityError, match="the request that the release of mill-1 answers"):
        collect(home, ORGANISATION, "mill-1")
    assert list(models(home, ORGANISATION)) == []


KILL_AT_EVERY_STEP = """
import json, os, shutil, sys
from pathlib import Path
from forgia.collection import collect
from forgia.paths import HomePaths
from forgia.registry.layout import OciLayout
from forgia.registry.models import describe, find_model, models
from forgia.run import Journal
import forgia.store, fcntl, rfc8785

source, made, work = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
CALLS = ["replace", "rename", "link", "fsync", "write", "mkdir", "unlink", "chmod"]

def die_at(step):
    left = step
    def deadly(call):
        def wrapped(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            return call(*arguments, **options)
        return wrapped
    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))

step, killed = 0, True
while killed:
    home = HomePaths(work / str(step))
    shutil.copytree(source, home.root)
    child = os.fork()
    if child == 0:
        die_at(step)
        collect(home, "officina-uno", "mill-1")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    killed = code == 9
    registry = OciLayout(home.repository("officina-uno", "model", "mill-failures"))
    assert set(registry.tags().items()) <= {("1.0.0", made)}
    if registry.tags():
        registry.verify(made)
    found = collect(home, "officina-uno", "mill-1")
    assert (found.version, found.digest) == ("1.0.0", made)
    assert registry.tags() == {"1.0.0": made}
    registry.verify(made)
    lines = [line for line in Journal(home.run("mill-1")).read() if line["event"] == "collected"]
    assert len(lines) == 1, lines
    shutil.rmtree(home.root)
    step += 1
print(step)
"""


def test_a_collection_killed_at_any_step_is_made_good_by_the_next_one(home: HomePaths, tmp_path: Path) -> None:
    made = finished_run(home, "mill-1")
    argv = [sys.executable, "-c", KILL_AT_EVERY_STEP, str(home.root), made, str(tmp_path / "work")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30  # so many points of death were tried


def test_several_collectors_at_once_make_one_version(home: HomePaths) -> None:
    made = finished_run(home, "mill-1")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=collect, args=(home, ORGANISATION, "mill-1")) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork in a process with threads; the children only collect
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert find_model(home, ORGANISATION, "mill-failures").layout.tags() == {"1.0.0": made}
    assert len(collected_lines(home, "mill-1")) == 1


def test_a_list_tells_versions_aliases_and_the_primary_figure_of_the_latest(home: HomePaths) -> None:
    assert list(models(home, ORGANISATION)) == []
    made = [finished_run(home, f"mill-{number}", f1=number / 10) for number in (1, 2)]
    for number in (1, 2):
        collect(home, ORGANISATION, f"mill-{number}")
    find_model(home, ORGANISATION, "mill-failures").layout.point("champion", made[0], at="t", by="ada")
    (model,) = models(home, ORGANISATION)
    assert model.to_json() == {
        "name": "mill-failures",
        "versions": ["1.0.0", "1.0.1"],
        "tests": [],
        "latest": "1.0.1",
        "aliases": {"champion": "1.0.0"},
        "created": "2026-11-22T10:00:00Z",
        "metric": "f1",
        "value": 0.2,
        "digest": made[1],
        "size": model.size,
    }
    assert model.size > 0
    assert list(models(home, "another-firm")) == []


def test_a_model_is_found_by_each_of_its_names(home: HomePaths) -> None:
    made = [finished_run(home, f"mill-{number}") for number in (1, 2)]
    for number in (1, 2):
        collect(home, ORGANISATION, f"mill-{number}")
    find_model(home, ORGANISATION, "mill-failures").layout.point("champion", made[0], at="t", by="ada")
    for ref, version in {
        "mill-failures": "1.0.1",
        "mill-failures@1.0.0": "1.0.0",
        "mill-failures@champion": "1.0.0",
        f"mill-failures@{made[1]}": "1.0.1",
        f"mill-failures@{made[1][7:19]}": "1.0.1",
    }.items():
        found = find_model(home, ORGANISATION, ref)
        assert (found.version, found.ref) == (version, f"mill-failures@{version}")


def test_a_bare_name_means_no_version_of_a_test_where_there_is_another(home: HomePaths) -> None:
    for number, test in enumerate((True, True, False, True)):
        finished_run(home, f"mill-{number}", f1=number / 10, test=test)
        collect(home, ORGANISATION, f"mill-{number}")
        found = find_model(home, ORGANISATION, "mill-failures")
        meant = {0: ("1.0.0", True), 1: ("1.0.1", True), 2: ("1.0.2", False), 3: ("1.0.2", False)}[number]
        assert (found.version, found.is_test) == meant
    (model,) = models(home, ORGANISATION)
    assert (model.latest, model.value, model.tests) == ("1.0.2", 0.2, ("1.0.0", "1.0.1", "1.0.3"))
    asked = find_model(home, ORGANISATION, "mill-failures@1.0.3")
    asked.layout.point("trial", asked.digest, at="t", by="ada")
    named = find_model(home, ORGANISATION, "mill-failures@trial")
    assert (asked.is_test, named.version, describe(asked)["test"]) == (True, "1.0.3", True)
    assert not describe(find_model(home, ORGANISATION, "mill-failures"))["test"]


def test_a_slip_of_the_hand_gets_the_nearest_name(home: HomePaths) -> None:
    finished_run(home, "mill-1")
    collect(home, ORGANISATION, "mill-1")
    with pytest.raises(NotFound, match="did you mean mill-failures"):
        find_model(home, ORGANISATION, "mill-failure")
    with pytest.raises(NotFound, match=r"did you mean mill-failures@1\.0\.0"):
        find_model(home, ORGANISATION, "mill-failures@1.0.1")
    for bad in ("mill-failures@", "../mill", "Mill"):
        with pytest.raises(UserError):
            find_model(home, ORGANISATION, bad)


def test_a_description_holds_figures_recipe_run_and_files(home: HomePaths) -> None:
    made = finished_run(home, "mill-1")
    collect(home, ORGANISATION, "mill-1")
    found = describe(find_model(home, ORGANISATION, "mill-failures"))
    assert (found["digest"], found["version"], found["run"]) == (made, "1.0.0", "mill-1")
    assert (found["primary"], found["metrics"], found["baseline"]) == ("f1", {"f1": 0.8, "recall": 0.5}, {"f1": 0.7})
    assert found["recipe"]["digest"] == digest.of_tree(home.run("mill-1").recipe)
    assert [file["path"] for file in found["files"]] == [
        "model.safetensors",
        "recipe/recipe.yaml",
        "request.json",
        "provenance.json",
    ]
