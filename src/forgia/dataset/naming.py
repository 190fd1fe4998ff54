"""What columns are called in a dataset, and which of its columns those of another file are: never by their place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from forgia import units
from forgia.dataset.binding import Binding
from forgia.dataset.manifest import Column
from forgia.vocabulary import Concept, Vocabulary, plain


def column_names(bindings: Iterable[Binding], vocabulary: Vocabulary, *, before: Sequence[Column] = ()) -> list[str]:
    """Parquet names of bound columns: the concept's id, or the tidied header.

    Of several columns of a concept each carries the number of its header; the bare name is that of the header without
    a number, or else of number 1. Where numbers do not tell them apart, they are counted from the surest header on,
    in alphabetical order, and those of the version before keep the name they had there. So the order of a file's
    columns changes no name.
    A column kept without a concept never takes a concept's id: whoever reads that name relies on its unit.
    """
    bindings = list(bindings)
    names: dict[str, str] = {}
    groups: dict[tuple[bool, str], list[Binding]] = {}
    for binding in bindings:
        base = binding.concept.id if binding.concept else tidied(binding.header, vocabulary)
        groups.setdefault((binding.concept is None, base), []).append(binding)
    for (_, base), group in sorted(groups.items(), key=lambda item: item[0]):
        concept = group[0].concept
        numbers = numbers_of([one.header for one in group], concept) if concept and len(group) > 1 else {}
        bare = None if None in numbers.values() else 1
        if numbers and len(set(numbers.values())) == len(group):
            for header, number in numbers.items():
                names[header] = _free(base if number == bare else f"{base}_{number}", names.values())
            continue
        known = {one.source: one.name for one in before if one.concept and one.concept == base and concept}
        names |= {one.header: known[one.header] for one in group if one.header in known}
        ranked = sorted(group, key=lambda one: (-one.confidence, plain(one.header), one.header))
        for one in (one for one in ranked if one.header not in names):
            names[one.header] = _free(base, {*names.values(), *(known.values() if len(group) > 1 else ())})
    return [names[binding.header] for binding in bindings]


def tidied(header: str, vocabulary: Vocabulary) -> str:
    """A header as a name of its own, none that a column of a concept could have."""
    base = re.sub(r"\W+", "_", plain(units.split_header(header)[0])).strip("_") or "column"
    base = f"column_{base}" if base[0].isdigit() else base
    return f"{base}_unbound" if re.sub(r"(_\d+)+$", "", base) in vocabulary.concepts else base


def _free(base: str, taken: Collection[str]) -> str:
    count, name = 1, base
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    return name


def numbers_of(headers: Sequence[str], concept: Concept) -> dict[str, int | None]:
    """The number in each of a concept's headers: where they differ in one number alone that, else the last one.

    Digits of the concept's own words are none, such as the 2 of CO2.
    """
    own = {tuple(re.findall(r"\d+", plain(word))) for word in concept.words()} - {()}
    found = {header: _digits(header, own) for header in headers}
    lengths = {len(digits) for digits in found.values()}
    place = -1
    if len(lengths) == 1:
        differing = [at for at, values in enumerate(zip(*found.values(), strict=True)) if len(set(values)) > 1]
        place = differing[0] if len(differing) == 1 else -1
    return {header: int(digits[place]) if digits else None for header, digits in found.items()}


def _digits(header: str, own: Iterable[tuple[str, ...]]) -> list[str]:
    digits = re.findall(r"\d+", plain(units.split_header(header)[0]))
    for part in own:
        if digits[: len(part)] == list(part):
            return digits[len(part) :]
    return digits


# Columns of another file


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Which columns of a file are those of a dataset."""

    found: Mapping[str, Binding]
    """Name in the dataset → the file's column."""
    unclear: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name in the dataset → headers, any of which it could be."""


def matched(
    bindings: Iterable[Binding], columns: Sequence[Column], vocabulary: Vocabulary, *, origins: Iterable[Column] = ()
) -> Matched:
    """Find a dataset's columns among those of a file: by their headers, then by the numbers in them.

    Args: origins — the same columns as other datasets tell of them, with the headers that they had there.
    """
    origins = [*columns, *origins]
    known = [_Known.of(column, origins) for column in columns]
    found: dict[str, Binding] = {}
    unclear: dict[str, tuple[str, ...]] = {}
    groups: dict[str | None, list[Binding]] = {}
    for binding in bindings:
        groups.setdefault(binding.concept.id if binding.concept else None, []).append(binding)
    for concept, group in groups.items():
        wanted = [one for one in known if one.column.concept == concept]
        taken = dict(_pairs(group, wanted, vocabulary))
        found |= taken
        used = {one.header for one in taken.values()}
        left = tuple(one.header for one in group if one.header not in used)
        if concept and left:
            unclear |= {one.column.name: left for one in wanted if one.column.name not in taken}
    return Matched(found=found, unclear=unclear)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """A column of a dataset, with every header it was read from."""

    column: Column
    headers: tuple[str, ...]

    @classmethod
    def of(cls, column: Column, origins: Iterable[Column]) -> _Known:
        same = (one for one in origins if one.name == column.name and one.concept == column.concept)
        return cls(column=column, headers=tuple(dict.fromkeys(one.source for one in same)))


Keys = tuple[Callable[[Binding], Hashable], Callable[[_Known], Iterable[Hashable]]]
"""How a rule sees a file's column and a dataset's; what is seen alike is the same. None is like nothing."""


def _pairs(group: Sequence[Binding], wanted: Sequence[_Known], vocabulary: Vocabulary) -> Iterator[tuple[str, Binding]]:
    """The dataset's columns of one concept and the file's, each rule for what the ones before it left open."""
    here, there = list(group), list(wanted)
    for keys in _rules(group, wanted, vocabulary):
        for binding, one in _only_pairs(here, there, keys):
            here.remove(binding)
            there.remove(one)
            yield one.column.name, binding
    if group[0].concept and len(group) == len(wanted) == len(here) == 1:
        yield wanted[0].column.name, group[0]


def _only_pairs(group: Sequence[Binding], wanted: Sequence[_Known], keys: Keys) -> list[tuple[Binding, _Known]]:
    """Those that are like each other, and like no other."""
    of_binding, of_known = keys
    theirs: dict[Hashable, list[Binding]] = {}
    for binding in group:
        theirs.setdefault(of_binding(binding), []).append(binding)
    theirs.pop(None, None)
    like = [(binding, one) for one in wanted for key in {*of_known(one)} for binding in theirs.get(key, ())]
    times = Counter(binding.header for binding, _ in like), Counter(one.column.name for _, one in like)
    return [(b, one) for b, one in like if times[0][b.header] == times[1][one.column.name] == 1]


def _rules(group: Sequence[Binding], wanted: Sequence[_Known], vocabulary: Vocabulary) -> Iterator[Keys]:
    """How columns are told apart, the surest first."""
    yield (lambda binding: binding.header), (lambda one: one.headers)
    yield (lambda binding: plain(binding.header)), (lambda one: map(plain, one.headers))
    yield _label_here, _labels_there
    yield (lambda binding: _label(binding.header)), (lambda one: () if one.column.unit else map(_label, one.headers))
    yield (
        (lambda binding: _words(binding.header, vocabulary)),
        (lambda one: {_words(h, vocabulary) for h in one.headers}),
    )
    yield (lambda binding: _label(binding.header)), (lambda one: [plain(one.column.name)])
    if wanted and (concept := group[0].concept):
        yield _by_number(group, wanted, concept)


def _label(header: str) -> str:
    return plain(units.split_header(header)[0])


def _label_here(binding: Binding) -> Hashable:
    return _label(binding.header), None if binding.concept else binding.unit


def _labels_there(one: _Known) -> Iterator[Hashable]:
    """Headers without their units; of columns without a concept only where no other unit is told."""
    for header in one.headers:
        yield _label(header), None
        if not one.column.concept:
            yield _label(header), one.column.unit


def _words(header: str, vocabulary: Vocabulary) -> Hashable:
    """The words in any order and either language, the numbers in theirs; nothing for numbers alone."""
    label = units.split_header(header)[0]
    digits = tuple(word for word in plain(label).split() if word.isdigit())
    words = frozenset(word for word in vocabulary.key(label) if not word.isdigit())
    return (words, digits) if words else None


def _by_number(group: Sequence[Binding], wanted: Sequence[_Known], concept: Concept) -> Keys:
    """The numbers in the headers; where both sides have as many columns, a header without one stands for number 1."""
    theirs = numbers_of([binding.header for binding in group], concept)
    ours = [numbers_of([one.headers[0] for one in wanted], concept)]
    ours += [numbers_of([header], concept) for one in wanted for header in one.headers[1:]]
    known = {header: number for numbers in reversed(ours) for header, number in numbers.items()}
    first = 1 if 1 < len(group) == len(wanted) else None

    def number(found: int | None, among: Iterable[int | None]) -> Hashable:
        return ("none" if first is None or first in among else first) if found is None else found

    def of_binding(binding: Binding) -> Hashable:
        return number(theirs[binding.header], theirs.values())

    def of_known(one: _Known) -> Iterable[Hashable]:
        numbers = {number(known[header], known.values()) for header in one.headers}
        return numbers if len(numbers) == 1 else ()

    return of_binding, of_known
