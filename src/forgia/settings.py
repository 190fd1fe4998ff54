"""Settings: flag, environment, project file, user file, default, in this order; each remembers where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgia.errors import Problem, UserError, nearest
from forgia.paths import HomePaths, checked_name

PROJECT_FILE = "forgia.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every command of one invocation."""

    home: HomePaths
    """Where datasets, runs and the local registry lie (``FORGIA_HOME``)."""
    organisation: str = "local"
    """The firm that owns what is made here; first part of every registry name."""
    profile: str = "laptop"
    """Cluster profile used when a command names none."""
    catalogue: tuple[Path, ...] = ()
    """Folders that hold recipes, profiles and vocabularies, before the built-in catalogue."""
    ledger: Path | str | None = None
    """Where budgets are kept: a file, or ``postgresql://host/database`` without a password; None: in forgia's home."""
    project: str = "main"
    """What of the organisation pays: the third name of a holder's path."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Where each value came from: flag, environment, a file, or default."""


def load(
    *,
    flags: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Resolve the settings. Raises: UserError — unknown key or unreadable file, all of them at once."""
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def take(source: str, found: Mapping[str, Any]) -> None:
        for key, value in found.items():
            if key not in values:
                values[key], origin[key] = value, source

    take("flag", given)
    take(
        "environment",
        {key: environment[f"FORGIA_{key.upper()}"] for key in KEYS if environment.get(f"FORGIA_{key.upper()}")},
    )
    if project := find_upwards(folder, PROJECT_FILE):
        take(str(project), beside(project, read_toml(project)))
    home = (
        Path(values.get("home") or Path(environment.get("HOME", "~")).expanduser() / ".forgia").expanduser().absolute()
    )
    user_file = HomePaths(home).config
    if user_file.is_file():
        take(str(user_file), beside(user_file, read_toml(user_file)))
    organisation = checked_name("organisation", str(values.get("organisation", "local")))
    return Settings(
        home=HomePaths(home),
        organisation=organisation,
        profile=str(values.get("profile", "laptop")),
        catalogue=as_paths(values.get("catalogue", ())),
        ledger=as_place(values["ledger"]) if "ledger" in values else None,
        project=checked_name("project", str(values.get("project", "main"))),
        origin={key: origin.get(key, "default") for key in KEYS},
    )


KEYS = ("home", "organisation", "profile", "catalogue", "ledger", "project")


def as_paths(value: Any) -> tuple[Path, ...]:
    """A list of folders, written as a list or in one line with the system's path separator."""
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    return tuple(Path(part).expanduser().absolute() for part in parts if part)


def as_place(value: Any) -> Path | str:
    """Where a ledger is: a URL as it stands, else a file."""
    return str(value) if "://" in str(value) else Path(str(value)).expanduser().absolute()


def beside(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, with its relative paths taken from where the file lies."""
    values = dict(found)
    if "home" in values:
        values["home"] = str(path.parent / Path(str(values["home"])).expanduser())
    if "ledger" in values and "://" not in str(values["ledger"]):
        values["ledger"] = str(path.parent / Path(str(values["ledger"])).expanduser())
    if "catalogue" in values:
        parts = values["catalogue"] if isinstance(values["catalogue"], list) else [values["catalogue"]]
        values["catalogue"] = [str(path.parent / Path(str(part)).expanduser()) for part in parts]
    return values


def find_upwards(folder: Path, name: str) -> Path | None:
    """The nearest file of this name in ``folder`` or above it."""
    for place in (folder, *folder.parents):
        if (place / name).is_file():
            return place / name
    return None


def read_toml(path: Path) -> dict[str, Any]:
    """One settings file. Raises: UserError — not TOML, or keys that mean nothing."""
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML: {error}") from error
    problems = [
        Problem(
            str(path),
            None,
            key,
            f"unknown setting{''.join(f'; did you mean {name}?' for name in nearest(key, KEYS)[:1])}",
        )
        for key in found
        if key not in KEYS
    ]
    if problems:
        raise UserError(f"{path}: {len(problems)} unknown setting(s); known: {', '.join(KEYS)}", problems=problems)
    return found
