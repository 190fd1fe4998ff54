"""What every registry promises; one suite over all implementations in ``REGISTRIES``."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgia import digest
from forgia.errors import ForgiaError, IntegrityError, NotFound, Refused, UserError
from forgia.registry import blobs, oci
from forgia.registry.contents import contents
from forgia.registry.layout import OciLayout
from forgia.registry.materialise import pull
from forgia.registry.publish import write_release
from forgia.release import DatasetDocument, ReleaseDraft, ReleaseFile, Version

REGISTRIES: dict[str, Callable[[Path], OciLayout]] = {"layout": OciLayout}
"""Name → how to open one below a folder."""

WEIGHTS = b"w" * 3000


@pytest.fixture(params=sorted(REGISTRIES))
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> OciLayout:
    return REGISTRIES[request.param](tmp_path / "registry")


@pytest.fixture
def draft(tmp_path: Path) -> ReleaseDraft:
    return example(tmp_path)


@pytest.fixture
def outbox(tmp_path: Path, draft: ReleaseDraft) -> OciLayout:
    layout = OciLayout(tmp_path / "outbox")
    write_release(layout, draft, draft.run_id)
    return layout


def example(folder: Path, *, run_id: str = "mill-1") -> ReleaseDraft:
    """A small release whose weights tell which run made them."""
    source = folder / f"made-by-{run_id}"
    (source / "recipe" / "notes").mkdir(parents=True)
    (source / "model.safetensors").write_bytes(WEIGHTS + run_id.encode())
    (source / "README.md").write_text("# Mill failures\n")
    (source / "recipe" / "recipe.yaml").write_text("name: mill-failures\n")
    (source / "recipe" / "notes" / "why.md").write_text("because\n")
    part = {"path": "data/part-00000.parquet", "digest": "sha256:" + "c" * 64, "size": 1, "rows": 1}
    (source / "manifest.json").write_text(json.dumps({"name": "mill-7", "version": 1, "files": [part]}))
    (source / "croissant.json").write_text("{}")
    request = {"recipe": {"name": "mill-failures", "version": "1.0.0"}, "evaluate": {"primary": "f1"}}
    (source / "request.json").write_text(json.dumps(request))
    return ReleaseDraft(
        name="mill-failures",
        recipe_version="1.0.0",
        run_id=run_id,
        identity=digest.of_json(request),
        created="2026-11-22T10:00:00Z",
        title="Mill failures",
        summary="Which mill fails next.",
        licence="Apache-2.0",
        authors=("Officina Uno",),
        model_files=[
            ReleaseFile(path=source / "model.safetensors", name="model.safetensors", media="weight"),
            ReleaseFile(path=source / "README.md", name="README.md", media="doc"),
        ],
        recipe_root=source / "recipe",
        request_path=source / "request.json",
        dataset_docs=[
            DatasetDocument(name="mill-7", manifest=source / "manifest.json", croissant=source / "croissant.json")
        ],
    )


def only(layout: OciLayout) -> str:
    (found,) = set(layout.tags().values())
    return found


def alter(path: Path) -> None:
    """Change one byte of a read-only file."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # a hard link elsewhere keeps its bytes
    path.write_bytes(data)
    path.chmod(0o444)


# What is written


def test_the_same_draft_gives_the_same_digest(draft: ReleaseDraft, tmp_path: Path) -> None:
    first, second = OciLayout(tmp_path / "a"), OciLayout(tmp_path / "b")
    assert write_release(first, draft, "x") == write_release(second, draft, "x") == write_release(first, draft, "x")
    assert first.tags() == {"x": only(second)}


def test_the_folder_is_an_oci_image_layout(outbox: OciLayout) -> None:
    assert json.loads((outbox.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((outbox.root / "index.json").read_bytes())
    assert (index["schemaVersion"], index["mediaType"]) == (2, oci.INDEX)
    (entry,) = index["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "mill-1"}
    blob = outbox.root / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
    assert blob.stat().st_size == entry["size"]
    for path in (outbox.root / "blobs" / "sha256").iterdir():
        assert digest.of_file(path) == f"sha256:{path.name}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_a_release_index_names_its_manifests_by_role_and_has_no_artifact_type(outbox: OciLayout) -> None:
    index = json.loads(outbox.path(only(outbox)).read_bytes())
    assert "artifactType" not in index
    assert all("artifactType" not in entry for entry in index["manifests"])
    roles = [entry["annotations"]["io.forgia.role"] for entry in index["manifests"]]
    assert roles == ["model", "recipe", "dataset", "provenance"]
    assert index["annotations"]["io.forgia.primary"] == "f1"


def test_the_model_manifest_is_a_modelpack_with_one_raw_layer_a_file(outbox: OciLayout) -> None:
    model = contents(outbox, only(outbox)).parts[0]
    manifest = json.loads(outbox.path(model.digest).read_bytes())
    config = json.loads(outbox.path(manifest["config"]["digest"]).read_bytes())
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    weights, card = manifest["layers"]
    assert weights["mediaType"] == "application/vnd.cncf.model.weight.v1.raw"
    assert card["mediaType"] == "application/vnd.cncf.model.doc.v1.raw"
    assert weights["annotations"] == {
        "org.cncf.model.filepath": "model.safetensors",
        "org.opencontainers.image.title": "model.safetensors",
    }
    assert outbox.path(weights["digest"]).read_bytes() == WEIGHTS + b"mill-1"
    assert config["modelfs"] == {"type": "layers", "diffIds": [weights["digest"], card["digest"]]}
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert config["config"]["format"] == "safetensors"


def test_provenance_is_about_the_model_manifest_and_points_at_it(outbox: OciLayout, draft: ReleaseDraft) -> None:
    release = contents(outbox, only(outbox))
    model, provenance = release.parts[0], release.parts[-1]
    said = release.read_json("provenance.json")
    assert said["subject"][0]["digest"]["sha256"] == digest.hexadecimal(model.digest)
    assert json.loads(outbox.path(provenance.digest).read_bytes())["subject"]["digest"] == model.digest
    found = said["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {item["digest"]["sha256"] for item in found} == {
        digest.hexadecimal(digest.of_tree(draft.recipe_root)),
        digest.hexadecimal(digest.of_json(json.loads(draft.dataset_docs[0].manifest.read_bytes()))),
        "c" * 64,
    }
    assert said["predicate"]["runDetails"]["metadata"]["invocationId"] == draft.identity


def test_a_dataset_version_is_told_once_and_two_versions_lie_side_by_side(draft: ReleaseDraft, tmp_path: Path) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps({"name": "mill-7", "version": 2, "files": []}))
    documents = [*draft.dataset_docs, *draft.dataset_docs, DatasetDocument(name="mill-7", manifest=second)]
    layout = OciLayout(tmp_path / "outbox")
    write_release(layout, replace(draft, dataset_docs=documents), "x")
    pulled = pull(layout, "x", tmp_path / "out")
    assert sorted(path.name for path in (pulled.folder / "datasets").iterdir()) == ["mill-7@1", "mill-7@2"]


def test_changing_a_file_after_it_was_added_changes_nothing_in_the_release(
    outbox: OciLayout, draft: ReleaseDraft
) -> None:
    draft.model_files[0].path.write_bytes(b"other")
    assert outbox.verify(only(outbox)).files == 7


def test_a_bad_draft_leaves_no_layout_behind(draft: ReleaseDraft, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_release(OciLayout(tmp_path / "never"), replace(draft, name="No Name"), "x")
    assert not (tmp_path / "never").exists()


# Push, tags, references


def test_a_push_brings_every_blob_and_the_same_digest(registry: OciLayout, outbox: OciLayout) -> None:
    pushed = only(outbox)
    assert registry.copy_from(outbox, pushed, tag="1.0.0") == "1.0.0"
    assert registry.tags() == {"1.0.0": pushed}
    assert registry.verify(pushed) == outbox.verify(pushed)


def test_a_push_may_be_repeated(registry: OciLayout, outbox: OciLayout) -> None:
    for _ in range(2):
        registry.copy_from(outbox, only(outbox), tag="1.0.0")
    assert registry.tags() == {"1.0.0": only(outbox)}


def test_a_version_never_moves(registry: OciLayout, outbox: OciLayout, tmp_path: Path) -> None:
    first = only(outbox)
    registry.copy_from(outbox, first, tag="1.0.0")
    second = write_release(outbox, example(tmp_path, run_id="mill-2"), "mill-2")
    with pytest.raises(Refused, match=r"1\.0\.0"):
        registry.copy_from(outbox, second, tag="1.0.0")
    assert registry.tags() == {"1.0.0": first}


def test_a_reference_is_a_version_an_alias_a_digest_or_its_beginning(registry: OciLayout, outbox: OciLayout) -> None:
    pushed = only(outbox)
    registry.copy_from(outbox, pushed, tag="1.0.0_b1")
    registry.point("champion", pushed, at="2026-11-22T10:00:00Z", by="ada")
    for ref in ("1.0.0_b1", "1.0.0+b1", "champion", pushed, pushed[:20], pushed.removeprefix("sha256:")[:8]):
        assert registry.resolve(ref) == pushed


@pytest.mark.parametrize("ref", ["1.0.1", "campion", "sha256:" + "0" * 64, "00000000", "", "../x", "1.0.0\n"])
def test_an_unknown_reference_is_not_found(registry: OciLayout, outbox: OciLayout, ref: str) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    with pytest.raises(NotFound):
        registry.resolve(ref)


def test_an_ambiguous_beginning_lists_the_digests(registry: OciLayout) -> None:
    registry.create()
    names = [f"sha256:{'ab' * 4}{sign * 56}" for sign in "01"]
    for position, name in enumerate(names):
        registry.tag(oci.Descriptor(media_type=oci.INDEX, digest=name, size=1), f"1.0.{position}")
    with pytest.raises(NotFound) as caught:
        registry.resolve("abababab")
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in names)


def test_an_alias_moves_and_its_moves_are_kept(registry: OciLayout, outbox: OciLayout, tmp_path: Path) -> None:
    first = only(outbox)
    second = write_release(outbox, example(tmp_path, run_id="mill-2"), "mill-2")
    registry.copy_from(outbox, first, tag="1.0.0")
    registry.copy_from(outbox, second, tag="1.0.1")
    assert registry.point("champion", first, at="t1", by="ada") is None
    assert registry.point("champion", second, at="t2", by="ugo") == first
    assert registry.aliases() == {"champion": second}
    assert registry.tags() == {"1.0.0": first, "1.0.1": second, "champion": second}
    moves = [json.loads(line) for line in registry.alias_log.read_text().splitlines()]
    assert [(move["t"], move["from"], move["to"], move["by"]) for move in moves] == [
        ("t1", None, first, "ada"),
        ("t2", first, second, "ugo"),
    ]


@pytest.mark.parametrize("alias", ["2.0.0", "abcdef12", "sha256:abcdef12", "", "a b", "../x", "x" * 129])
def test_an_alias_that_looks_like_something_else_is_refused(registry: OciLayout, outbox: OciLayout, alias: str) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    with pytest.raises(UserError):
        registry.point(alias, only(outbox), at="t", by="ada")
    assert registry.tags() == {"1.0.0": only(outbox)}


def test_an_immutable_tag_cannot_become_an_alias(registry: OciLayout, outbox: OciLayout) -> None:
    registry.copy_from(outbox, only(outbox), tag="mill-1")
    with pytest.raises(Refused):
        registry.point("mill-1", only(outbox), at="t", by="ada")


releases = st.integers(0, 3)
writers = st.integers(0, 1)
tags = st.sampled_from(["1.0.0", "1.0.1", "next"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(writers, releases, tags), max_size=8))
def test_whatever_the_order_of_pushes_a_version_keeps_its_first_digest(steps: list[tuple[int, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = OciLayout(Path(folder, "source")).create()
        made = [small_release(source, number) for number in range(4)]
        hands = [OciLayout(Path(folder, "registry")) for _ in range(2)]
        expected: dict[str, str] = {}
        for hand, number, tag in steps:
            free = next_free(made[number])
            wanted = free(expected) if tag == "next" else tag
            if expected.setdefault(wanted, made[number]) == made[number]:
                assert hands[hand].copy_from(source, made[number], tag=free if tag == "next" else tag) == wanted
            else:
                with pytest.raises(Refused):
                    hands[hand].copy_from(source, made[number], tag=tag)
            assert hands[0].tags() == hands[1].tags() == expected


def small_release(layout: OciLayout, number: int) -> str:
    """An index over nothing, unlike any other number's."""
    value = oci.index([], annotations={"io.forgia.run": str(number)})
    blob = layout.add_json(value, media_type=oci.INDEX)
    layout.tag(blob, f"run-{number}")
    return blob.digest


def next_free(name: str) -> Callable[[Mapping[str, str]], str]:
    """The version rule of collection: a digest that is there keeps its version."""

    def choose(tags: Mapping[str, str]) -> str:
        mine = [tag for tag, found in tags.items() if found == name]
        return mine[0] if mine else Version(1, 0, 0).next_free(tags).tag

    return choose


def push_some(place: Path, writer: int, start: Any) -> None:
    """One writer among several: five releases of its own, each under the next free version."""
    source = OciLayout(place / f"source-{writer}").create()
    made = [small_release(source, writer * 100 + number) for number in range(5)]
    registry = OciLayout(place / "registry")
    start.wait()
    for name in made:
        registry.copy_from(source, name, tag=next_free(name))


def test_several_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    processes = [context.Process(target=push_some, args=(tmp_path, writer, start)) for writer in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork in a process with threads; the children only push
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    registry = OciLayout(tmp_path / "registry")
    found = registry.tags()
    assert sorted(found, key=Version.parse) == [f"1.0.{patch}" for patch in range(20)]
    assert len(set(found.values())) == 20
    assert all(registry.verify(name) for name in found.values())
    assert not list(registry.root.rglob("*.part"))


def test_several_threads_at_once_lose_nothing(registry: OciLayout, tmp_path: Path) -> None:
    source = OciLayout(tmp_path / "source").create()
    made = [small_release(source, number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: OciLayout(registry.root).copy_from(source, name, tag=next_free(name)), made))
    assert sorted(registry.tags().values()) == sorted(made)
    assert sorted(registry.tags()) == [f"1.0.{patch}" for patch in range(8)]


# Integrity


def blob_named(layout: OciLayout, title: str) -> Path:
    (found,) = [file for file in contents(layout, only(layout)).files() if file.title == title]
    return layout.path(found.digest)


def test_every_single_altered_blob_is_found_and_named(registry: OciLayout, outbox: OciLayout, tmp_path: Path) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    for blob in list(registry.walk(only(registry))):
        path = registry.path(blob.digest)
        good = path.read_bytes()
        alter(path)
        with pytest.raises(IntegrityError) as caught:
            registry.verify(only(registry))
        assert caught.value.expected == blob.digest
        assert str(path) in caught.value.message
        assert blob.title in caught.value.message
        with pytest.raises(IntegrityError):
            pull(registry, "1.0.0", tmp_path / "out") if blob.title or blob.is_document else registry.verify(
                only(registry)
            )
        assert not (tmp_path / "out").exists()
        path.unlink()
        path.write_bytes(good)
    assert registry.verify(only(registry))


def test_a_missing_blob_is_named(outbox: OciLayout) -> None:
    path = blob_named(outbox, "model.safetensors")
    path.unlink()
    with pytest.raises(IntegrityError, match=r"model\.safetensors .*found nothing"):
        outbox.verify(only(outbox))


def test_an_altered_release_is_not_pushed(registry: OciLayout, outbox: OciLayout) -> None:
    alter(blob_named(outbox, "model.safetensors"))
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        registry.copy_from(outbox, only(outbox), tag="1.0.0")
    assert registry.tags() == {}
    assert not list(registry.root.rglob("*.part"))


def test_pushing_again_mends_an_altered_blob(registry: OciLayout, outbox: OciLayout) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    alter(blob_named(registry, "model.safetensors"))
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    assert registry.verify(only(registry))


def test_blobs_are_shared_on_one_file_system_and_copied_between_two(
    registry: OciLayout, outbox: OciLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    assert blob_named(registry, "README.md").samefile(blob_named(outbox, "README.md"))

    def no_links(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(blobs.os, "link", no_links)
    far = OciLayout(registry.root.with_name("far"))
    far.copy_from(outbox, only(outbox), tag="1.0.0")
    assert not blob_named(far, "README.md").samefile(blob_named(outbox, "README.md"))
    assert far.verify(only(far)) == registry.verify(only(registry))


@pytest.mark.parametrize(
    "document",
    [
        {"manifests": [{"digest": "sha256:" + "0" * 64}]},
        {"manifests": [{"mediaType": oci.MANIFEST, "digest": "../../etc/passwd", "size": 1}]},
        {"manifests": [{"mediaType": oci.MANIFEST, "digest": "sha256:" + "0" * 64 + "\n", "size": 1}]},
        {"manifests": ["x"]},
        {"manifests": [{"mediaType": oci.MANIFEST, "digest": "sha256:" + "0" * 64, "size": -1}]},
        {"config": 3},
        {"layers": [{"mediaType": 3, "digest": "sha256:" + "0" * 64, "size": 1}]},
    ],
)
def test_a_document_that_cannot_be_followed_is_refused(registry: OciLayout, document: dict[str, Any]) -> None:
    registry.create()
    blob = registry.add_json(document, media_type=oci.INDEX)
    registry.tag(blob, "1.0.0")
    with pytest.raises(UserError, match="descriptor"):
        registry.verify(blob.digest)


# Pull


def test_a_pull_writes_every_file_of_the_release(registry: OciLayout, outbox: OciLayout, tmp_path: Path) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    pulled = pull(registry, "1.0.0", tmp_path / "out")
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == [
        "README.md",
        "datasets/mill-7@1/croissant.json",
        "datasets/mill-7@1/manifest.json",
        "model.safetensors",
        "provenance.json",
        "recipe/notes/why.md",
        "recipe/recipe.yaml",
        "release.json",
        "request.json",
    ]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == WEIGHTS + b"mill-1"
    told = json.loads((tmp_path / "out" / "release.json").read_bytes())
    assert told["digest"] == pulled.digest == only(registry)
    assert {item["path"]: item["digest"] for item in told["files"]} == {
        name: digest.of_file(tmp_path / "out" / name) for name in found if name != "release.json"
    }
    assert pulled.files == 8


def test_a_pull_fills_an_empty_folder_and_refuses_any_other(outbox: OciLayout, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert pull(outbox, "mill-1", tmp_path / "empty").files == 8
    with pytest.raises(Refused, match="not an empty folder"):
        pull(outbox, "mill-1", tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refused):
        pull(outbox, "mill-1", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "names", [["../evil"], ["/evil"], ["a", "a/b"], ["a", "a"], ["release.json"], ["x/../../evil"]]
)
def test_a_pull_never_writes_outside_its_folder(registry: OciLayout, tmp_path: Path, names: list[str]) -> None:
    registry.create()
    layers = [registry.add_bytes(name.encode(), annotations={oci.TITLE: name}) for name in names]
    config = registry.add_bytes(oci.EMPTY_BLOB, media_type=oci.EMPTY)
    value = oci.manifest(artifact_type="x/y", config=config, layers=layers, annotations={})
    registry.tag(registry.add_json(value, media_type=oci.MANIFEST), "1.0.0")
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError):
        pull(registry, "1.0.0", tmp_path / "deep" / "out")
    assert set(tmp_path.iterdir()) - before == set()


# Refusals of the disk


def outcome_as_a_stranger(action: Callable[[], Any]) -> str:
    """What an action came to in a child process without root's rights: ``ok``, or class and text of its error."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fork in a process with threads; the child runs only this action
        child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            action()
            said = "ok"
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    make_readable(folder)
    shutil.rmtree(folder)


def make_readable(folder: Path) -> None:
    """Let everybody read and nobody but root write."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        elif path.suffix in {".json", ".lock"} or path.name in {"oci-layout", ".lock"}:
            path.chmod(0o644)


@pytest.mark.parametrize("there", ["nothing", "a folder", "an empty layout", "a release"])
def test_a_registry_without_write_permission_is_refused_and_stays_as_it_is(shared: Path, there: str) -> None:
    outbox, registry = OciLayout(shared / "outbox"), OciLayout(shared / "org" / "model" / "mill")
    first = write_release(outbox, example(shared, run_id="mill-1"), "mill-1")
    second = write_release(outbox, example(shared, run_id="mill-2"), "mill-2")
    (shared / "org").mkdir()
    if there == "a folder":
        registry.root.parent.mkdir()
    elif there != "nothing":
        registry.create()
    if there == "a release":
        registry.copy_from(outbox, first, tag="1.0.0")
    make_readable(shared)
    for folder in [path for path in [shared / "org", *(shared / "org").rglob("*")] if path.is_dir()]:
        folder.chmod(0o555)
    if registry.lock_path.exists():
        registry.lock_path.chmod(0o444)
    before = sorted((shared / "org").rglob("*"))
    said = outcome_as_a_stranger(lambda: registry.copy_from(outbox, second, tag="1.0.1"))
    assert said.startswith(f"Refused: registry folder {registry.root} cannot be written (Permission denied")
    assert sorted((shared / "org").rglob("*")) == before
    if there == "a release":
        assert outcome_as_a_stranger(lambda: registry.verify(first)) == "ok"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_told_and_leaves_nothing_half_written(
    registry: OciLayout, outbox: OciLayout, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    registry.create()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(ForgiaError, match="No space left"):
            registry.copy_from(outbox, only(outbox), tag="1.0.0")
    assert registry.tags() == {}
    assert not list(registry.root.rglob("*.part"))
    assert registry.copy_from(outbox, only(outbox), tag="1.0.0") == "1.0.0"


# Tools that nobody here wrote

skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (Debian package skopeo)")


def copy_with_skopeo(source: str, target: str, folder: Path) -> None:
    argv = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", source, target]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@skopeo
def test_skopeo_carries_a_release_into_an_archive_and_back_with_the_same_digest(
    registry: OciLayout, outbox: OciLayout, tmp_path: Path
) -> None:
    registry.copy_from(outbox, only(outbox), tag="1.0.0")
    copy_with_skopeo(f"oci:{registry.root}:1.0.0", "oci-archive:release.tar:1.0.0", tmp_path)
    copy_with_skopeo("oci-archive:release.tar:1.0.0", "oci:back:1.0.0", tmp_path)
    back = OciLayout(tmp_path / "back")
    assert back.tags() == registry.tags()
    assert back.verify(only(back)) == registry.verify(only(registry))
    assert [blob.digest for blob in back.walk(only(back))] == [blob.digest for blob in registry.walk(only(registry))]


@skopeo
def test_a_layout_that_skopeo_wrote_can_be_pushed_and_pulled(
    registry: OciLayout, outbox: OciLayout, tmp_path: Path
) -> None:
    copy_with_skopeo(f"oci:{outbox.root}:mill-1", "oci:foreign:1.0.0", tmp_path)
    foreign = OciLayout(tmp_path / "foreign")
    registry.copy_from(foreign, only(foreign), tag="1.0.0")
    assert pull(registry, "1.0.0", tmp_path / "out").digest == only(outbox)
