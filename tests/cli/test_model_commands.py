"""``forgia model …`` and ``forgia predict`` as a person and as a program meet them."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from forgia import digest
from forgia.dataset.manifest import Column, Manifest
from forgia.features import FeatureSpec, NumericFeature
from forgia.paths import HomePaths
from forgia.registry.contents import contents
from forgia.registry.layout import OciLayout
from forgia.registry.publish import write_release
from forgia.release import GATE, DatasetDocument, ReleaseDraft, ReleaseFile, metric_annotations

Forgia = Callable[..., Any]
NAME = "mill-failures"


def torque_network() -> bytes:
    """A network whose answer is a hundredth of its one feature."""
    onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    hundredth = helper.make_tensor("hundredth", kind, [1], [0.01])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["numeric", "hundredth"], ["output"])],
        "example",
        [helper.make_tensor_value_info("numeric", kind, ["batch", 1])],
        [helper.make_tensor_value_info("output", kind, ["batch"])],
        [hundredth],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def write_files(folder: Path, *, network: bytes) -> None:
    """The files that a run would have left."""
    (folder / "recipe").mkdir(parents=True)
    (folder / "recipe" / "recipe.yaml").write_text(f"name: {NAME}\n")
    (folder / "model.onnx").write_bytes(network)
    spec = FeatureSpec(
        numeric=(NumericFeature(name="torque", unit="N.m"),),
        categorical=(),
        target="machine_failure",
        output="probability",
        threshold=0.5,
    )
    (folder / "features.json").write_text(json.dumps(spec.to_json()))
    (folder / "request.json").write_text(json.dumps({"evaluate": {"primary": "f1"}}))
    torque = Column(name="torque", source="Torque [Nm]", concept="torque", unit="N.m")
    target = Column(name="machine_failure", source="failure", concept="machine_failure", kind="boolean", dtype="bool")
    created = "2026-11-22T09:00:00Z"
    Manifest(
        name="mill-7", version=2, owner="officina-uno", created=created, columns=(torque, target), rows=10_000
    ).save(folder / "manifest.json")


def register(
    home: HomePaths,
    folder: Path,
    *,
    version: str = "1.0.0",
    network: bytes = b"network",
    f1: float = 0.8,
    test: bool = False,
) -> str:
    write_files(folder, network=network)
    if test:
        (folder / "request.json").write_text(json.dumps({"evaluate": {"primary": "f1"}, "test": True}))
    draft = ReleaseDraft(
        name=NAME,
        recipe_version="1.0.0",
        run_id="mill-failures-1",
        identity=digest.of_bytes(version.encode()),
        created="2026-11-22T10:00:00Z",
        title="Mill failures",
        summary="Which mill fails next.",
        licence="Apache-2.0",
        authors=("Officina Uno",),
        model_files=[
            ReleaseFile(path=folder / "model.onnx", name="model.onnx", media="weight"),
            ReleaseFile(path=folder / "features.json", name="features.json", media="weight.config"),
        ],
        recipe_root=folder / "recipe",
        request_path=folder / "request.json",
        dataset_docs=[DatasetDocument(name="mill-7", manifest=folder / "manifest.json")],
        annotations={**metric_annotations({"f1": f1, "recall": 0.75}, {"f1": 0.7}), GATE: "passed"},
    )
    return write_release(repository(home), draft, version)


def repository(home: HomePaths) -> OciLayout:
    return OciLayout(home.repository("local", "model", NAME))


def alter_one_byte(home: HomePaths, name: str) -> Path:
    layout = repository(home)
    file = contents(layout, layout.resolve("1.0.0")).find(name)
    assert file is not None
    path = layout.path(file.digest)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    return path


def test_list_says_that_there_is_nothing_yet(forgia_command: Forgia) -> None:
    done = forgia_command("model", "list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no models yet" in done.stderr
    assert json.loads(forgia_command("model", "list", "--json").stdout) == {"schema_version": 1, "models": []}


def test_list_shows_the_latest_version_with_its_figure(forgia_command: Forgia, home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "a", version="1.0.9", f1=0.8)
    register(home, tmp_path / "b", version="1.0.10", f1=0.8125)
    assert forgia_command("model", "alias", f"{NAME}@1.0.9", "champion").exit_code == 0
    headers, line = forgia_command("model", "list").stdout.splitlines()
    assert headers.split() == ["name", "latest", "versions", "aliases", "figure", "size", "created", "(UTC)"]
    for word in (NAME, "1.0.10", "champion→1.0.9", "f1 0.8125", "2026-11-22 10:00:00"):
        assert word in line
    (model,) = json.loads(forgia_command("model", "list", "--json").stdout)["models"]
    assert (model["latest"], model["versions"], model["value"]) == ("1.0.10", ["1.0.9", "1.0.10"], 0.8125)


def test_show_tells_figures_data_recipe_run_and_files(forgia_command: Forgia, home: HomePaths, tmp_path: Path) -> None:
    made = register(home, tmp_path / "a")
    done = forgia_command("model", "show", NAME)
    assert done.exit_code == 0
    for line in (f"{NAME}@1.0.0", made, "mill-failures-1", "Apache-2.0", "mill-7@2", "officina-uno", "passed"):
        assert line in done.stdout
    assert ["f1", "*", "0.8000", "0.7000"] in [line.split() for line in done.stdout.splitlines()]
    assert ["recall", "0.7500", "–"] in [line.split() for line in done.stdout.splitlines()]
    assert any(line.startswith("model.onnx") and "7 B" in line for line in done.stdout.splitlines())
    found = json.loads(forgia_command("model", "show", f"{NAME}@1.0.0", "--json").stdout)
    assert (found["schema_version"], found["digest"], found["metrics"]["f1"]) == (1, made, 0.8)
    assert found["datasets"][0]["rows"] == 10_000


def test_a_version_of_a_test_is_shown_as_one(forgia_command: Forgia, home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "a", test=True)
    assert "1.0.0 (test)" in forgia_command("model", "list").stdout
    assert "small test settings (--test)" in forgia_command("model", "show", NAME).stdout
    pulled = forgia_command("model", "pull", NAME, "--to", str(tmp_path / "pulled"))
    assert f"warning: {NAME}@1.0.0 was made with the recipe's small test settings" in pulled.stderr
    register(home, tmp_path / "b", version="1.0.1")
    register(home, tmp_path / "c", version="1.0.2", test=True)
    assert json.loads(forgia_command("model", "show", NAME, "--json").stdout)["version"] == "1.0.1"
    (model,) = json.loads(forgia_command("model", "list", "--json").stdout)["models"]
    assert (model["latest"], model["tests"]) == ("1.0.1", ["1.0.0", "1.0.2"])
    assert "warning" not in forgia_command("model", "pull", NAME, "--to", str(tmp_path / "other")).stderr


def test_a_prediction_says_that_its_model_is_one_of_a_test(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path
) -> None:
    register(home, tmp_path / "a", network=torque_network(), test=True)
    (tmp_path / "new.csv").write_text("Torque [Nm]\n40\n60\n")
    done = forgia_command("predict", NAME, str(tmp_path / "new.csv"), "-o", str(tmp_path / "scored.csv"))
    assert done.exit_code == 0, done.stderr
    assert f"warning: {NAME}@1.0.0 was made with the recipe's small test settings" in done.stderr


@pytest.mark.parametrize("verb", ["show", "pull", "verify"])
def test_an_unknown_model_ends_with_the_nearest_name(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path, verb: str
) -> None:
    register(home, tmp_path / "a")
    done = forgia_command("model", verb, "mill-failure")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "did you mean mill-failures?" in done.stderr


def test_pull_writes_a_folder_and_names_it_on_stdout(forgia_command: Forgia, home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "a")
    done = forgia_command("model", "pull", NAME, "--to", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'out'}\n")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"network"
    assert (tmp_path / "out" / "recipe" / "recipe.yaml").is_file()
    again = forgia_command("model", "pull", NAME, "--to", tmp_path / "out")
    assert again.exit_code == 4
    assert "not an empty folder" in again.stderr


def test_pull_without_a_folder_makes_one_here(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(home, tmp_path / "a")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert forgia_command("model", "pull", NAME).exit_code == 0
    assert (tmp_path / "here" / "mill-failures-1.0.0" / "release.json").is_file()


def test_verify_passes_and_then_fails_on_one_changed_byte(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path
) -> None:
    register(home, tmp_path / "a")
    done = forgia_command("model", "verify", f"{NAME}@1.0.0")
    assert (done.exit_code, done.stdout) == (0, f"{NAME}@1.0.0: verified 6 files, 0.0 MB\n")
    assert json.loads(forgia_command("model", "verify", NAME, "--json").stdout)["files"] == 6
    path = alter_one_byte(home, "model.onnx")
    failed = forgia_command("model", "verify", f"{NAME}@1.0.0")
    assert (failed.exit_code, failed.stdout) == (1, "")
    for word in ("model.onnx", str(path), "is not what its digest says", "expected sha256:", "found sha256:"):
        assert word in failed.stderr


def test_an_alias_moves_and_says_from_where(forgia_command: Forgia, home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "a", version="1.0.0")
    register(home, tmp_path / "b", version="1.0.1", network=b"better")
    forgia_command("model", "alias", f"{NAME}@1.0.0", "champion")
    done = forgia_command("model", "alias", f"{NAME}@1.0.1", "champion")
    assert done.stderr == "mill-failures@champion is mill-failures@1.0.1 (was 1.0.0)\n"
    assert json.loads(forgia_command("model", "show", f"{NAME}@champion", "--json").stdout)["version"] == "1.0.1"
    refused = forgia_command("model", "alias", f"{NAME}@1.0.1", "2.0.0")
    assert refused.exit_code == 2
    assert "choose a word such as champion" in refused.stderr


def test_predict_scores_a_csv_and_refuses_an_altered_model(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    register(home, tmp_path / "a", network=torque_network())
    (tmp_path / "new.csv").write_text("Coppia [Nm];guasto\n10,0;0\n70,0;1\n90,0;1\n")
    done = forgia_command("predict", f"{NAME}@1.0.0", tmp_path / "new.csv", "-o", tmp_path / "scored.parquet")
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("scored.parquet: 3 rows, 2 predicted true (threshold 0.5)\n")
    table = pq.read_table(tmp_path / "scored.parquet")
    assert table.column_names == ["torque", "machine_failure", "prediction", "predicted"]
    assert table["prediction"].to_pylist() == pytest.approx([0.1, 0.7, 0.9])
    assert table["predicted"].to_pylist() == [False, True, True]
    strict = ("predict", NAME, tmp_path / "new.csv", "-o", tmp_path / "strict.csv", "--threshold", "0.8")
    assert "1 predicted true (threshold 0.8)" in forgia_command(*strict).stderr
    for name in ("model.onnx", "features.json", "recipe/recipe.yaml"):
        path = alter_one_byte(home, name)
        failed = forgia_command("predict", NAME, tmp_path / "new.csv", "-o", tmp_path / "never.parquet")
        assert failed.exit_code == 1
        assert name in failed.stderr
        assert not list(tmp_path.glob("never*"))
        alter_one_byte(home, name)
        assert path.is_file()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (".", "is a folder"),
        ("new.csv", "would take the place of its own input"),
        ("scored.xlsx", "name it .parquet or .csv"),
        ("no-folder/scored.csv", "there is no folder"),
    ],
)
def test_predict_refuses_an_output_it_cannot_write_before_it_reads(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path, output: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    register(home, tmp_path / "a", network=torque_network())
    monkeypatch.chdir(tmp_path)
    Path("new.csv").write_text("torque [Nm]\n10\n")
    done = forgia_command("predict", NAME, "new.csv", "-o", output)
    assert done.exit_code == 2
    assert said in done.stderr
    assert Path("new.csv").read_text() == "torque [Nm]\n10\n"


def test_predict_on_a_full_disk_names_the_output_and_leaves_nothing(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    register(home, tmp_path / "a", network=torque_network())
    (tmp_path / "new.csv").write_text("torque [Nm],day\n10,1\n")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_table", full)
    done = forgia_command("predict", NAME, tmp_path / "new.csv", "-o", tmp_path / "scored.parquet")
    assert done.exit_code == 1
    assert "scored.parquet cannot be written: No space left on device" in done.stderr
    assert not list(tmp_path.glob("*scored*"))


def test_predict_writes_csv_whatever_the_case_of_its_suffix(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    register(home, tmp_path / "a", network=torque_network())
    (tmp_path / "new.csv").write_text("torque [Nm],day\n10,1\n")
    forgia_command("predict", NAME, tmp_path / "new.csv", "-o", tmp_path / "SCORED.CSV")
    assert (tmp_path / "SCORED.CSV").read_text().startswith('"torque"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Speed [rpm],day\n1,2\n", "torque"),
        ("", "empty"),
        ("Torque [degC],day\n1,2\n", "torque"),
        ("torque [Nm],day\n", "no rows"),
        ("torque [Nm],day\nx,2\n", "torque"),
    ],
)
def test_predict_refuses_an_input_it_cannot_use_and_writes_nothing(
    forgia_command: Forgia, home: HomePaths, tmp_path: Path, text: str, said: str
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    register(home, tmp_path / "a", network=torque_network())
    (tmp_path / "new.csv").write_text(text)
    done = forgia_command("predict", NAME, tmp_path / "new.csv", "-o", tmp_path / "scored.parquet")
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("*scored*"))
