"""The catalogue: which recipes, cluster profiles, vocabularies and sample datasets forgia can see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from forgia.errors import NotFound

KINDS = {"recipe": "recipes", "profile": "cluster-profiles", "dataset": "datasets"}
"""Kind → the folder that holds it in every catalogue root."""


def builtin_root() -> Path:
    """The checkout forgia runs from, else the copy inside the installed wheel."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1]
    return checkout if (checkout / "cluster-profiles").is_dir() else package / "_catalogue"


class Catalogue:
    """Roots searched in order; the first that has a name wins."""

    def __init__(self, roots: Iterable[Path] = ()) -> None:
        self.roots = (*roots, builtin_root())

    def recipes(self) -> dict[str, Path]:
        """Name → folder with a recipe.yaml."""
        return self._collect("recipe", lambda place: {p.parent.name: p.parent for p in place.glob("*/recipe.yaml")})

    def profiles(self) -> dict[str, Path]:
        """Name → profile file."""
        return self._collect("profile", lambda place: {p.stem: p for p in place.glob("*.yaml")})

    def generators(self) -> dict[str, Path]:
        """Name → folder of a sample dataset, with its generate.py."""
        return self._collect("dataset", lambda place: {p.parent.name: p.parent for p in place.glob("*/generate.py")})

    def vocabulary_files(self) -> list[Path]:
        """Every vocabulary file; a concept may be defined once only."""
        return [path for root in self.roots for path in sorted((root / KINDS["dataset"] / "vocabulary").glob("*.yaml"))]

    def recipe(self, name: str) -> Path:
        """Raises: NotFound."""
        return self._find("recipe", name, self.recipes())

    def profile(self, name: str) -> Path:
        """Raises: NotFound."""
        return self._find("profile", name, self.profiles())

    def generator(self, name: str) -> Path:
        """Raises: NotFound."""
        return self._find("sample dataset", name, self.generators())

    def _collect(self, kind: str, listing: Callable[[Path], dict[str, Path]]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for root in reversed(self.roots):
            found.update(listing(root / KINDS[kind]))
        return dict(sorted(found.items()))

    def _find(self, kind: str, name: str, known: dict[str, Path]) -> Path:
        if name not in known:
            raise NotFound(kind, name, known=known)
        return known[name]
