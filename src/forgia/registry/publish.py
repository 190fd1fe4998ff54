"""Writing a release: blobs, then manifests, then the index over them, then the tag that makes it visible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forgia import digest, store
from forgia.errors import UserError
from forgia.registry import modelpack, oci
from forgia.registry.layout import OciLayout
from forgia.registry.oci import Descriptor
from forgia.release import (
    DATASET,
    IDENTITY,
    MODEL_NAME,
    PRIMARY,
    RECIPE_DIGEST,
    RECIPE_VERSION,
    ROLE,
    RUN,
    TEST,
    DatasetDocument,
    ReleaseDraft,
    check,
    checked_path,
    statement,
)

FILE = "application/vnd.forgia.file.v1"
RECIPE = "application/vnd.forgia.recipe.v1+json"
REQUEST = "application/vnd.forgia.request.v1+json"
DATASET_PAPERS = "application/vnd.forgia.dataset.v1+json"
CROISSANT = "application/ld+json"
IN_TOTO = "application/vnd.in-toto+json"
"""Source: https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/envelope.md"""


def write_release(layout: OciLayout, draft: ReleaseDraft, tag: str) -> str:
    """Write a release under a tag and return its digest; the same draft always gives the same one.

    Raises: UserError — with everything wrong with the draft. Refused — the tag is another release's, or no permission.
    """
    check(draft)
    layout.create()
    request = _read_object(draft.request_path)
    model = _model(layout, draft)
    recipe_digest = digest.of_tree(draft.recipe_root)
    recipe = _recipe(layout, draft)
    papers = _papers(draft)
    datasets = [_dataset(layout, draft, ref=ref, document=document) for ref, (document, _) in papers.items()]
    said = statement(
        draft, model=model.digest, recipe=recipe_digest, manifests={ref: found for ref, (_, found) in papers.items()}
    )
    provenance = _provenance(layout, draft, model=model, said=said)
    annotations = _annotations(draft, request=request, recipe_digest=recipe_digest)
    index = oci.index([model, recipe, *datasets, provenance], annotations=annotations)
    blob = layout.add_json(index, media_type=oci.INDEX)
    layout.tag(blob, tag)
    return blob.digest


def _model(layout: OciLayout, draft: ReleaseDraft) -> Descriptor:
    layers = [
        layout.add_file(
            file.path,
            media_type=modelpack.layer_type(file.media),
            annotations=modelpack.layer_annotations(file.name),
        )
        for file in draft.model_files
    ]
    config = layout.add_json(modelpack.config(draft, layers), media_type=modelpack.CONFIG)
    manifest = oci.manifest(
        artifact_type=modelpack.ARTIFACT_TYPE, config=config, layers=layers, annotations={oci.CREATED: draft.created}
    )
    return _manifest(layout, manifest, role="model")


def _recipe(layout: OciLayout, draft: ReleaseDraft) -> Descriptor:
    layers = [
        layout.add_file(path, media_type=FILE, annotations={oci.TITLE: str(checked_path(f"recipe/{name}"))})
        for path in digest.tree_files(draft.recipe_root)
        for name in [path.relative_to(draft.recipe_root).as_posix()]
    ]
    layers.append(layout.add_file(draft.request_path, media_type=REQUEST, annotations={oci.TITLE: "request.json"}))
    return _plain(layout, draft, artifact_type=RECIPE, layers=layers, role="recipe")


def _papers(draft: ReleaseDraft) -> dict[str, tuple[DatasetDocument, dict[str, Any]]]:
    """Each dataset version once, as ``name@version``, with its manifest: two roles may share one."""
    papers: dict[str, tuple[DatasetDocument, dict[str, Any]]] = {}
    for document in draft.dataset_docs:
        manifest = _read_object(document.manifest)
        papers.setdefault(f"{document.name}@{manifest.get('version', 1)}", (document, manifest))
    return papers


def _dataset(layout: OciLayout, draft: ReleaseDraft, *, ref: str, document: DatasetDocument) -> Descriptor:
    papers = [(document.manifest, "manifest.json", DATASET_PAPERS)]
    if document.croissant:
        papers.append((document.croissant, "croissant.json", CROISSANT))
    layers = [
        layout.add_file(path, media_type=media, annotations={oci.TITLE: str(checked_path(f"datasets/{ref}/{name}"))})
        for path, name, media in papers
    ]
    blob = _plain(layout, draft, artifact_type=DATASET_PAPERS, layers=layers, role="dataset")
    return blob.noted({DATASET: ref})


def _provenance(layout: OciLayout, draft: ReleaseDraft, *, model: Descriptor, said: Mapping[str, Any]) -> Descriptor:
    layer = layout.add_json(said, media_type=IN_TOTO, annotations={oci.TITLE: "provenance.json"})
    # As the manifest's subject the model finds its provenance in any registry, also without this index.
    subject = Descriptor(media_type=model.media_type, digest=model.digest, size=model.size)
    return _plain(layout, draft, artifact_type=IN_TOTO, layers=[layer], role="provenance", subject=subject)


def _plain(
    layout: OciLayout,
    draft: ReleaseDraft,
    *,
    artifact_type: str,
    layers: Iterable[Descriptor],
    role: str,
    subject: Descriptor | None = None,
) -> Descriptor:
    """A manifest with nothing to say in its config."""
    manifest = oci.manifest(
        artifact_type=artifact_type,
        config=layout.add_bytes(oci.EMPTY_BLOB, media_type=oci.EMPTY),
        layers=layers,
        annotations={oci.CREATED: draft.created},
        subject=subject,
    )
    return _manifest(layout, manifest, role=role)


def _manifest(layout: OciLayout, manifest: Mapping[str, Any], *, role: str) -> Descriptor:
    return layout.add_json(manifest, media_type=oci.MANIFEST, annotations={ROLE: role})


def _annotations(draft: ReleaseDraft, *, request: Mapping[str, Any], recipe_digest: str) -> dict[str, str]:
    primary = request.get("evaluate", {}).get("primary")
    found = {
        oci.CREATED: draft.created,
        oci.TITLE: draft.title,
        oci.DESCRIPTION: draft.summary,
        oci.LICENCES: draft.licence,
        oci.AUTHORS: ", ".join(draft.authors),
        MODEL_NAME: draft.name,
        RUN: draft.run_id,
        IDENTITY: draft.identity,
        RECIPE_VERSION: draft.recipe_version,
        RECIPE_DIGEST: recipe_digest,
        PRIMARY: str(primary or ""),
        TEST: "true" if request.get("test") else "",
        **draft.annotations,
    }
    return {key: value for key, value in found.items() if value}


def _read_object(path: Path) -> dict[str, Any]:
    value = store.read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value
