"""A release as a noun: versions, safe names, drafts with everything wrong told at once, provenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia import digest
from forgia.errors import UserError
from forgia.release import (
    BASELINE,
    METRIC,
    DatasetDocument,
    ReleaseDraft,
    ReleaseFile,
    Version,
    check,
    checked_path,
    figures,
    is_version,
    metric_annotations,
    statement,
    version_tag,
)

small = st.integers(0, 30)
versions = st.builds(Version, small, small, small, st.sampled_from(["", "b1", "site.2"]))
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def draft(tmp_path: Path) -> ReleaseDraft:
    for name in ("model.safetensors", "request.json", "manifest.json", "croissant.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "recipe").mkdir()
    return ReleaseDraft(
        name="mill-failures",
        recipe_version="1.0.0",
        run_id="mill-1",
        identity=A,
        created="2026-11-22T10:00:00Z",
        title="Mill failures",
        summary="Which mill fails next.",
        licence="Apache-2.0",
        authors=("Officina Uno",),
        model_files=[ReleaseFile(path=tmp_path / "model.safetensors", name="model.safetensors", media="weight")],
        recipe_root=tmp_path / "recipe",
        request_path=tmp_path / "request.json",
        dataset_docs=[
            DatasetDocument(name="mill-7", manifest=tmp_path / "manifest.json", croissant=tmp_path / "croissant.json")
        ],
    )


@given(versions)
def test_a_version_reads_back_from_its_text_and_from_its_tag(version: Version) -> None:
    assert Version.parse(str(version)) == version
    assert Version.parse(version.tag) == version
    assert "+" not in version.tag
    assert is_version(version.tag)
    assert version_tag(str(version)) == version.tag


@given(versions, st.sets(versions, max_size=12))
def test_the_next_free_version_is_free_and_never_below_the_recipe(version: Version, others: set[Version]) -> None:
    taken = {other.tag for other in others}
    found = version.next_free(taken)
    assert found.tag not in taken
    assert found >= version
    assert (found.major, found.minor, found.build) == (version.major, version.minor, version.build)
    assert all(replace(version, patch=patch).tag in taken for patch in range(version.patch, found.patch))


@pytest.mark.parametrize(
    "text", ["1", "1.0", "01.0.0", "1.0.0-rc1", "v1.0.0", "1.0.0+", "1.0.0 ", "1.0.0\n", "latest", ""]
)
def test_what_is_no_version_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"such as 1\.0\.0"):
        Version.parse(text)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../../b", "a//b", "./a", "a/", "", "..", "c:\\x", "a\\b", "a\nb", "a\0b", "x" * 300],
)
def test_a_path_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="relative paths inside"):
        checked_path(name)


@given(st.text(max_size=40))
def test_a_path_that_is_allowed_stays_in_its_folder(name: str) -> None:
    try:
        place = Path("/folder", checked_path(name))
    except UserError:
        return
    assert place.is_relative_to("/folder")
    assert ".." not in place.parts
    assert str(place) == f"/folder/{name}"


def test_a_complete_draft_passes(draft: ReleaseDraft) -> None:
    check(draft)


def test_a_draft_tells_everything_that_is_wrong_at_once(draft: ReleaseDraft, tmp_path: Path) -> None:
    bad = replace(
        draft,
        name="Mill Failures",
        recipe_version="one",
        identity="abc",
        created="yesterday",
        model_files=[ReleaseFile(path=tmp_path / "gone.md", name="../gone.md", media="doc")],
        provenance={"buildTyp": "x"},
        annotations={"org.opencontainers.image.title": "no"},
    )
    with pytest.raises(UserError) as caught:
        check(bad)
    fields = [problem.field for problem in caught.value.problems]
    assert sorted(set(fields)) == [
        "annotations.org.opencontainers.image.title",
        "created",
        "files",
        "identity",
        "model_files",
        "name",
        "provenance.buildTyp",
        "recipe_version",
    ]
    assert fields.count("model_files") == 2  # the name that leaves its folder, and no weights at all


@pytest.mark.parametrize(
    "name", ["request.json", "provenance.json", "recipe/recipe.yaml", "datasets/x", "model.safetensors"]
)
def test_a_file_name_that_is_taken_is_refused(draft: ReleaseDraft, name: str) -> None:
    twice = ReleaseFile(path=draft.model_files[0].path, name=name, media="doc")
    with pytest.raises(UserError, match="named twice or kept for forgia"):
        check(replace(draft, model_files=[*draft.model_files, twice]))


def test_provenance_names_the_model_the_recipe_and_every_file_of_the_data(draft: ReleaseDraft) -> None:
    manifest = {"name": "mill-7", "files": [{"path": "data/part-00000.parquet", "digest": B, "size": 3, "rows": 1}]}
    said = replace(draft, provenance={"builder": {"id": "https://site.example"}, "startedOn": "2026-11-22T09:00:00Z"})
    found = statement(said, model=A, recipe=B, manifests={"mill-7": manifest})
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    assert found["subject"] == [{"name": "mill-failures", "digest": {"sha256": "a" * 64}}]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert {item["name"]: item["digest"]["sha256"] for item in definition["resolvedDependencies"]} == {
        "recipe/mill-failures@1.0.0": "b" * 64,
        "dataset/mill-7": digest.hexadecimal(digest.of_json(manifest)),
        "dataset/mill-7/data/part-00000.parquet": "b" * 64,
    }
    assert details["builder"] == {"id": "https://site.example"}
    assert details["metadata"] == {"invocationId": draft.identity, "startedOn": "2026-11-22T09:00:00Z"}


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.floats(allow_nan=False)))
def test_figures_survive_as_annotations_without_loss(values: dict[str, float]) -> None:
    annotations = metric_annotations(values, values)
    assert figures(annotations, METRIC) == values
    assert figures(annotations, BASELINE) == values


def test_a_figure_that_is_no_number_is_left_out() -> None:
    assert figures({f"{METRIC}f1": "good", f"{METRIC}recall": "0.5"}, METRIC) == {"recall": 0.5}
