"""The models of a registry: listed, found by any of their names, described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from forgia import digest as digests
from forgia.errors import NotFound, UserError
from forgia.paths import HomePaths, checked_name
from forgia.registry import oci
from forgia.registry.contents import Contents, contents
from forgia.registry.layout import OciLayout
from forgia.release import (
    BASELINE,
    GATE,
    IDENTITY,
    METRIC,
    PRIMARY,
    RECIPE_DIGEST,
    RECIPE_VERSION,
    RUN,
    TENSORS,
    TEST,
    Version,
    figures,
    is_version,
)

KIND = "model"
"""The registry's folder of models, below the organisation's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """One model of an organisation, by the version that its bare name means."""

    name: str
    versions: tuple[str, ...]
    """Oldest first."""
    tests: tuple[str, ...]
    """Those of the versions that runs with a recipe's small test settings made."""
    latest: str
    """That is no test, where there is one."""
    aliases: Mapping[str, str]
    """Alias → version."""
    created: str
    """Of the latest version, UTC."""
    metric: str
    """The primary metric's name; empty where the recipe names none."""
    value: float | None
    digest: str
    size: int
    """Bytes of the latest version's files."""

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "versions": list(self.versions), "tests": list(self.tests)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """One version of a model in the registry."""

    name: str
    version: str
    """Empty for a digest that no version names."""
    digest: str
    layout: OciLayout
    is_test: bool = False
    """Made by a run with the recipe's small test settings."""

    @property
    def ref(self) -> str:
        """The one spelling that always means this release."""
        return f"{self.name}@{self.version or self.digest}"


def models(home: HomePaths, organisation: str) -> Iterator[RegisteredModel]:
    """Every model of an organisation that has a version, by name."""
    for name in model_names(home, organisation):
        layout = OciLayout(home.repository(organisation, KIND, name))
        tags = layout.tags()
        if versions := sorted(Version.parse(tag) for tag in tags if is_version(tag)):
            yield _model(name, layout, versions)


def _model(name: str, layout: OciLayout, versions: list[Version]) -> RegisteredModel:
    tests = [version for version in versions if is_of_test(layout, layout.tags()[version.tag])]
    latest = max(set(versions) - set(tests) or versions)
    release = contents(layout, layout.tags()[latest.tag])
    metric = release.annotations.get(PRIMARY, "")
    return RegisteredModel(
        name=name,
        versions=tuple(map(str, versions)),
        tests=tuple(map(str, tests)),
        latest=str(latest),
        aliases={alias: version_of(layout, found) for alias, found in layout.aliases().items()},
        created=release.annotations.get(oci.CREATED, ""),
        metric=metric,
        value=figures(release.annotations, METRIC).get(metric),
        digest=release.digest,
        size=release.size,
    )


def model_names(home: HomePaths, organisation: str) -> list[str]:
    """The repositories of an organisation's models, by name."""
    folder = home.registry / checked_name("organisation", organisation) / KIND
    if not folder.is_dir():
        return []
    return sorted(place.name for place in folder.iterdir() if OciLayout(place).exists())


def is_of_test(layout: OciLayout, digest: str) -> bool:
    """Whether a run with the recipe's small test settings made this release.

    Raises: NotFound, IntegrityError, UserError — one of its documents is missing or bad.
    """
    return contents(layout, digest).annotations.get(TEST) == "true"


def meant_by_name(layout: OciLayout, versions: list[Version]) -> Version:
    """The latest version that is not of a test; the latest of all where there is none."""
    tags = layout.tags()
    newest_first = sorted(versions, reverse=True)
    return next((found for found in newest_first if not is_of_test(layout, tags[found.tag])), newest_first[0])


def find_model(home: HomePaths, organisation: str, ref: str) -> FoundModel:
    """The release that ``name``, ``name@1.0.0``, ``name@champion`` or ``name@sha256:…`` means; bare: the latest that is
    not of a test, if there is one.

    Raises: NotFound — no such model or version; carries the nearest. UserError — not a reference.
    """
    name, at, wanted = ref.partition("@")
    checked_name(KIND, name)
    layout = OciLayout(home.repository(organisation, KIND, name))
    if not layout.exists():
        raise NotFound(KIND, name, known=model_names(home, organisation), hint="forgia model list")
    if at and not wanted:
        raise UserError(f"model {ref!r}: write NAME or NAME@ with a version, an alias or a digest after it")
    versions = [Version.parse(tag) for tag in layout.tags() if is_version(tag)]
    if not at and not versions:
        raise NotFound("version of model", name, hint="forgia model list")
    try:
        found = layout.resolve(wanted or meant_by_name(layout, versions).tag)
    except NotFound as error:
        known = [f"{name}@{version}" for version in (*sorted(versions), *layout.aliases())]
        raise NotFound(KIND, ref, known=known, hint=error.hint) from error
    version, is_test = version_of(layout, found), is_of_test(layout, found)
    return FoundModel(name=name, version=version, digest=found, layout=layout, is_test=is_test)


def version_of(layout: OciLayout, digest: str) -> str:
    """The lowest version of a digest; empty where it has none."""
    found = [Version.parse(tag) for tag, name in layout.tags().items() if name == digest and is_version(tag)]
    return str(min(found)) if found else ""


def describe(model: FoundModel) -> dict[str, Any]:
    """All that a release says of itself, ready for JSON: figures, data, recipe, run, digests and files.

    Raises: IntegrityError — one of its documents is altered. The files are not read; ``verify`` does that.
    """
    release = contents(model.layout, model.digest)
    notes = release.annotations
    pointing = [alias for alias, found in model.layout.aliases().items() if found == model.digest]
    return {
        "name": model.name,
        "version": model.version,
        "aliases": sorted(pointing),
        "digest": model.digest,
        "title": notes.get(oci.TITLE, ""),
        "summary": notes.get(oci.DESCRIPTION, ""),
        "licence": notes.get(oci.LICENCES, ""),
        "authors": notes.get(oci.AUTHORS, ""),
        "created": notes.get(oci.CREATED, ""),
        "run": notes.get(RUN, ""),
        "identity": notes.get(IDENTITY, ""),
        "recipe": {"version": notes.get(RECIPE_VERSION, ""), "digest": notes.get(RECIPE_DIGEST, "")},
        "primary": notes.get(PRIMARY, ""),
        "metrics": figures(notes, METRIC),
        "baseline": figures(notes, BASELINE),
        "gate": notes.get(GATE, ""),
        "test": model.is_test,
        "tensors": notes.get(TENSORS, ""),
        "datasets": list(_datasets(release)),
        "files": [{"path": file.title, "size": file.size, "digest": file.digest} for file in release.files()],
        "size": release.size,
    }


def _datasets(release: Contents) -> Iterator[dict[str, Any]]:
    for ref in (part.dataset for part in release.parts if part.dataset):
        manifest = release.read_json(f"datasets/{ref}/manifest.json")
        facts = {key: manifest.get(key) for key in ("name", "version", "owner", "title", "licence", "rows")}
        yield {"ref": ref, **facts, "digest": digests.of_json(manifest)}
