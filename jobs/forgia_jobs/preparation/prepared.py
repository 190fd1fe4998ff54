"""Prepared data: what a role's samples are made of, as mapped files below forgia's home, instead of in memory.

A folder is named by what it was made from: datasets, columns, split, samples, and the versions that decide bits. Its
manifest has the digest of every file; nothing is used before somebody has compared them. It is a cache: what is missing
or damaged is made again, in memory or by ``forgia dataset prepare``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgia import digest, store
from forgia.errors import IntegrityError, UserError
from forgia.features import FeatureSpec
from forgia.paths import HomePaths
from forgia.splitting import PARTS, Split
from forgia_jobs.preparation import mapped
from forgia_jobs.preparation.mapped import ArrayFile
from forgia_jobs.request import Role
from forgia_jobs.samples import usual
from forgia_jobs.samples.data import Data
from forgia_jobs.samples.tabular import Kind

SCHEMA_VERSION = 2
"""Part of a folder's name, so that what an older forgia has arranged otherwise is not found."""
MANIFEST = "manifest.json"
BIT_DECIDING = ("numpy", "pyarrow", "scikit-learn")
"""Distributions whose version may change a statistic or the place of an edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What lies in a folder of prepared data."""

    made_of: Mapping[str, Any]
    features: Mapping[str, Any]
    """The value of a ``features.json``."""
    owners: tuple[str, ...]
    """Organisations; the array ``owners`` has positions in this list."""
    left_out: int
    notes: tuple[str, ...]
    test_groups: tuple[str, ...]
    arrays: Mapping[str, ArrayFile]

    def to_json(self) -> dict[str, Any]:
        """The value of the file; the digest of ``features`` is there for whoever compares two folders."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self), "features_digest": digest.of_json(self.features)}

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Raises: UserError, OSError, KeyError — not a manifest that this forgia reads."""
        value = store.read_json(folder / MANIFEST)
        if value["schema_version"] != SCHEMA_VERSION:
            raise UserError(f"{folder}: prepared data of schema version {value['schema_version']}")
        return cls(
            made_of=value["made_of"],
            features=value["features"],
            owners=tuple(value["owners"]),
            left_out=int(value["left_out"]),
            notes=tuple(value["notes"]),
            test_groups=tuple(value["test_groups"]),
            arrays={name: ArrayFile.from_json(item) for name, item in value["arrays"].items()},
        )


def made_of(role: Role) -> dict[str, Any]:
    """All that decides the bytes of a role's prepared data."""
    asked = asdict(role)
    told = {name: asked[name] for name in ("columns", "units", "split", "samples", "output", "quantiles", "cap")}
    return {
        "schema_version": SCHEMA_VERSION,
        "datasets": [item.digest for item in role.datasets],
        **told,
        "versions": {name: version(name) for name in BIT_DECIDING},
    }


def folder_of(home: HomePaths, role: Role) -> Path:
    """Where the prepared data of a role lies, if it has been prepared."""
    return home.prepared_data(digest.of_json(made_of(role)))


def array_path(folder: Path, name: str) -> Path:
    """The file of an array."""
    return folder / f"{name}.arrow"


def verify(folder: Path) -> Manifest:
    """Digest every file again. Raises: IntegrityError — naming what differs."""
    try:
        found = Manifest.load(folder)
    except (UserError, OSError, KeyError, TypeError) as error:
        raise IntegrityError(str(folder / MANIFEST), expected="a manifest", found=str(error)) from error
    if digest.of_json(found.made_of) != f"sha256:{folder.name}":
        raise IntegrityError(str(folder / MANIFEST), expected=folder.name, found="data made of something else")
    mapped.verify({array_path(folder, name): facts for name, facts in found.arrays.items()})
    return found


def load(role: Role, folder: Path, kind: Kind) -> Data:
    """The same data as in memory, bit for bit, over mapped files. Raises: IntegrityError — a file is another array."""
    manifest = Manifest.load(folder)
    arrays = {name: mapped.open_array(array_path(folder, name), facts) for name, facts in manifest.arrays.items()}
    own = {name.removeprefix("own-"): array for name, array in arrays.items() if name.startswith("own-")}
    split = Split(**{part: arrays[f"split-{part}"] for part in PARTS})
    spec = FeatureSpec.from_json(manifest.features)
    spec, numeric = usual.settle(spec, role, own, arrays["numeric"], train=split.train)
    return Data(
        spec=spec,
        split=split,
        groups=arrays["groups"],
        owners=np.array(manifest.owners, dtype=object)[arrays["owners"]],
        source=kind.source(role, {"numeric": numeric, "categorical": arrays["categorical"]}, own),
        target=arrays["target"],
        left_out=manifest.left_out,
        notes=manifest.notes,
        test_groups=manifest.test_groups,
    )


def owner_codes(owners: npt.NDArray[Any]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """The organisations by name, and the position of each sample's."""
    names, codes = np.unique(owners.astype(str), return_inverse=True)
    return tuple(names.tolist()), codes.astype(np.int32)


def remove(folder: Path) -> bool:
    """Take the folder away; whoever has mapped its files keeps them. False: it was not there."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return False
    shutil.rmtree(aside)
    return True
