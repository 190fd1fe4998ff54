"""The release in the run's outbox: built beside, published by rename, found again after a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forgia import store
from forgia.dataset.dataset import Dataset
from forgia.paths import RunPaths
from forgia.registry.layout import OciLayout
from forgia.registry.publish import write_release
from forgia.release import GATE, TENSORS, DatasetDocument, Media, ReleaseDraft, ReleaseFile, metric_annotations
from forgia_jobs.judging.evaluate import Evaluation
from forgia_jobs.request import Gate, Request

MEDIA: Mapping[str, Media] = {
    ".safetensors": "weight",
    ".onnx": "weight",
    ".json": "weight.config",
    ".md": "doc",
    ".png": "doc",
}
"""What a file of a release is, by its ending."""


def published(paths: RunPaths) -> str | None:
    """The digest of the release, if an earlier attempt has come so far."""
    if not paths.outbox.is_dir():
        return None
    return OciLayout(paths.outbox).tags().get(paths.root.name)


def publish(paths: RunPaths, draft: ReleaseDraft) -> str:
    """Write the release and return its digest; a crash leaves a whole outbox or none."""
    with store.building(paths.outbox) as place:
        return write_release(OciLayout(place), draft, draft.run_id)


def draft(
    paths: RunPaths,
    request: Request,
    *,
    folder: Path,
    datasets: Sequence[Dataset],
    evaluation: Evaluation,
    tensor_digest: str,
    created: str,
    made: Mapping[str, Any],
) -> ReleaseDraft:
    """Everything in a folder of results, with what stands behind it.

    Args: made — the node's part of the provenance, in the words of the SLSA predicate.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    baseline = evaluation.baseline.test if evaluation.baseline else None
    return ReleaseDraft(
        name=request.recipe.name,
        recipe_version=request.recipe.version,
        run_id=paths.root.name,
        identity=request.identity,
        created=created,
        title=request.recipe.title or request.recipe.name,
        summary=request.recipe.summary,
        licence=request.recipe.licence,
        authors=request.recipe.authors,
        model_files=[
            ReleaseFile(path=path, name=path.relative_to(folder).as_posix(), media=MEDIA[path.suffix]) for path in files
        ],
        recipe_root=paths.recipe,
        request_path=paths.request,
        dataset_docs=[
            DatasetDocument(
                name=dataset.manifest.name,
                manifest=dataset.paths.manifest,
                croissant=dataset.paths.croissant if dataset.paths.croissant.is_file() else None,
            )
            for dataset in datasets
        ],
        provenance=made,
        annotations={
            **metric_annotations(evaluation.model.test, baseline),
            GATE: gate_word(request.evaluate.gate, evaluation),
            TENSORS: tensor_digest,
        },
        precision="float32",
    )


def gate_word(asked: Gate | None, evaluation: Evaluation) -> str:
    """What the gate said of a model that is released, with the figure if it is another than was asked."""
    if asked is None:
        return "none"
    if evaluation.gate_metric is None:
        return "not applied"
    return "passed" if evaluation.gate_metric == asked.metric else f"passed on {evaluation.gate_metric}"
