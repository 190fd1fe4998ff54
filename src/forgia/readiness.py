"""Whether bound data can be parted and learnt from: what can be known of groups, parts, times and labels before a node
is asked. The rules are those of the job; only the columns that say so are read.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forgia import features
from forgia import groups as grouping
from forgia.data_contract import DataRole
from forgia.dataset.dataset import Dataset
from forgia.errors import Problem
from forgia.groups import Numbers, Repeated
from forgia.recipe import RecipeFolder
from forgia.store import read_json

LOOKED_AT = 10_000_000
"""Rows that are looked at from the terminal, a few columns of each (5 s, 1.5 GB); of more only the job speaks."""
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the columns say that part the data."""

    names: tuple[str, ...]
    """Of the groups that make samples and are judged, by owner and name."""
    strange: tuple[str, ...] = ()
    """Words that name no part."""
    parts: Mapping[str, int] | None = None
    """Part → its groups; None where no column names parts."""
    in_two: int = 0
    """Groups in more than one part."""
    untimed: int = 0
    """Rows without a time."""
    repeated: Repeated | None = None
    refs: tuple[str, ...] = ()
    """Datasets of the example of rows of one moment in two of them."""
    example: str = ""
    """Its group."""
    series: int = 0
    short: int = 0
    """Series with no row behind their beginning."""
    is_labelled: bool = True
    """Whether any row has a value of the target."""
    is_all_true: bool = False
    """Whether the target is true in every row."""
    is_never_true: bool = False
    """Whether the target is false in every row that has a value of it."""


def look(binding: DataRole, datasets: Sequence[Dataset], columns: Mapping[str, Any]) -> Outlook | None:
    """Read what parts the data; None where nothing does, or there is too much of it.

    Args: columns — those of the request.
    """
    contract, group, time = binding.contract, columns.get("group"), columns.get("time")
    is_windows = contract.samples.kind == "windows"
    rows = sum(item.manifest.rows for item in datasets)
    if contract.samples.kind == "tokens" or contract.output == "quantiles" or columns.get("episodes_of"):
        return None
    if not rows or rows > LOOKED_AT or not (group or is_windows):
        return None
    names = _Names(
        group=group,
        time=time if is_windows else None,
        part=columns.get("part"),
        label=columns["target"] if contract.output == "score" else None,
    )
    return _looked(tuple((item.digest, item.paths.root) for item in datasets), names, contract.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The columns that are looked at."""

    group: str | None
    time: str | None
    part: str | None
    label: str | None


@functools.lru_cache(maxsize=8)  # the points of a sweep ask the same of the same data
def _looked(places: tuple[tuple[str, Path], ...], names: _Names, kind: Any) -> Outlook | None:
    datasets = [Dataset.at(root) for _, root in places]
    wanted = [name for name in (names.group, names.time, names.part, names.label) if name]
    table = grouping.pooled(datasets, wanted, group=names.group)
    if table is None:
        return None
    by = names.group or grouping.DATASET
    numbers = grouping.of_rows(table, by) if names.group else grouping.numbered(table, (by,), is_sorted=True)
    told: dict[str, Any] = {}
    if names.time:
        told = _series(table, numbers, names.time, by, refs=[item.ref for item in datasets], kind=kind)
    kept = told.pop("kept", np.unique(numbers))
    if names.label:
        has_label = table.column(names.label).is_valid().to_numpy()
        told["is_labelled"] = bool(has_label.any())
        if told["is_labelled"]:
            is_true = features.targets(table, names.label) > 0.5
            told |= {"is_all_true": bool(is_true.all()), "is_never_true": not is_true.any()}
            kept = np.intersect1d(kept, numbers[has_label])
    if names.part:
        told |= _parts(table.column(names.part), numbers)
    labels, firsts = np.unique(numbers, return_index=True)
    judged = table.column(by).take(pa.array(firsts[np.isin(labels, kept)])).to_pylist()
    return Outlook(names=tuple(map(str, judged)), **told)


def _series(
    table: pa.Table, numbers: Numbers, time: str, group: str, *, refs: Sequence[str], kind: Any
) -> dict[str, Any]:
    """What is to be said of rows in the order of time."""
    times = table.column(time)
    if times.null_count:
        return {"untimed": times.null_count}
    values, datasets = times.to_numpy(), table.column(grouping.DATASET).to_numpy()
    order = np.lexsort((values, numbers))
    found = grouping.repeated(numbers[order], values[order], datasets[order])
    labels, lengths = np.unique(numbers, return_counts=True)
    told = {
        "repeated": found,
        "series": len(labels),
        "short": int((lengths < kind.beginning).sum()),
        "kept": labels if kind.lead_in else labels[lengths >= kind.length],
    }
    if found.example:
        rows = order[list(found.example)]
        told["refs"] = tuple(refs[place] for place in datasets[rows])
        told["example"] = str(table.column(group)[int(rows[0])].as_py())
    return told


def _parts(column: pa.ChunkedArray, numbers: Numbers) -> dict[str, Any]:
    """How many groups are in each part, in two of them, and which words name none."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    words = [str(word).strip().casefold() for word in encoded.dictionary.to_pylist()]
    if strange := sorted(set(words) - set(grouping.PART_WORDS)):
        return {"strange": tuple(strange)}
    places = np.asarray([*(grouping.PART_WORDS[word] for word in words), 0])
    given = places[pc.fill_null(encoded.indices, len(words)).to_numpy(zero_copy_only=False)]
    pairs = np.unique(np.column_stack([numbers, given]), axis=0)
    counts: npt.NDArray[np.int64] = np.bincount(pairs[:, 1], minlength=len(PARTS))
    in_two = len(pairs) - len(np.unique(pairs[:, 0]))
    return {"parts": dict(zip(PARTS, counts.tolist(), strict=True)), "in_two": in_two}


def names_no_test(found: Outlook | None) -> bool:
    """Whether a column names parts, and none of them is a test: then whole groups are parted, whatever it says."""
    return found is not None and found.parts is not None and not found.parts["test"]


def problems(
    folder: RecipeFolder, role: str, binding: DataRole, columns: Mapping[str, Any], found: Outlook
) -> Iterator[Problem]:
    """Why the data cannot be parted as the recipe asks, with the setting that helps."""
    place, group = ("data", role, "contract", "split", "by"), str(columns.get("group") or "dataset")
    if found.untimed:
        text = f"{found.untimed:,} row(s) have no {columns['time']}, by which windows are ordered"
        yield folder.problem(("data", role, "contract", "columns"), text)
    if found.repeated and found.repeated.across:
        text = grouping.across_sentence(
            group, found.example, time=str(columns["time"]), found=found.repeated, refs=found.refs
        )
        yield folder.problem(("data", role, "dataset"), f"{text}; {grouping.ACROSS_HINT}")
    if binding.contract.split.by == "part" and columns.get("part"):
        yield from (folder.problem(place, text) for text in _wrong_parts(role, columns, found))
    elif binding.contract.split.by != "time" and len(found.names) < len(PARTS):
        what = "labelled, " if binding.contract.output == "score" and found.is_labelled else ""
        text = f"the data has {len(found.names)} {group} ({what}{grouping.listed(found.names) or 'none'})"
        text += f"; whole ones are parted, and a train, a validation and a test part need {len(PARTS)}: bind more data"
        if columns.get("time") and binding.contract.output == "score":
            text += f", or part them by time: --set data.{role}.contract.split.by=time"
        yield folder.problem(place, text)

    if found.is_all_true and getattr(binding.contract.samples, "train_on", "every") == "normal":
        text = f"{columns['target']} is true in every row, and only windows without such a row train; --set "
        place = ("data", role, "contract", "samples", "train_on")
        yield folder.problem(place, f"{text}data.{role}.contract.samples.train_on=every trains on all of them")


def _wrong_parts(role: str, columns: Mapping[str, Any], found: Outlook) -> Iterator[str]:
    part, setting = columns["part"], f"--set data.{role}.contract.split.by=group parts whole groups instead"
    if found.strange:
        yield f"{part} says {', '.join(found.strange)}; a part is called {', '.join(grouping.PART_WORDS)}; {setting}"
    if found.parts is None:
        return
    if not found.parts["train"]:
        yield f"{part} names no row of the train part; {setting}"
    elif not found.parts["validation"] and found.parts["train"] < len(PARTS) - 1:
        yield f"{part} names a single group for training, from which no validation part can be taken; {setting}"
    if found.in_two:
        yield f"{part} has {found.in_two:,} group(s) in more than one part; {setting}"


def warnings(
    binding: DataRole, datasets: Sequence[Dataset], columns: Mapping[str, Any], found: Outlook | None
) -> Iterator[str]:
    """What a person should know of the data before it trains; no reason to stop."""
    yield from repeats(datasets)
    if found is None:
        return
    group = str(columns.get("group") or "dataset")
    if found.repeated and found.repeated.rows and not found.repeated.across:
        yield grouping.repeated_sentence(group, time=str(columns["time"]), found=found.repeated)
    if found.short:
        beginning = int(getattr(binding.contract.samples, "beginning", 0))
        yield grouping.short_sentence(group, found.short, of=found.series, beginning=beginning)
    if found.is_never_true:
        yield f"{columns['target']} is true in no row: misses cannot be known"
    if not found.is_labelled:
        yield f"no row has a value of {columns['target']}: all count as normal, and misses cannot be known"


def repeats(datasets: Sequence[Dataset]) -> Iterator[str]:
    """Rows that are there more than once, by the profiles, and files that two of the datasets hold."""
    seen: dict[str, tuple[str, str]] = {}
    for item in datasets:
        told = read_json(item.paths.profile).get("duplicates", {}) if item.paths.profile.is_file() else {}
        if told.get("found"):
            yield f"{item.ref}: {told['found']:,} of {told['rows_compared']:,} rows compared repeat another one wholly"
        for source in item.manifest.sources:
            before, name = seen.setdefault(source.digest, (item.ref, source.name))
            if before != item.ref:
                yield f"{before} and {item.ref} both hold {name}: its rows count twice"


def learnt(columns: Mapping[str, Any]) -> tuple[str, ...]:
    """What is learnt from, by name."""
    return (*columns["numeric"], *columns["categorical"], *(item["name"] for item in columns["derived"]))
