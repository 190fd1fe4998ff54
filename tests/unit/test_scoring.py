"""Scoring with a registered model: right numbers, every byte checked first, whole files or none."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from forgia import digest, scoring
from forgia.catalogue import Catalogue
from forgia.dataset.dialect import ReadOptions
from forgia.dataset.manifest import Column, Manifest
from forgia.dataset.mapping import Entry
from forgia.errors import IntegrityError, NotFound, UserError
from forgia.features import CategoricalFeature, FeatureSpec, NumericFeature
from forgia.paths import HomePaths
from forgia.registry.contents import contents
from forgia.registry.layout import OciLayout
from forgia.registry.publish import write_release
from forgia.release import DatasetDocument, ReleaseDraft, ReleaseFile
from forgia.scoring import Model, as_in_training, load_release, score, score_file
from forgia.vocabulary import Vocabulary
from forgia_cli.model.rendering import scored_text

onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
pytest.importorskip("onnxruntime", reason="needs the extra [predict]")

ORGANISATION = "officina-uno"
WEIGHTS = np.array([0.5, -0.25], dtype=np.float32)
GRADE_WEIGHT = 0.125
DTYPES = {"number": "double", "category": "string", "boolean": "bool"}


def network(*, logistic: bool) -> bytes:
    """The features times fixed weights plus the category's code times another; a missing feature counts as zero."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "numeric"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["measured"]),
        helper.make_node("Cast", ["categorical"], ["codes"], to=kinds.FLOAT),
        helper.make_node("MatMul", ["codes", "grades"], ["graded"]),
        helper.make_node("Add", ["measured", "graded"], ["sum"]),
        helper.make_node("Sigmoid" if logistic else "Identity", ["sum"], ["output"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        onnx.numpy_helper.from_array(WEIGHTS, "weights"),
        onnx.numpy_helper.from_array(np.array([GRADE_WEIGHT], np.float32), "grades"),
    ]
    inputs = [
        helper.make_tensor_value_info("numeric", kinds.FLOAT, ["batch", 2]),
        helper.make_tensor_value_info("categorical", kinds.INT64, ["batch", 1]),
    ]
    outputs = [helper.make_tensor_value_info("output", kinds.FLOAT, ["batch"])]
    graph = helper.make_graph(nodes, "example", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def features(*, logistic: bool) -> FeatureSpec:
    return FeatureSpec(
        numeric=(NumericFeature(name="torque", unit="N.m"), NumericFeature(name="air_temperature", unit="K")),
        categorical=(CategoricalFeature(name="product_grade", categories=("H", "L", "M")),),
        target="machine_failure",
        output="probability" if logistic else "value",
        threshold=0.6 if logistic else None,
    )


def manifest() -> Manifest:
    """The papers of the data it was trained on."""
    bound = {"machine_id": "category", "torque": "number", "air_temperature": "number"}
    units = {"torque": "N.m", "air_temperature": "K"}
    columns = [
        Column(name=name, source=name.upper(), concept=name, kind=kind, dtype=DTYPES[kind], unit=units.get(name))
        for name, kind in {**bound, "product_grade": "category", "machine_failure": "boolean"}.items()
    ]
    return Manifest(
        name="mill-7", version=2, owner=ORGANISATION, created="2026-11-22T09:00:00Z", columns=tuple(columns)
    )


def register(home: HomePaths, folder: Path, *, logistic: bool = True, name: str = "mill-failures") -> None:
    """A release with a real ONNX network, in the registry as 1.0.0."""
    (folder / "recipe").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(network(logistic=logistic))
    (folder / "features.json").write_text(json.dumps(features(logistic=logistic).to_json()))
    (folder / "metrics.json").write_text('{"evaluation": {"f1": 0.8}}')
    (folder / "README.md").write_text("# Card\n")
    (folder / "request.json").write_text('{"recipe": {}}')
    manifest().save(folder / "manifest.json")
    draft = ReleaseDraft(
        name=name,
        recipe_version="1.0.0",
        run_id="mill-1",
        identity=digest.of_json({"recipe": {}}),
        created="2026-11-22T10:00:00Z",
        title="Mill failures",
        summary="",
        licence="Apache-2.0",
        authors=(),
        model_files=[
            ReleaseFile(path=folder / "model.onnx", name="model.onnx", media="weight"),
            ReleaseFile(path=folder / "features.json", name="features.json", media="weight.config"),
            ReleaseFile(path=folder / "metrics.json", name="metrics.json", media="doc"),
            ReleaseFile(path=folder / "README.md", name="README.md", media="doc"),
        ],
        recipe_root=folder / "recipe",
        request_path=folder / "request.json",
        dataset_docs=[DatasetDocument(name="mill-7", manifest=folder / "manifest.json")],
    )
    write_release(OciLayout(home.repository(ORGANISATION, "model", name)), draft, "1.0.0")


@pytest.fixture
def model(home: HomePaths, tmp_path: Path) -> Model:
    register(home, tmp_path / "made")
    return load_release(home, ORGANISATION, "mill-failures@1.0.0")


def rows(count: int, *, start: int = 0) -> pa.Table:
    steps = np.arange(start, start + count, dtype=np.float64)
    return pa.table(
        {
            "machine_id": pa.array([f"m{step:.0f}" for step in steps]),
            "torque": pa.array(steps / 10),
            "air_temperature": pa.array(steps % 7, mask=steps % 5 == 0),
            "product_grade": pa.array([["H", "L", None, "M", "Z"][int(step) % 5] for step in steps], pa.string()),
        }
    )


def expected(table: pa.Table) -> np.ndarray:
    """The same function written again in plain numpy."""
    torque = table["torque"].to_numpy()
    air = np.nan_to_num(table["air_temperature"].to_numpy(zero_copy_only=False))
    codes = np.array([{"H": 1, "L": 2, "M": 3}.get(grade, 0) for grade in table["product_grade"].to_pylist()])
    return 1 / (1 + np.exp(-(torque * WEIGHTS[0] + air * WEIGHTS[1] + codes * GRADE_WEIGHT)))


def test_predictions_stand_beside_the_rows_they_belong_to(model: Model) -> None:
    table = rows(100)
    scored = model.predict(table)
    assert scored.column_names == [*table.column_names, "prediction", "predicted"]
    assert scored.select(table.column_names).equals(table)
    assert scored.schema.field("prediction").type == pa.float32()
    np.testing.assert_allclose(scored["prediction"].to_numpy(), expected(table), rtol=1e-5)
    assert scored["predicted"].to_pylist() == [bool(value >= 0.6) for value in scored["prediction"].to_numpy()]


def test_the_size_of_a_chunk_changes_no_prediction(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = model.predict(rows(101))
    monkeypatch.setattr("forgia.scoring.model.CHUNK_ROWS", 7)
    assert model.predict(rows(101)).equals(whole)


def test_a_table_without_rows_gives_no_predictions(model: Model) -> None:
    assert model.predict(rows(0)).num_rows == 0


def test_a_threshold_of_ones_own_moves_the_answer_and_not_the_probability(model: Model) -> None:
    ours, strict = model.predict(rows(50)), model.predict(rows(50), threshold=1.0)
    assert strict["prediction"].equals(ours["prediction"])
    assert not any(strict["predicted"].to_pylist())
    assert any(ours["predicted"].to_pylist())
    with pytest.raises(UserError, match="between 0 and 1"):
        model.predict(rows(1), threshold=1.5)


def test_a_model_of_values_predicts_values_and_has_no_threshold(home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "made", logistic=False)
    model = load_release(home, ORGANISATION, "mill-failures")
    table = rows(20)
    scored = model.predict(table)
    assert scored.column_names == [*table.column_names, "prediction"]
    odds = expected(table)
    np.testing.assert_allclose(scored["prediction"].to_numpy(), np.log(odds / (1 - odds)), rtol=1e-4, atol=1e-6)
    with pytest.raises(UserError, match="no meaning"):
        model.predict(table, threshold=0.5)
    assert score(model, [table], tmp_path / "out.parquet").predicted is None


def test_missing_columns_are_all_named(model: Model) -> None:
    with pytest.raises(UserError) as caught:
        model.predict(rows(3).drop_columns(["torque", "product_grade"]))
    assert {problem.field for problem in caught.value.problems} == {"torque", "product_grade"}


def test_a_table_that_is_scored_already_is_refused(model: Model) -> None:
    with pytest.raises(UserError, match="already has a column predicted, prediction"):
        model.predict(model.predict(rows(3)))


def test_a_model_brings_its_card_and_metrics(model: Model) -> None:
    assert (model.ref, model.card, model.metrics) == ("mill-failures@1.0.0", "# Card\n", {"evaluation": {"f1": 0.8}})


def test_scoring_in_batches_writes_one_parquet_file_that_names_its_model(model: Model, tmp_path: Path) -> None:
    done = score(model, [rows(40), rows(60, start=40)], tmp_path / "scored.parquet")
    table = pq.read_table(done.path)
    assert table.equals(model.predict(rows(100)))
    assert (done.rows, done.threshold) == (100, 0.6)
    assert done.predicted == sum(table["predicted"].to_pylist())
    assert table.schema.metadata[b"forgia.model"] == b"mill-failures@1.0.0"
    assert table.schema.metadata[b"forgia.digest"] == model.digest.encode()


def test_scoring_to_csv_writes_csv(model: Model, tmp_path: Path) -> None:
    score(model, [rows(10), rows(10, start=10)], tmp_path / "scored.csv")
    table = pacsv.read_csv(tmp_path / "scored.csv")
    assert table.num_rows == 20
    np.testing.assert_allclose(table["prediction"].to_numpy(), expected(rows(20)), rtol=1e-5)


def test_what_fails_half_way_leaves_the_old_file_as_it_was(model: Model, tmp_path: Path) -> None:
    output = tmp_path / "out" / "scored.parquet"
    output.parent.mkdir()
    output.write_bytes(b"old")

    def broken() -> Iterator[pa.Table]:
        yield rows(10)
        raise KeyboardInterrupt

    for batches, error in (
        (broken(), KeyboardInterrupt),
        ([rows(10).drop_columns("torque")], UserError),
        ([], UserError),
    ):
        with pytest.raises(error):
            score(model, batches, output)
        assert output.read_bytes() == b"old"
        assert list(output.parent.iterdir()) == [output]


def test_every_altered_byte_stops_a_prediction(home: HomePaths, tmp_path: Path) -> None:
    register(home, tmp_path / "made")
    layout = OciLayout(home.repository(ORGANISATION, "model", "mill-failures"))
    for file in contents(layout, layout.resolve("1.0.0")).files():
        path = layout.path(file.digest)
        good = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=file.title):
            load_release(home, ORGANISATION, "mill-failures")
        path.write_bytes(good)
    assert load_release(home, ORGANISATION, "mill-failures")


def test_an_unknown_model_is_not_found(home: HomePaths) -> None:
    with pytest.raises(NotFound):
        load_release(home, ORGANISATION, "mill-failures")


def test_without_onnxruntime_the_way_out_is_named(
    home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(home, tmp_path / "made")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError) as caught:
        load_release(home, ORGANISATION, "mill-failures")
    assert caught.value.hint == "pip install 'forgia[predict]'"


def test_a_file_that_is_no_network_is_told_without_a_stack(
    home: HomePaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "network", lambda *, logistic: b"not a network")
    register(home, tmp_path / "made")
    with pytest.raises(UserError, match=r"model\.onnx of mill-failures@1\.0\.0 cannot be run by onnxruntime"):
        load_release(home, ORGANISATION, "mill-failures")


# Files as firms have them


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.load(Catalogue())


def score_text(text: str, folder: Path, model: Model, vocabulary: Vocabulary) -> scoring.Scored:
    source = folder / "new.csv"
    source.write_text(text)
    return score_file(model, source, folder / "scored.parquet", vocabulary=vocabulary)


def test_a_file_with_other_headers_and_units_gets_the_same_predictions(
    model: Model, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    text = "Coppia [Nm];Temperatura aria [°C];product_grade\n1,5;26,85;H\n2,5;;L\n"
    done = score_text(text, tmp_path, model, vocabulary)
    table = pq.read_table(done.path)
    same = pa.table(
        {"torque": [1.5, 2.5], "air_temperature": [300.0, None], "product_grade": pa.array(["H", "L"], pa.string())}
    )
    assert table.column_names == ["torque", "air_temperature", "product_grade", "prediction", "predicted"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), model.predict(same)["prediction"].to_numpy(), rtol=1e-5)
    assert (done.rows, done.rejected) == (2, 0)


def test_rows_that_do_not_parse_are_told_and_kept_beside(model: Model, vocabulary: Vocabulary, tmp_path: Path) -> None:
    good = "".join(f"{number},300,H\n" for number in range(50))
    done = score_text(
        f"torque [Nm],air_temperature [K],product_grade\n{good}broken,300,H\n", tmp_path, model, vocabulary
    )
    assert (done.rows, done.rejected, done.rejects) == (50, 1, tmp_path / "scored.rejects.csv")
    assert ",52," in (tmp_path / "scored.rejects.csv").read_text().splitlines()[1]


def test_rejects_of_an_earlier_output_go_and_nothing_else_of_that_name(
    model: Model, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    place = tmp_path / "scored.rejects.csv"
    text = "torque [Nm],air_temperature [K],product_grade\n" + "".join(f"{number},300,H\n" for number in range(50))
    assert score_text(text + "broken,300,H\n", tmp_path, model, vocabulary).rejects == place
    assert score_text(text, tmp_path, model, vocabulary).rejects is None
    assert not place.exists()
    place.write_text(text)
    score_text(text, tmp_path, model, vocabulary)
    assert place.read_text() == text
    with pytest.raises(UserError, match="would take the place of its own input"):
        score_file(model, place, tmp_path / "scored.parquet", vocabulary=vocabulary)


def test_what_a_forecast_could_not_read_is_told_as_missing_readings(tmp_path: Path) -> None:
    done = scoring.Scored(path=tmp_path / "day.csv", rows=24, predicted=None, threshold=None, rejected=20)
    assert "20 rows could not be read and are not in it" in scored_text(done)
    assert "so many readings are missing to the history" in scored_text(replace(done, is_forecast=True))


def test_a_file_without_a_feature_writes_nothing(model: Model, vocabulary: Vocabulary, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="air_temperature"):
        score_text("torque [Nm],product_grade\n1,H\n", tmp_path, model, vocabulary)
    assert not list(tmp_path.glob("scored*"))


def test_a_header_of_the_training_data_means_what_it_meant_there_and_that_is_said(
    model: Model, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    done = score_text("torque,air_temperature,product_grade\n1.5,300,H\n", tmp_path, model, vocabulary)
    assert done.rows == 1
    assert done.assumed == (
        "'torque' is read as in the training data: torque, N.m",
        "'air_temperature' is read as in the training data: air_temperature, K",
    )


def test_a_header_that_meant_two_things_is_not_assumed() -> None:
    def column(unit: str, *, source: str = "Temp") -> Column:
        return Column(name="air_temperature", source=source, concept="air_temperature", unit="K", source_unit=unit)

    assert as_in_training("Temp", [column("K"), column("K")]) == Entry(concept="air_temperature", unit="K")
    assert as_in_training("Temp", [column("Cel"), column("K")]) is None
    assert as_in_training("air_temperature", [column("Cel")]) == Entry(concept="air_temperature", unit="K")
    assert as_in_training("air_temperature", [column("Cel", source="air_temperature")]) is None
    assert as_in_training("Other", [column("K")]) is None


def test_columns_that_nobody_reads_and_those_without_a_value_are_named(
    model: Model, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    text = "torque [Nm],air_temperature [K],product_grade,Foo,machine_failure\n1.5,,H,1,up\n2.5,,L,2,down\n"
    done = score_text(text, tmp_path, model, vocabulary)
    assert done.unused == ("Foo", "machine_failure")
    assert done.assumed == ("'air_temperature [K]' (air_temperature) has no value in any row",)


def test_a_prediction_never_tells_of_options_that_it_does_not_have(
    model: Model, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    for text in ("a,a\n1,2\n", "1,2,3\n4,5,6\n", 'a,b\n1,"1,234"\n'):
        source = tmp_path / "new.csv"
        source.write_text(text)
        options = ReadOptions(is_import=False)
        with pytest.raises(UserError) as caught:
            score_file(model, source, tmp_path / "scored.parquet", vocabulary=vocabulary, options=options)
        assert "--" not in str(caught.value.hint)


def test_the_order_of_columns_changes_no_prediction(model: Model, vocabulary: Vocabulary, tmp_path: Path) -> None:
    columns = {"torque [Nm]": "1.5", "air_temperature [K]": "300", "product_grade": "H", "Foo": "7"}
    found = set()
    for headers in itertools.permutations(columns):
        text = ",".join(headers) + "\n" + ",".join(columns[header] for header in headers) + "\n"
        found.add(pq.read_table(score_text(text, tmp_path, model, vocabulary).path)["prediction"][0].as_py())
    assert len(found) == 1


def test_a_feature_means_what_its_datasets_say_and_nothing_beside(model: Model) -> None:
    told = {column.name for column in model.origins if column.concept}
    assert {column.name for column in model.origins if not column.concept}.isdisjoint(told)
    assert set(model.spec.columns) <= {column.name for column in model.origins}
