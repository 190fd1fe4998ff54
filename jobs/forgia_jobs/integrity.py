"""Before anything of a request is used: are recipe and data the bytes it names?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from forgia import digest, store, weights
from forgia.dataset.dataset import Dataset
from forgia.errors import IntegrityError
from forgia.paths import RunPaths
from forgia_jobs.checkpoints import checkpoint_manifest
from forgia_jobs.request import Request, Role


def open_datasets(paths: RunPaths, request: Request) -> list[Dataset]:
    """The datasets of the request, in its order, whose manifests are the ones it names.

    Raises: IntegrityError — a place is not known, or another manifest lies there.
    """
    return datasets_at(store.read_json(paths.inputs), request.role)


def datasets_at(places: Mapping[str, str], role: Role) -> list[Dataset]:
    """The datasets of a role. Args: places — digest → folder. Raises: as ``open_datasets``."""
    found = []
    for facts in role.datasets:
        name = f"dataset {facts.name}@{facts.version}"
        if facts.digest not in places:
            raise IntegrityError(name, expected=facts.digest, found="no place in inputs.json")
        dataset = Dataset.at(Path(places[facts.digest]))
        if dataset.digest != facts.digest:
            raise IntegrityError(f"{name} at {dataset.paths.root}", expected=facts.digest, found=dataset.digest)
        found.append(dataset)
    return found


def verify(paths: RunPaths, request: Request, datasets: list[Dataset]) -> None:
    """Digest recipe, data and weights again. Raises: IntegrityError — naming the first that differs."""
    tree = digest.of_tree(paths.recipe)
    if tree != request.recipe.digest:
        raise IntegrityError(f"recipe {paths.recipe}", expected=request.recipe.digest, found=tree)
    for dataset in datasets:
        dataset.verify()
    places = store.read_json(paths.inputs)
    for name, expected in request.weights.items():
        if expected not in places:
            raise IntegrityError(f"weights {name}", expected=expected, found="no place in inputs.json")
        weights.verify(Path(places[expected]), expected)


def given_checkpoint(paths: RunPaths, given: Mapping[str, Any]) -> Path:
    """Where the checkpoint lies that a training begins with. Raises: IntegrityError — nobody says where."""
    places = store.read_json(paths.inputs)
    if given["digest"] not in places:
        raise IntegrityError(
            f"checkpoint of run {given['run']}", expected=given["digest"], found="no place in inputs.json"
        )
    return Path(places[given["digest"]])


def verify_checkpoint(place: Path, given: Mapping[str, Any]) -> None:
    """Digest it again. Raises: IntegrityError — it is gone, or another one; a run that went on has removed it."""
    manifest = checkpoint_manifest.read(place)
    found = store.read_json(place / checkpoint_manifest.MANIFEST)["digest"]
    if found != given["digest"]:
        raise IntegrityError(str(place), expected=given["digest"], found=found)
    checkpoint_manifest.verify(place, identity=manifest.request)


def placed(paths: RunPaths, request: Request) -> Request:
    """The request with the places of its weights, which have been verified."""
    places = store.read_json(paths.inputs)
    found = {name: str(places[known]) for name, known in request.weights.items()}
    return replace(request, role=replace(request.role, weights=found))
