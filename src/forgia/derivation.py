"""A recipe of one's own from one that works: a copy with a new name and one's own data bound."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from forgia import digest, store
from forgia.errors import UserError
from forgia.paths import checked_name
from forgia.recipe import FILE_NAME, RecipeFolder

FIRST_VERSION = "1.0.0"


def derive(source: RecipeFolder, name: str, *, datasets: Sequence[str], folder: Path) -> Path:
    """Copy a recipe to ``folder/name`` and rewrite its name, version and data; comments and order stay.

    Raises: UserError — not a name, or the folder is there already (nothing is touched).
    """
    target = folder / checked_name("recipe", name)
    if target.exists():
        raise UserError(f"{target} exists already; nothing was changed", hint="choose another name")
    text = (source.root / FILE_NAME).read_text(encoding="utf-8-sig")
    role = next(iter(source.recipe.data))
    bound = {0: "null", 1: json.dumps(datasets[0]) if datasets else ""}.get(len(datasets), json.dumps(list(datasets)))
    lines = text.splitlines()
    replace_value(lines, source, ("name",), name)
    replace_value(lines, source, ("version",), FIRST_VERSION)
    if ("data", role, "dataset") in source.document.lines:
        replace_value(lines, source, ("data", role, "dataset"), bound)
    else:
        place = source.document.lines["data", role]
        indent = re.match(r" *", lines[place])[0] if place < len(lines) else "    "  # type: ignore[index]
        lines.insert(place, f"{indent}dataset: {bound}")
    with store.building(target) as beside:
        store.copy_tree(source.root, beside, digest.tree_files(source.root))
        store.write_atomic(beside / FILE_NAME, "\n".join(lines) + "\n")
    return target


def replace_value(lines: list[str], source: RecipeFolder, location: tuple[str, ...], value: str) -> None:
    """Rewrite a one-line field in place, keeping its indent and the comment behind it.

    Raises: UserError — the value is written over several lines.
    """
    index = source.document.lines[location] - 1
    written = re.fullmatch(r"(\s*[\w-]+:)\s*(\[.*?\]|\"[^\"]*\"|'[^']*'|[^#]*?)(\s+#.*)?", lines[index])
    if not written:
        field = ".".join(location)
        raise UserError(f"{source.document.path}:{index + 1}: {field} is not on one line; copy the folder by hand")
    lines[index] = f"{written[1]} {value}{written[3] or ''}"
