"""Headers to concepts: by id, label or synonym, decided by the unit where words alone do not; never by a guess."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from forgia import units
from forgia.dataset.kinds import Look, tidied
from forgia.dataset.mapping import Entry, misfit, render
from forgia.errors import Problem, UserError, nearest
from forgia.vocabulary import Concept, Vocabulary

CONFIDENCE = {"exact": 1.0, "header": 1.0, "mapping": 1.0, "synonym": 0.9, "none": 0.0}
NUMBERED = 0.9
"""Factor for a name with a number that the concept does not have, such as ``Temperatura motore 2``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What one header means."""

    header: str
    look: Look
    concept: Concept | None = None
    unit: str | None = None
    """Unit of the values in the file."""
    how: str = "none"
    """exact (the id), header (the label), synonym, mapping or none."""
    confidence: float = 0.0
    kind: str = "text"
    true_values: tuple[str, ...] = ()
    """Of a yes or a no: the values that are a yes; empty where the words say it."""
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A column that only a person can bind."""

    header: str
    why: str
    look: Look
    suggestions: tuple[Entry, ...] = ()
    """Most likely first; the last resort, keeping it without a concept, is for a person to say."""
    is_label: bool = False
    """It names what a model is asked about, and is never kept unless a person says so of this very column."""


Ask = Callable[[Question], Entry | None]
"""Puts a question to a person; None where they have no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """All columns of a file, and what is still open."""

    bound: tuple[Binding, ...]
    questions: tuple[Question, ...] = ()

    def mapping_text(self) -> str:
        """A mapping file that answers every open question in the likeliest way, to be checked by a person."""
        return render(
            (question.header, question.suggestions[0] if question.suggestions else Entry(keep="auto"), question.why)
            for question in self.questions
        )


def bind(
    looks: Mapping[str, Look],
    vocabulary: Vocabulary,
    *,
    mapping: Mapping[str, Entry] | None = None,
    keep_unbound: bool = False,
    ask: Ask | None = None,
    path: str = "",
) -> Bindings:
    """Bind every header of a file, in its order.

    Raises: UserError — units that contradict their concept, or a mapping for columns that are not there; all of them.
    """
    given = dict(mapping or {})
    problems = [_no_column(header, looks, path) for header in given if header not in looks]
    bound: list[Binding] = []
    questions: list[Question] = []
    for header, look in looks.items():
        try:
            found = resolve(header, look, vocabulary, given.get(header))
            if isinstance(found, Question) and ask and (answer := ask(found)):
                found = resolve(header, look, vocabulary, answer)
        except UserError as error:
            problems.append(Problem(path, None, header, error.message))
            continue
        if isinstance(found, Question) and keep_unbound and not found.is_label:
            found = kept(header, look, Entry(keep="auto"))
        if isinstance(found, Question):
            questions.append(found)
        else:
            bound.append(found)
    if problems:
        raise UserError(
            f"{path}: {len(problems)} column(s) contradict what was said about them",
            problems=problems,
            hint='--mapping FILE.yaml with columns: {"HEADER": {concept: ID, unit: UNIT}} corrects a header',
        )
    if keep_unbound and questions:
        raise _unkept(path, Bindings(bound=tuple(bound), questions=tuple(questions)))
    return Bindings(bound=tuple(bound), questions=tuple(questions))


def _unkept(path: str, found: Bindings) -> UserError:
    """Why labels are not among the columns that are kept as they are."""
    leave_out = ", ".join(f"{json.dumps(one.header, ensure_ascii=False)}: {{ignore: true}}" for one in found.questions)
    why = "; kept without its concept, the answer would be learnt from"
    return UserError(
        f"{path}: {len(found.questions)} column(s) name what a model is asked about, and are not kept as they are",
        problems=[Problem(path, None, one.header, one.why + why) for one in found.questions],
        hint=f"--mapping FILE.yaml says what they are, checked by you:\n\n{found.mapping_text()}\n"
        f"or leaves them out: columns: {{{leave_out}}}",
    )


def resolve(header: str, look: Look, vocabulary: Vocabulary, entry: Entry | None) -> Binding | Question:
    """What one header means, by the person's entry first. Raises: UserError — a unit contradicts the concept."""
    entry = entry or Entry()
    if entry.ignore:
        return Binding(header=header, look=look, how="mapping", confidence=1.0, ignored=True)
    if entry.keep:
        return kept(header, look, entry)
    label, unit = units.split_header(header)
    unit = entry.unit or unit
    if entry.concept:
        concept = vocabulary.get(entry.concept)
        return _checked(header, look, concept, unit, "mapping", true_values=entry.true_values)
    found = match(label, unit, vocabulary)
    if (
        found.unit is None
        and units.is_known(label)
        and any(one.unit and units.are_compatible(label, one.unit) for one in found.concepts)
    ):
        found = replace(found, unit=label)
    if not found.concepts and unit is None and (split := units.split_trailing(label)):
        trailing = match(split[0], split[1], vocabulary)
        if any(one.unit and units.are_compatible(split[1], one.unit) for one in trailing.concepts) or (
            trailing.concepts and len(split[1]) > 1
        ):
            found = trailing
    return _decide(header, look, vocabulary, found, by_person=entry.unit is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Concepts that a label can mean."""

    concepts: tuple[Concept, ...]
    how: str = "none"
    unit: str | None = None
    numbered: bool = False


def match(label: str, unit: str | None, vocabulary: Vocabulary) -> Match:
    """Concepts that carry this label, the surest index first; a number at its end may be that of a second sensor."""
    for numbered in (False, True):
        key = vocabulary.key(label)
        if numbered:
            key = frozenset(word for word in key if not word.isdigit())
        first: Match | None = None
        others: list[Concept] = []
        for how, index in (
            ("exact", vocabulary.by_id),
            ("header", vocabulary.by_label),
            ("synonym", vocabulary.by_synonym),
        ):
            concepts = index.get(key, []) if key else []
            if concepts and first is None:
                first = Match(concepts=tuple(concepts), how=how, unit=unit, numbered=numbered)
            others += [one for one in concepts if first and one not in (*first.concepts, *others)]
        if first:
            return _by_unit(first, others)
    bare = vocabulary.bare_label(label)
    for index in (vocabulary.by_id, vocabulary.by_label, vocabulary.by_synonym):
        if named := tuple(one for one in index.get(bare, ()) if one.role == "label"):
            return _by_unit(Match(concepts=named, how="synonym", unit=unit, numbered=False), ())
    return Match(concepts=(), unit=unit)


def _by_unit(first: Match, others: Sequence[Concept]) -> Match:
    """Let the unit choose among the surest concepts, then among the others that share the words."""
    if first.unit is None:
        return first
    for concepts, how in ((first.concepts, first.how), (tuple(others), "synonym")):
        fitting = tuple(one for one in concepts if one.unit and units.are_compatible(first.unit, one.unit))
        if fitting:
            return replace(first, concepts=fitting, how=how)
    return first


def _decide(header: str, look: Look, vocabulary: Vocabulary, found: Match, *, by_person: bool) -> Binding | Question:
    if not found.concepts and vocabulary.names_label(units.split_header(header)[0]):
        why = "names what a model is asked about, and not which: a failure, a defect, an anomaly"
        return Question(header=header, why=why, look=look, suggestions=_labels(look, vocabulary), is_label=True)
    if not found.concepts:
        return Question(
            header=header, why="no concept has this name", look=look, suggestions=_similar(header, look, vocabulary)
        )
    concepts = found.concepts
    if len(concepts) > 1 and found.unit is None:
        concepts = tuple(one for one in concepts if not one.needs_unit) or concepts
    if len(concepts) > 1:
        names = " or ".join(one.id for one in concepts)
        suggestions = tuple(Entry(concept=one.id, unit=found.unit or one.unit) for one in concepts)
        is_label = any(one.role == "label" for one in concepts)
        return Question(header=header, why=f"can mean {names}", look=look, suggestions=suggestions, is_label=is_label)
    how = "mapping" if by_person else found.how
    binding = _checked(header, look, concepts[0], found.unit, how)
    if isinstance(binding, Binding) and found.numbered:
        return replace(binding, confidence=round(binding.confidence * NUMBERED, 2))
    return binding


def _checked(
    header: str, look: Look, concept: Concept, unit: str | None, how: str, *, true_values: tuple[str, ...] = ()
) -> Binding | Question:
    """A binding whose unit and values fit the concept. Raises: UserError — the unit contradicts it."""
    is_label = concept.role == "label"
    if concept.needs_unit and unit is None and look.kind:
        guesses = tuple(Entry(concept=concept.id, unit=name) for name in units_in_range(look, concept))
        why = f"{concept.id} is kept in {concept.unit}, and no unit is said"
        guesses = guesses or (Entry(concept=concept.id, unit=concept.unit),)
        return Question(header=header, why=why, look=look, suggestions=guesses, is_label=is_label)
    if unit is not None and (wrong := misfit(unit, concept)):
        raise UserError(wrong)
    if complaint := "" if true_values else contradiction(look, concept):
        suggestions = senses(look, concept) or ((Entry(ignore=True),) if is_label else (Entry(keep=look.kind),))
        return Question(header=header, why=complaint, look=look, suggestions=suggestions, is_label=is_label)
    return Binding(
        header=header,
        look=look,
        concept=concept,
        unit=unit if concept.unit else None,
        how=how,
        confidence=CONFIDENCE[how],
        kind=concept.kind,
        true_values=true_values,
    )


def contradiction(look: Look, concept: Concept) -> str:
    """Why the sampled values cannot be this concept's; empty where they can."""
    if not look.kind:
        return ""
    if concept.kind == "number" and look.kind != "number" and look.numeric_share < 0.5:
        return f"{concept.id} is a number, and values such as {look.example!r} are none"
    if concept.kind == "boolean":
        return _no_truth(look, concept)
    if concept.role == "identifier" and look.kind == "number" and not look.integer:
        return f"{concept.id} names or counts, and values such as {look.example!r} measure"
    if concept.kind == "image" or (concept.kind == "time" and not look.times):
        return f"{concept.id} is of kind {concept.kind}, and values such as {look.example!r} are not"
    return ""


def _no_truth(look: Look, concept: Concept) -> str:
    values = {tidied(word) for word in look.words}
    if "-1" in values and values <= SIGNS:
        return f"{concept.id} is a yes or no, and which of -1 and 1 is the yes is not said"
    if look.boolean_share < 0.5:
        return f"{concept.id} is a yes or no, and values such as {look.example!r} are neither"
    return ""


SIGNS = frozenset(("-1", "0", "1"))
"""Some write -1 for what stands out, and some 1."""


def senses(look: Look, concept: Concept) -> tuple[Entry, ...]:
    """The ways in which two values can be a yes and a no: suggestions for a person."""
    values = sorted({tidied(word) for word in look.words})
    if concept.kind != "boolean" or len(values) != 2:
        return ()
    return tuple(Entry(concept=concept.id, true_values=(value,)) for value in values)


def _labels(look: Look, vocabulary: Vocabulary) -> tuple[Entry, ...]:
    """Label concepts that the values could be of."""
    found: list[Entry] = []
    for concept in (vocabulary.concepts[name] for name in LABELS if name in vocabulary.concepts):
        if not contradiction(look, concept):
            found.append(Entry(concept=concept.id))
        else:
            found.extend(senses(look, concept))
    return tuple(found)


LABELS = ("anomaly", "machine_failure", "defect", "failure_type", "defect_type")
"""Tried for suggestions where a header says no more than "label"."""


def units_in_range(look: Look, concept: Concept) -> list[str]:
    """Units in which the sampled values would lie where the concept's usually do: suggestions for a person."""
    if concept.unit is None or concept.range is None or look.low is None or look.high is None:
        return []
    others = [name for name in COMMON_UNITS if name != concept.unit and units.are_compatible(name, concept.unit)]
    found = []
    for name in (concept.unit, *others):
        factor = units.conversion(name, concept.unit)
        if concept.range[0] <= factor(look.low) and factor(look.high) <= concept.range[1]:
            found.append(name)
    return found


COMMON_UNITS = (
    "°C",
    "°F",
    "bar",
    "mbar",
    "kPa",
    "MPa",
    "s",
    "min",
    "h",
    "m/s",
    "mm/s",
    "m/s2",
    "g",
    "l/min",
    "m3/h",
    "kW",
    "W",
    "A",
    "mA",
)
"""Tried for suggestions, beside the concept's own."""


def kept(header: str, look: Look, entry: Entry) -> Binding:
    """A column without a concept, as it is."""
    kind = (look.kind or "text") if entry.keep in (None, "auto") else str(entry.keep)
    how = "mapping" if entry.keep not in (None, "auto") else "none"
    unit = entry.unit or units.split_header(header)[1]
    return Binding(header=header, look=look, unit=unit if kind == "number" else None, how=how, kind=kind)


def _similar(header: str, look: Look, vocabulary: Vocabulary) -> tuple[Entry, ...]:
    """Concepts that share the most words with a header."""
    label, unit = units.split_header(header)
    words = vocabulary.key(label)
    scores: dict[str, float] = {}
    for index in (vocabulary.by_id, vocabulary.by_label, vocabulary.by_synonym):
        for key, concepts in index.items():
            if common := len(words & key):
                for one in concepts:
                    scores[one.id] = max(scores.get(one.id, 0.0), common / len(words | key))
    fitting = [
        vocabulary.concepts[name]
        for name, score in sorted(scores.items(), key=lambda item: -item[1])
        if score >= 0.34 and not contradiction(look, vocabulary.concepts[name])
    ]
    fitting = [one for one in fitting if unit is None or (one.unit and units.are_compatible(unit, one.unit))]
    return tuple(Entry(concept=one.id, unit=unit or (one.unit if one.needs_unit else None)) for one in fitting[:3])


def _no_column(header: str, looks: Mapping[str, Look], path: str) -> Problem:
    close = nearest(header, looks)
    text = f"; did you mean {' or '.join(map(repr, close))}?" if close else f"; it has {', '.join(list(looks)[:12])}"
    return Problem(path, None, header, f"the mapping names a column that the file does not have{text}")
