"""Before anything of a request is used: are recipe and data the bytes it names?"""

from __future__ import annotations

from pathlib import Path

from forgia import digest, store
from forgia.dataset.dataset import Dataset
from forgia.errors import IntegrityError
from forgia.paths import RunPaths
from forgia_jobs.request import Request


def open_datasets(paths: RunPaths, request: Request) -> list[Dataset]:
    """The datasets of the request, in its order, whose manifests are the ones it names.

    Raises: IntegrityError — a place is not known, or another manifest lies there.
    """
    places = store.read_json(paths.inputs)
    found = []
    for facts in request.role.datasets:
        name = f"dataset {facts.name}@{facts.version}"
        if facts.digest not in places:
            raise IntegrityError(name, expected=facts.digest, found="no place in inputs.json")
        dataset = Dataset.at(Path(places[facts.digest]))
        if dataset.digest != facts.digest:
            raise IntegrityError(f"{name} at {dataset.paths.root}", expected=facts.digest, found=dataset.digest)
        found.append(dataset)
    return found


def verify(paths: RunPaths, request: Request, datasets: list[Dataset]) -> None:
    """Digest the recipe and every data file again. Raises: IntegrityError — naming the first that differs."""
    tree = digest.of_tree(paths.recipe)
    if tree != request.recipe.digest:
        raise IntegrityError(f"recipe {paths.recipe}", expected=request.recipe.digest, found=tree)
    for dataset in datasets:
        dataset.verify()
