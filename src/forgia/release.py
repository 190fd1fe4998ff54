"""A release: what one run gives to the registry, said in full before a byte of it is written."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from forgia import digest
from forgia.errors import Problem, UserError
from forgia.paths import NAME

ROLE = "io.forgia.role"
"""Annotation on every manifest of a release: model, recipe, dataset or provenance."""
METRIC = "io.forgia.metric."
"""Followed by a metric's name: its value on the test split, as text."""
BASELINE = "io.forgia.baseline."
"""Followed by a metric's name: the baseline's value on the same split, as text."""
PRIMARY = "io.forgia.primary"
"""The metric that decides, by name."""
GATE = "io.forgia.gate"
"""Whether the model passed the recipe's gate: ``passed``, ``failed`` or ``none``; where labels do not tell the figure
that was asked, ``passed on FIGURE`` or ``not applied``."""
TEST = "io.forgia.test"
"""``true`` on what a run with the recipe's small test settings made: it works, and is good for nothing."""
MODEL_NAME = "io.forgia.name"
RUN = "io.forgia.run"
IDENTITY = "io.forgia.identity"
RECIPE_VERSION = "io.forgia.recipe.version"
RECIPE_DIGEST = "io.forgia.recipe.digest"
DATASET = "io.forgia.dataset"
TENSORS = "io.forgia.tensors.digest"
"""Digest of the trained tensors' names, types, shapes and bytes: equal for equal training, whatever the file says."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""Source: https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/statement.md"""
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
"""Source: https://slsa.dev/spec/v1.0/provenance"""
BUILD_TYPE = "https://forgia.io/recipe-run/v1"
BUILDER = "https://forgia.io/jobs"
PROVENANCE_KEYS = frozenset(
    {
        "buildType",
        "externalParameters",
        "internalParameters",
        "resolvedDependencies",
        "builder",
        "startedOn",
        "finishedOn",
        "byproducts",
    }
)
"""What a draft may say of how it was made; the names are those of the SLSA predicate."""

VERSION = re.compile(
    r"^(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:[+_]([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?$"
)
"""MAJOR.MINOR.PATCH and an optional build part; no pre-releases, a version here is always final.

Source: https://semver.org/spec/v2.0.0.html §2, §10
"""
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
"""RFC 3339 with a zone."""

Media = Literal["weight", "weight.config", "doc", "code"]
"""What a file of a model is, in ModelPack's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """One file of the model."""

    path: Path
    """Where it lies now."""
    name: str
    """Its relative path in the release."""
    media: Media


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDocument:
    """What a release tells of a dataset it was made from: its papers, never its rows."""

    name: str
    manifest: Path
    croissant: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDraft:
    """Everything a release is made of; the same draft gives the same digest."""

    name: str
    """The model's name: that of the recipe."""
    recipe_version: str
    run_id: str
    identity: str
    """Digest of the request the run answered."""
    created: str
    """RFC 3339; comes from the caller, so that writing a release reads no clock."""
    title: str
    summary: str
    licence: str
    """SPDX expression."""
    authors: Sequence[str]
    model_files: Sequence[ReleaseFile]
    recipe_root: Path
    """The run's frozen copy of the recipe."""
    request_path: Path
    dataset_docs: Sequence[DatasetDocument] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Parts of the SLSA predicate that only the node knows; keys as in ``PROVENANCE_KEYS``."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Laid on the release index, such as ``io.forgia.metric.f1``."""
    architecture: str | None = None
    precision: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """The immutable number of a registered model."""

    major: int
    minor: int
    patch: int
    build: str = ""

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``1.2.3`` or ``1.2.3+b1`` (a tag writes it ``1.2.3_b1``). Raises: UserError."""
        if not (match := VERSION.fullmatch(text)) or len(text) > 128:
            raise UserError(f"version {text!r}: write MAJOR.MINOR.PATCH, such as 1.0.0 or 1.0.0+site2")
        major, minor, patch, build = match.groups()
        return cls(int(major), int(minor), int(patch), build or "")

    @property
    def tag(self) -> str:
        """The version as an OCI tag, where ``+`` is not allowed."""
        return f"{self.major}.{self.minor}.{self.patch}" + (f"_{self.build}" if self.build else "")

    def __str__(self) -> str:
        return self.tag.replace("_", "+")

    def next_free(self, taken: Collection[str]) -> Version:
        """This version, or the first above it in the patch number whose tag is not taken."""
        candidate = self
        while candidate.tag in taken:
            candidate = Version(candidate.major, candidate.minor, candidate.patch + 1, candidate.build)
        return candidate


def is_version(tag: str) -> bool:
    """Whether a tag is a version, and so can never move."""
    return VERSION.fullmatch(tag) is not None


def version_tag(text: str) -> str:
    """How a reference spells a version as a tag; anything that is no version stays as it is."""
    return text.replace("+", "_") if is_version(text) else text


def checked_path(name: str) -> PurePosixPath:
    """A relative path that cannot leave the folder it is written in.

    Raises: UserError — absolute, with ``..``, empty parts, a backslash, a colon or a control character.
    """
    parts = name.split("/")
    unsafe = any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in parts)
    if unsafe or any(ord(sign) < 32 or sign in "\\:\x7f" for sign in name):
        raise UserError(f"file name {name!r} in a release: only relative paths inside the release's folder are allowed")
    return PurePosixPath(*parts)


def checked_parts(name: str) -> tuple[str, ...]:
    """The parts of a safe relative path; none where it is not safe."""
    try:
        return checked_path(name).parts
    except UserError:
        return ()


def check(draft: ReleaseDraft) -> None:
    """Raises: UserError — with everything that is wrong with the draft."""
    problems = sorted(draft_problems(draft))
    if problems:
        raise UserError(f"release of run {draft.run_id} cannot be written", problems=problems)


def draft_problems(draft: ReleaseDraft) -> Iterator[Problem]:
    """What is wrong with a draft, place by place."""

    def problem(place: str, message: str) -> Problem:
        return Problem("release", None, place, message)

    if not NAME.fullmatch(draft.name) or len(draft.name) > 64:
        yield problem("name", f"{draft.name!r} is no name of a model")
    if not VERSION.fullmatch(draft.recipe_version):
        yield problem("recipe_version", f"{draft.recipe_version!r} is not MAJOR.MINOR.PATCH")
    if not digest.PATTERN.fullmatch(draft.identity):
        yield problem("identity", f"{draft.identity!r} is no sha256 digest")
    if not TIME.fullmatch(draft.created):
        yield problem("created", f"{draft.created!r} is no RFC 3339 time with a zone")
    if not any(file.media == "weight" for file in draft.model_files):
        yield problem("model_files", "a model needs at least one file of weights")
    for key in sorted(set(draft.provenance) - PROVENANCE_KEYS):
        yield problem(f"provenance.{key}", f"unknown; known: {', '.join(sorted(PROVENANCE_KEYS))}")
    for key in sorted(key for key in draft.annotations if not key.startswith("io.forgia.")):
        yield problem(f"annotations.{key}", "annotations of ours begin with io.forgia.")
    yield from file_problems(draft)


def file_problems(draft: ReleaseDraft) -> Iterator[Problem]:
    """What is wrong with the names and places of a draft's files."""
    seen: set[str] = {"request.json", "provenance.json", "release.json"}
    for file in draft.model_files:
        parts = checked_parts(file.name)
        if not parts:
            yield Problem("release", None, "model_files", f"{file.name!r} is not a relative path inside the release")
        elif file.name in seen or parts[0] in {"recipe", "datasets"}:
            yield Problem("release", None, "model_files", f"{file.name!r} is named twice or kept for forgia")
        seen.add(file.name)
    for data in draft.dataset_docs:
        if len(checked_parts(data.name)) != 1:
            yield Problem("release", None, "dataset_docs", f"{data.name!r} is no name of a dataset")
    documents = [path for data in draft.dataset_docs for path in (data.manifest, data.croissant) if path]
    for path in (*(file.path for file in draft.model_files), draft.request_path, *documents):
        if not path.is_file():
            yield Problem("release", None, "files", f"{path} is not there")
    if not draft.recipe_root.is_dir():
        yield Problem("release", None, "recipe_root", f"{draft.recipe_root} is not there")


def statement(
    draft: ReleaseDraft, *, model: str, recipe: str, manifests: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The provenance of a release: an in-toto statement about the model manifest, with a SLSA predicate.

    ``model`` is the digest of the model's manifest, ``recipe`` that of the recipe's tree,
    ``manifests`` holds the manifest of each dataset by its reference, such as ``mill-7@2``.
    Source: in-toto Statement v1 and SLSA provenance v1, see the constants above.
    """
    said = draft.provenance
    dependencies = [
        resource(f"recipe/{draft.name}@{draft.recipe_version}", recipe, of="tree"),
        *dataset_resources(manifests),
        *said.get("resolvedDependencies", ()),
    ]
    times = {key: said[key] for key in ("startedOn", "finishedOn") if key in said}
    details: dict[str, Any] = {
        "builder": said.get("builder", {"id": BUILDER}),
        "metadata": {"invocationId": draft.identity, **times},
    }
    if "byproducts" in said:
        details["byproducts"] = said["byproducts"]
    definition = {
        "buildType": said.get("buildType", BUILD_TYPE),
        "externalParameters": said.get("externalParameters", {}),
        "internalParameters": said.get("internalParameters", {}),
        "resolvedDependencies": dependencies,
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": draft.name, "digest": {"sha256": digest.hexadecimal(model)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"buildDefinition": definition, "runDetails": details},
    }


def dataset_resources(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each dataset and each of its files, by digest."""
    for ref, manifest in sorted(manifests.items()):
        yield resource(f"dataset/{ref}", digest.of_json(manifest), of="manifest")
        for file in manifest.get("files", ()):
            yield resource(f"dataset/{ref}/{file['path']}", str(file["digest"]), of="file")


def resource(name: str, digest_: str, *, of: str) -> dict[str, Any]:
    """An in-toto resource descriptor; ``of`` tells what was digested: a file, a tree, a manifest."""
    value = {"sha256": digest.hexadecimal(digest_)}
    return {"name": name, "digest": value, "annotations": {"io.forgia.digest-of": of}}


def figures(annotations: Mapping[str, str], prefix: str) -> dict[str, float]:
    """The numbers in a release's annotations under ``METRIC`` or ``BASELINE``; text that is none is left out."""
    found: dict[str, float] = {}
    for key in sorted(key for key in annotations if key.startswith(prefix)):
        try:
            found[key.removeprefix(prefix)] = float(annotations[key])
        except ValueError:
            continue
    return found


def metric_annotations(model: Mapping[str, float], baseline: Mapping[str, float] | None = None) -> dict[str, str]:
    """Figures as annotations of a release; Python's shortest text that reads back as the same number."""
    ours = {f"{METRIC}{name}": repr(float(value)) for name, value in sorted(model.items())}
    return {**ours, **{f"{BASELINE}{name}": repr(float(value)) for name, value in sorted((baseline or {}).items())}}
