"""Images on the node and where a model is used: the same numbers, the same classes; and the recipe that learns."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from forgia import images, recipe, scoring
from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia.paths import HomePaths
from forgia.splitting import PARTS
from forgia.vocabulary import Vocabulary
from forgia_jobs.judging import baseline
from forgia_jobs.request import Columns, Role, SplitRule
from forgia_jobs.samples import data, loading
from forgia_jobs.samples import images as samples
from forgia_jobs.task import TrainingTask, load_task
from forgia_jobs.telling import export

RECIPE = Path(__file__).parents[2] / "recipes" / "visual-inspection"
PARAMS: dict[str, Any] = {
    **{"network": "cnn", "width": 8, "depth": 1, "patch": 4, "dropout": 0.0, "turns": True, "shift": 0.1, "light": 0.1},
    "pretrained": "",
}


def photograph(label: str, number: int) -> bytes:
    """A grey part; a scratched one has a white line, a dented one a black square."""
    pixels = np.random.default_rng(number).integers(90, 130, (20, 24), dtype=np.uint8)
    if label == "scratch":
        pixels[4 + number % 8] = 255
    if label == "dent":
        pixels[5:11, 6 + number % 8 : 12 + number % 8] = 0
    place = io.BytesIO()
    Image.fromarray(pixels).save(place, "JPEG" if number % 2 else "PNG", **({"quality": 95} if number % 2 else {}))
    return place.getvalue()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """64 photographs of 32 parts, two of each; the last four without a class."""
    root = tmp_path_factory.mktemp("parts")
    lines = [("file", "label", "part_id")]
    for number in range(64):
        label = {0: "scratch", 1: "dent"}.get(number // 2 % 4, "good")
        (root / f"{number:02}.png").write_bytes(photograph(label, number))
        lines.append((f"{number:02}.png", label if number < 60 else "", f"P{number // 2}"))
    with (root / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    home = HomePaths(tmp_path_factory.mktemp("home"))
    vocabulary = Vocabulary.load(Catalogue())
    return ingest.add(home, "parts", [root], owner="acme", vocabulary=vocabulary).dataset


def role(**changes: Any) -> Role:
    columns = Columns(numeric=(), categorical=(), target="defect_type", group="part_id", image="part_image")
    fields: dict[str, Any] = {
        "columns": columns,
        "split": SplitRule(by="group", fractions=(0.5, 0.25, 0.25)),
        "samples": {"kind": "images", "size": 16, "channels": 1},
        "output": "classes",
        "normal": "good",
    }
    return Role(name="parts", datasets=(), units={}, **{**fields, **changes})


@pytest.fixture
def task() -> TrainingTask:
    torch.manual_seed(0)
    return load_task(RECIPE, "task:VisualInspection")


def test_photographs_of_one_part_stay_together_and_every_part_has_every_class(dataset: Dataset) -> None:
    found = loading.load(role(), [dataset])
    assert found.spec.classes == ("dent", "good", "scratch")
    assert found.left_out == 4
    groups = [set(found.groups[found.split.part(part)].tolist()) for part in PARTS]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    for part in PARTS:
        assert set(found.targets(part).tolist()) == {0, 1, 2}
    counts = data.describe(found)["test"]["classes"]
    assert counts["good"] == pytest.approx(2 * counts["dent"], abs=2)


@pytest.mark.parametrize("limit", [1 << 30, 0], ids=["decoded", "encoded"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_sees_what_forgia_decodes_from_memory_or_from_a_file(
    dataset: Dataset, limit: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "DECODED_BYTES", limit)
    found = loading.load(role(samples={"kind": "images", "size": 16, "channels": channels}), [dataset])
    table = dataset.to_table(["part_image", "defect_type"])
    kept = table.filter(table.column("defect_type").is_valid())
    chosen = torch.tensor([7, 0, 59, 7])
    seen = found.source.to(torch.device("cpu")).inputs(chosen)["image"]
    expected = [
        images.pixels(kept["part_image"][place].as_py(), size=16, channels=channels) for place in chosen.tolist()
    ]
    assert np.array_equal(seen.numpy(), images.as_input(np.stack(expected)))
    assert found.source.flat(np.arange(5)).matrix.shape == (5, channels * (2 * 64 + 16))


def test_weights_make_rare_classes_count_as_much_as_common_ones() -> None:
    target = torch.tensor([1, 1, 1, 1, 0, 2])
    weight = data.balanced_weights(target)
    assert [float(weight[target == code].sum()) for code in range(3)] == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normal": "buono"}, "no image is buono, the normal class of the recipe; there are dent, good, scratch"),
        ({"columns": Columns(numeric=(), categorical=(), target="defect_type")}, "no dataset has a column of images"),
        ({"split": SplitRule(by="group", fractions=(0.04, 0.06, 0.9))}, "the training part has no image of"),
    ],
)
def test_data_that_cannot_be_learnt_from_is_told(dataset: Dataset, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        loading.load(role(**changes), [dataset])


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        (", normal: good}", "}", "say which class is the normal one"),
        ("kind: image}", "kind: text}", "images need a column with kind: image"),
        ("output: classes", "output: value", "output value of images: it can be classes"),
    ],
)
def test_what_a_recipe_of_images_needs_is_said(tmp_path: Path, written: str, instead: str, said: str) -> None:
    folder = shutil.copytree(RECIPE, tmp_path / "mine")
    text = (folder / recipe.FILE_NAME).read_text()
    assert written in text
    (folder / recipe.FILE_NAME).write_text(text.replace(written, instead))
    with pytest.raises(UserError, match=said):
        recipe.load(folder, Vocabulary.load(Catalogue()))


def test_trees_give_a_probability_of_each_class(dataset: Dataset) -> None:
    found = baseline.predictions("gradient-boosted-trees", loading.load(role(), [dataset]), seed=0)
    assert found["test"].shape[1] == 3
    assert found["test"].sum(axis=1) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("network", ["cnn", "vit"])
def test_a_few_steps_lower_the_loss_and_every_parameter_learns(
    network: str, dataset: Dataset, task: TrainingTask
) -> None:
    found = loading.load(role(), [dataset])
    model = task.model(found.spec, {**PARAMS, "network": network})
    batch = found.samples("train", device=torch.device("cpu")).batch(torch.arange(24))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        loss = task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_is_changed_at_random_follows_from_torchs_generator_alone(dataset: Dataset, task: TrainingTask) -> None:
    found = loading.load(role(), [dataset])
    model = task.model(found.spec, PARAMS)
    batch = found.samples("train", device=torch.device("cpu")).batch(torch.arange(8))

    def after(seed: int) -> float:
        torch.manual_seed(seed)
        return task.loss(model, batch).item()

    assert after(1) == after(1)
    assert after(1) != after(2)
    still = {**PARAMS, "turns": False, "shift": 0.0, "light": 0.0}
    assert task.loss(task.model(found.spec, still), batch).item() > 0


def test_training_that_goes_on_from_a_checkpoint_ends_in_the_same_weights(dataset: Dataset, task: TrainingTask) -> None:
    found = loading.load(role(), [dataset])
    training = found.samples("train", device=torch.device("cpu"))

    def steps(model: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for step in range(count):
            optimizer.zero_grad()
            task.loss(model, training.batch(torch.arange(8) + step % 2)).backward()
            optimizer.step()

    whole = task.model(found.spec, PARAMS)
    begun = task.model(found.spec, PARAMS)
    begun.load_state_dict(whole.state_dict())
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.01) for model in (whole, begun)]
    torch.manual_seed(3)
    steps(whole, optimizers[0], 4)
    torch.manual_seed(3)
    steps(begun, optimizers[1], 2)
    kept, generator = begun.state_dict(), torch.get_rng_state()
    gone_on = task.model(found.spec, PARAMS)
    gone_on.load_state_dict(kept)
    again = torch.optim.AdamW(gone_on.parameters(), lr=0.01)
    again.load_state_dict(optimizers[1].state_dict())
    torch.set_rng_state(generator)
    steps(gone_on, again, 2)
    assert all(torch.equal(tensor, gone_on.state_dict()[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("network", ["cnn", "vit"])
def test_an_answer_does_not_depend_on_the_images_beside_it(network: str, task: TrainingTask) -> None:
    model = task.model(spec(), {**PARAMS, "network": network}).eval()
    seen = torch.rand(5, 1, 16, 16)
    together = task.predict(model, {"image": seen})
    assert together.sum(dim=1).tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert task.predict(model, {"image": seen[2:3]})[0].tolist() == pytest.approx(together[2].tolist(), abs=1e-5)


def spec(classes: tuple[str, ...] = ("dent", "good", "scratch"), **changes: Any) -> FeatureSpec:
    fields: dict[str, Any] = {
        "samples": {"kind": "images", "size": 16, "channels": 1, "column": "part_image"},
        "normal": "good",
        "threshold": 0.4,
    }
    return FeatureSpec(
        numeric=(), categorical=(), target="defect_type", output="classes", classes=classes, **{**fields, **changes}
    )


def test_earlier_weights_are_taken_and_the_head_begins_anew_for_other_classes(
    task: TrainingTask, tmp_path: Path
) -> None:
    first = task.model(spec(), PARAMS)
    save_file(first.state_dict(), tmp_path / "model.safetensors")
    given = {**PARAMS, "pretrained": str(tmp_path / "model.safetensors")}
    again = task.model(spec(), given)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    other = task.model(spec(("crack", "good")), given).state_dict()
    assert torch.equal(other["stem.weight"], first.state_dict()["stem.weight"])
    assert other["head.weight"].shape == (2, 64)


def test_weights_of_another_network_are_refused_tensor_by_tensor(task: TrainingTask, tmp_path: Path) -> None:
    save_file(task.model(spec(), {**PARAMS, "width": 16}).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError) as caught:
        task.model(spec(), {**PARAMS, "pretrained": str(tmp_path)})
    assert "stem.weight: is (16, 1, 5, 5); the network has (8, 1, 5, 5)" in str(caught.value)
    assert "params.network, width, depth" in (caught.value.hint or "")


def test_a_patch_larger_than_the_image_is_refused(task: TrainingTask) -> None:
    with pytest.raises(UserError, match="choose a smaller patch"):
        task.model(spec(), {**PARAMS, "network": "vit", "patch": 32})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> scoring.Model:
    """A network of random weights, as a release holds it."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra [predict]")
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    task, network = made(7)
    export.write_onnx(path, task, network, sample={"image": torch.rand(2, 1, 16, 16)})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fields = {"ref": "castings@1.0.0", "digest": "sha256:0", "card": "", "columns": (), "origins": (), "metrics": {}}
    return scoring.Model(spec=FeatureSpec.from_json(spec().to_json()), session=session, **fields)


def made(seed: int) -> tuple[TrainingTask, torch.nn.Module]:
    """The task and its network with the random weights of this seed."""
    torch.manual_seed(seed)
    task = load_task(RECIPE, "task:VisualInspection")
    return task, task.model(spec(), PARAMS).eval()


def test_a_model_says_of_files_what_it_said_in_training(model: scoring.Model, dataset: Dataset, tmp_path: Path) -> None:
    task, network = made(7)
    with torch.no_grad():
        seen = loading.load(role(), [dataset]).source.inputs(torch.arange(60))
        expected = task.predict(network, seen).numpy()
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, encoded in enumerate(dataset.to_table(["part_image"])["part_image"].to_pylist()[:60]):
        (folder / f"{number:02}.png").write_bytes(encoded)
    (folder / "broken.jpg").write_text("no image")
    done = scoring.score_images(model, [folder], tmp_path / "classes.parquet")
    assert (done.rows, done.rejected) == (60, 1)
    found = pq.read_table(done.path)
    answers = np.column_stack([found.column(f"probability_{name}").to_numpy() for name in spec().classes])
    assert np.abs(answers - expected).max() < 1e-5
    rows = found.to_pylist()
    assert "part_image" not in rows[0]
    assert all(row["predicted"] == (row["prediction"] >= 0.4) == (row["predicted_class"] != "good") for row in rows)
    assert done.predicted == sum(row["predicted"] for row in rows)


def test_single_files_are_looked_at_and_nothing_is_written_where_there_is_no_image(
    model: scoring.Model, tmp_path: Path
) -> None:
    (tmp_path / "one.jpg").write_bytes(photograph("dent", 1))
    done = scoring.score_images(model, [tmp_path / "one.jpg"], tmp_path / "one.csv", threshold=0.0)
    assert (done.rows, done.predicted) == (1, 1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "two.png").write_text("no image")
    for wrong in (tmp_path / "empty", tmp_path / "two.png"):
        with pytest.raises(UserError, match="no image"):
            scoring.score_images(model, [wrong], tmp_path / "two.csv")
    assert not (tmp_path / "two.csv").exists()


def test_a_table_of_images_is_answered_and_a_table_without_them_is_not(model: scoring.Model) -> None:
    table = pa.table({"part_image": [photograph("good", 2)], "line": ["a"]})
    assert model.predict(table).column_names[:2] == ["line", "prediction"]
    with pytest.raises(UserError, match="no column part_image"):
        model.predict(pa.table({"line": ["a"]}))
    with pytest.raises(UserError, match="cannot be read"):
        model.predict(pa.table({"part_image": [b"nothing"]}))


def test_a_model_without_a_normal_class_names_the_likeliest_one(model: scoring.Model) -> None:
    plain = replace(model, spec=spec(normal=None, threshold=None))
    found = plain.predict(pa.table({"part_image": [photograph("good", 2)]})).to_pylist()[0]
    assert "predicted" not in found
    assert found["prediction"] == max(found[f"probability_{name}"] for name in spec().classes)
    with pytest.raises(UserError, match="no normal class"):
        plain.predict(pa.table({"part_image": [photograph("good", 2)]}), threshold=0.5)
