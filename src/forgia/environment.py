"""The Python environment that a run's processes live in: this one, one packed from a lock, or an image.

A lock is built once, where there is an internet, into one file that is named by its bytes; nodes without internet
unpack it (``forgia.unpacking``). A request names what the environment is made of, so that a plan needs nothing built;
the run's folder names the bytes.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forgia import digest, lockfile, process, store, unpacking
from forgia.errors import ClusterError, NotFound, Problem, UserError
from forgia.paths import HomePaths, RunPaths

SCHEMA_VERSION = 1
CURRENT = "current"
IMAGE = re.compile(r"^(?P<path>/[^\x00-\x1f\x7f@:,]+\.sif)@(?P<digest>sha256:[0-9a-f]{64})$")
"""An Apptainer image and its digest; a colon or a comma would be read as more than a path."""
PACKAGES = ("forgia", "forgia_jobs")
"""What of forgia goes along: the library and the node's side."""
STARTER = "submitit"
"""The distribution without which no task starts."""
AT_THE_TERMINAL = frozenset({"forgia", "alembic", "click", "packaging", "pint", "rich", "sqlalchemy"})
"""Of forgia's requirements, those that no node imports."""
PROBE_TIMEOUT_S = 60.0
PROBE = (
    "import json, platform, sys; print(json.dumps({'path': getattr(sys, '_base_executable', sys.executable), "
    "'python': platform.python_version(), 'cache_tag': sys.implementation.cache_tag, "
    "'glibc': platform.libc_ver()[1], 'machine': platform.machine()}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The interpreter that an environment stands on."""

    path: str
    python: str
    """Its version."""
    cache_tag: str
    """Such as cpython-311: what compiled modules must match."""
    glibc: str
    """Empty: another C library."""
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A built environment."""

    digest: str
    """Of what it is made of; the request names it."""
    lock: str
    base: Base
    forgia: str
    archive: str
    """Digest of the one file that holds it; also its name."""
    archive_bytes: int
    unpacked_bytes: int
    files: int
    packages: tuple[tuple[str, str], ...]
    """Name and version."""
    created: str
    seconds: float
    """That the building took."""

    def to_json(self) -> dict[str, Any]:
        """The manifest file."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """The inverse of ``to_json``."""
        fields = {key: item for key, item in value.items() if key != "schema_version"}
        packages = tuple((str(name), str(version)) for name, version in fields["packages"])
        return cls(**{**fields, "base": Base(**fields["base"]), "packages": packages})


# What a recipe says


def checked(text: str) -> str:
    """What a recipe may say of its environment. Raises: ValueError — none of the three."""
    if text == CURRENT or lockfile.NAME.fullmatch(text) or IMAGE.fullmatch(text):
        return text
    raise ValueError(
        "write current, a lock in the recipe's folder (requirements.txt, pylock.toml), or /image.sif@DIGEST"
    )


def lock_problems(root: Path, text: str) -> list[Problem]:
    """What is wrong with the lock that a recipe names."""
    if not lockfile.NAME.fullmatch(text):
        return []
    pins, problems = lockfile.read(root / text)
    names = {pin.name: pin for pin in pins}
    if not problems and STARTER not in names:
        problems = [Problem(str(root / text), None, "", f"names no {STARTER}, without which no task starts")]
    own = names.get("forgia")
    if own and own.requirement.partition(";")[0].strip() != f"forgia=={version()}":
        words = f"names {own.requirement}, but the environment gets the forgia that builds it, {version()}"
        problems.append(Problem(str(root / text), None, "", words))
    return problems


def requested(text: str, *, root: Path, python: str | None) -> dict[str, Any]:
    """The environment of a request. ``python``: the profile's interpreter. Raises: UserError — it does not run here."""
    if found := IMAGE.fullmatch(text):
        return {"kind": "image", "digest": found["digest"], "image": found["path"]}
    if text == CURRENT:
        return current()
    base = base_interpreter(python)
    made_of = {
        "lock_digest": digest.of_file(root / text),
        "forgia": version(),
        "code_digest": code_digest(),
        **{key: value for key, value in asdict(base).items() if key != "path"},
    }
    return {"kind": "lock", "digest": digest.of_json({"format": SCHEMA_VERSION, **made_of}), "lock": text, **made_of}


def current() -> dict[str, Any]:
    """The Python environment that runs forgia, named by the digest of its distributions and versions."""
    found = {
        (item.metadata["Name"].lower().replace("_", "-"), item.version) for item in importlib.metadata.distributions()
    }
    return {
        "kind": CURRENT,
        "python": platform.python_version(),
        "glibc": platform.libc_ver()[1],
        "machine": platform.machine(),
        "digest": digest.of_json([list(pair) for pair in sorted(found)]),
    }


@functools.cache
def base_interpreter(python: str | None) -> Base:
    """The interpreter below a virtual environment, or below none; None: the one that runs forgia.

    Raises: UserError — it cannot be run on this machine.
    """
    program = python or sys.executable
    hint = "build on the login node, with the profile's modules loaded"
    try:
        done = process.run([program, "-I", "-S", "-c", PROBE], timeout_s=PROBE_TIMEOUT_S)
    except (ClusterError, PermissionError) as error:
        raise UserError(f"the python of the nodes cannot be run here: {error}", hint=hint) from error
    if done.returncode:
        raise UserError(f"the python of the nodes, {program}, cannot be run here: {done.stderr.strip()}", hint=hint)
    return Base(**json.loads(done.stdout))


def version() -> str:
    """Forgia's own."""
    return importlib.metadata.version("forgia")


def code_places() -> dict[str, Path]:
    """Folder of each package of forgia's that goes along, where it is installed."""
    specs = {name: importlib.util.find_spec(name) for name in PACKAGES}
    return {
        name: Path(__file__).parent if name == "forgia" else Path(spec.origin).parent
        for name, spec in specs.items()
        if spec and spec.origin
    }


def code_digest() -> str:
    """The digest of forgia's own code: an edit makes another environment."""
    return digest_of_code(code_places())


def digest_of_code(places: Mapping[str, Path]) -> str:
    """The digest of packages that lie in these folders."""
    return digest.of_json({name: digest.of_tree(place) for name, place in places.items()})


def warnings(section: Mapping[str, Any], *, root: Path, home: HomePaths) -> Iterator[str]:
    """What a person should know of a request's environment before sending it."""
    if section["kind"] != "lock":
        return
    if built(home, section["digest"]) is None:
        text = f"environment {section['lock']} is not built yet: submit and run build it first"
        yield f"{text} (forgia environment build does it now)"
    names = {pin.name for pin in lockfile.load(root / section["lock"])}
    if lacking := sorted(training_needs() - names):
        yield f"environment {section['lock']} lacks {', '.join(lacking)}, which forgia[train] names"


def training_needs() -> set[str]:
    """Distributions that forgia's own metadata names for training, without those that only the terminal needs."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found = [Requirement(text) for text in importlib.metadata.requires("forgia") or ()]
    extras = [{"extra": name} for name in ("train", "predict")]
    wanted = [item for item in found if not item.marker or any(map(item.marker.evaluate, extras))]
    return {str(canonicalize_name(item.name)) for item in wanted} - AT_THE_TERMINAL


# What is built


def built(home: HomePaths, name: str) -> Manifest | None:
    """The environment made of what this digest names; None: not built, or its file is gone."""
    place = home.environment(name)
    if not place.is_file():
        return None
    manifest = Manifest.from_json(store.read_json(place))
    archive = home.environment_archive(manifest.archive)
    return manifest if archive.is_file() and archive.stat().st_size == manifest.archive_bytes else None


def listing(home: HomePaths) -> list[Manifest]:
    """Every environment that is built, newest first."""
    names = (place.stem for place in home.environments.glob("[0-9a-f]*.json"))
    found = (built(home, f"sha256:{name}") for name in names)
    return sorted(filter(None, found), key=lambda manifest: manifest.created, reverse=True)


def find(home: HomePaths, beginning: str) -> Manifest:
    """The environment whose digest begins so. Raises: NotFound — none, or several."""
    known = {digest.hexadecimal(manifest.digest): manifest for manifest in listing(home)}
    found = [item for name, item in known.items() if name.startswith(beginning.removeprefix("sha256:"))]
    if len(found) != 1:
        hint = f"{len(found)} environments begin so" if found else "forgia environment list"
        raise NotFound("environment", beginning, known=[name[:12] for name in known], hint=hint)
    return found[0]


def pin(draft: RunPaths, request: Mapping[str, Any], *, home: HomePaths) -> None:
    """Write into a run's folder which bytes its environment is, and the program that enters it.

    Raises: UserError — the environment is not built.
    """
    section = request.get("environment", {})
    if section.get("kind", CURRENT) == CURRENT:
        return
    if section["kind"] == "image":
        facts = {"kind": "image", "path": section["image"], "digest": section["digest"]}
    else:
        manifest = built(home, section["digest"])
        if manifest is None:
            raise UserError(f"environment {section['lock']} is not built", hint="forgia environment build")
        facts = archive_facts(manifest, unpack=request["profile"].get("environment_unpack") or "node", home=home)
    store.write_json(draft.environment, facts)
    shutil.copyfile(unpacking.__file__, draft.unpacking)


def archive_facts(manifest: Manifest, *, unpack: str, home: HomePaths) -> dict[str, Any]:
    """What a node needs to know of an archive, as ``forgia.unpacking`` reads it."""
    base = manifest.base
    return {
        "kind": "lock",
        "path": str(home.environment_archive(manifest.archive)),
        "digest": manifest.archive,
        "unpacked_bytes": manifest.unpacked_bytes,
        "machine": base.machine,
        "cache_tag": base.cache_tag,
        "glibc": base.glibc,
        "unpack": unpack,
        "shared": str(home.environments / f"unpacked-{os.getuid()}"),
    }
