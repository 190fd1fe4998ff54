"""The shared vocabulary: what a column means, in which unit it is kept, and the words firms use for it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgia import units
from forgia.errors import NotFound, Problem, UserError

if TYPE_CHECKING:
    from forgia.catalogue import Catalogue

KINDS = ("number", "category", "boolean", "text", "time", "image")
ROLES = ("measurement", "counter", "identifier", "label", "time", "category")
SENSITIVITIES = ("public", "internal", "confidential")
LANGUAGES = ("it", "en")
_ID = re.compile(r"^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$")
_FIELDS = frozenset(
    ("id", "label", "kind", "quantity", "unit", "range", "synonyms", "sensitivity", "role", "adverse", "revision")
)
FILLER_WORDS = frozenset(
    (
        *("a", "al", "alla", "allo", "d", "da", "dal", "dall", "dalla", "de", "dei", "del", "dell"),
        *("della", "delle", "degli", "di", "e", "ed", "il", "in", "l", "la", "le", "lo", "per"),
        *("su", "sul", "an", "and", "at", "by", "for", "of", "on", "the", "to"),
    )
)
"""Words between the words that matter, in both languages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """One thing that machine data can be about."""

    id: str
    label: Mapping[str, str]
    """Language → name."""
    kind: str
    """One of KINDS."""
    role: str
    """What such a column usually is to a model; one of ROLES."""
    quantity: str | None = None
    """Kind of quantity, spelled as QUDT does. Source: https://qudt.org/vocab/quantitykind/ (3.1)."""
    unit: str | None = None
    """Canonical unit, in which values are kept; None where the values have none."""
    range: tuple[float, float] | None = None
    """Where values usually lie, in the canonical unit; suggests, never decides."""
    synonyms: Mapping[str, tuple[str, ...]]
    """Language → other words for it."""
    sensitivity: str = "internal"
    adverse: bool = False
    """For booleans: true is the bad state, so that OK reads as false and KO as true."""
    revision: int = 1

    @property
    def semantic_id(self) -> str:
        """The name that means this concept everywhere."""
        return f"urn:forgia:concept:{self.id}:{self.revision}"

    @property
    def needs_unit(self) -> bool:
        """Whether a column must say its unit before its values mean anything."""
        return self.unit is not None and self.unit != units.DIMENSIONLESS

    def words(self) -> Iterable[str]:
        """Everything it is called, most telling first."""
        yield self.id
        yield from self.label.values()
        for language in self.synonyms.values():
            yield from language

    def to_json(self) -> dict[str, Any]:
        """The concept as ``vocabulary show --json`` prints it."""
        return {
            "id": self.id,
            "semantic_id": self.semantic_id,
            "label": dict(self.label),
            "kind": self.kind,
            "role": self.role,
            "quantity": self.quantity,
            "unit": self.unit,
            "range": list(self.range) if self.range else None,
            "synonyms": {language: list(words) for language, words in self.synonyms.items()},
            "sensitivity": self.sensitivity,
            "adverse": self.adverse,
        }


@dataclass(frozen=True)
class Vocabulary:
    """Every concept forgia can see."""

    concepts: Mapping[str, Concept]
    short_forms: Mapping[str, str]
    """A word's normal form → the short form both languages share (``temperatura``, ``temperature`` → ``temp``)."""
    label_names: tuple[str, ...] = ()
    """Headers that say that a column is what a model is asked about, and not which of the concepts."""
    label_words: tuple[str, ...] = ()
    """Words that stand beside the name of a label concept and change nothing, such as ``label`` and ``is``."""

    @classmethod
    def load(cls, catalogue: Catalogue) -> Vocabulary:
        """Read every vocabulary file of the catalogue. Raises: UserError — all that is wrong in them."""
        return read(catalogue.vocabulary_files())

    def get(self, concept_id: str) -> Concept:
        """Raises: NotFound — with the nearest ids."""
        if concept_id not in self.concepts:
            raise NotFound("concept", concept_id, known=self.concepts, hint="forgia vocabulary list WORD")
        return self.concepts[concept_id]

    def search(self, word: str) -> list[Concept]:
        """Concepts whose id, label or synonyms hold the word, in either language; all of them for no word."""
        wanted = plain(word)
        return [one for one in self.concepts.values() if any(wanted in plain(text) for text in one.words())]

    def key(self, text: str) -> frozenset[str]:
        """The words of a text that matter, in short form and whatever their order."""
        words = plain(text).split()
        return frozenset(self.short_forms.get(word, word) for word in words if word not in FILLER_WORDS)

    @cached_property
    def by_id(self) -> dict[frozenset[str], list[Concept]]:
        """Words of an id → its concept."""
        return self._index(lambda concept: [concept.id])

    @cached_property
    def by_label(self) -> dict[frozenset[str], list[Concept]]:
        """Words of a label → concepts."""
        return self._index(lambda concept: concept.label.values())

    @cached_property
    def by_synonym(self) -> dict[frozenset[str], list[Concept]]:
        """Words of a synonym → concepts; several where the word alone does not decide."""
        return self._index(lambda concept: [word for words in concept.synonyms.values() for word in words])

    def names_label(self, text: str) -> bool:
        """Whether a header says "what a model is asked about" and no more."""
        return _no_digits(self.key(text)) in self._label_keys

    @cached_property
    def _label_keys(self) -> frozenset[frozenset[str]]:
        return frozenset(self.key(name) for name in self.label_names)

    def bare_label(self, text: str) -> frozenset[str]:
        """The words of a header without those that only say that it is a label; empty where it has none of them."""
        words = _no_digits(self.key(text))
        bare = words - self.key(" ".join(self.label_words))
        return bare if bare != words else frozenset()

    def _index(self, texts: Any) -> dict[frozenset[str], list[Concept]]:
        index: dict[frozenset[str], list[Concept]] = {}
        for concept in self.concepts.values():
            for key in {self.key(text) for text in texts(concept)}:
                index.setdefault(key, []).append(concept)
        return index


def _no_digits(key: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in key if not word.isdigit())


def plain(text: str) -> str:
    """Lower case, no accents, words parted by one space.

    >>> plain("VelocitàRotazione_RPM"), plain("T. amb.")
    ('velocita rotazione rpm', 't amb')
    """
    spaced = re.sub(r"(?<=[a-zà-ÿ0-9])(?=[A-ZÀ-Þ][a-zà-ÿ])|(?<=[a-zà-ÿ])(?=[A-ZÀ-Þ])", " ", text)
    decomposed = unicodedata.normalize("NFKD", spaced.casefold())
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[^\W\d_]+|\d+|%", letters))


def read(files: Iterable[Path]) -> Vocabulary:
    """Read vocabulary files. Raises: UserError — all that is wrong in them, with file and concept."""
    import yaml

    concepts: dict[str, Concept] = {}
    short_forms: dict[str, str] = {}
    labels: dict[str, list[str]] = {"label_names": [], "label_words": []}
    problems: list[Problem] = []
    for path in files:
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), Loader=_safe_loader())  # noqa: S506 — a SafeLoader
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(Problem(str(path), None, "", f"cannot be read as YAML: {error}"))
            continue
        content = content if isinstance(content, dict) else {}
        short_forms.update(_short_forms(content))
        for key, found in labels.items():
            found.extend(map(str, content.get(key) or ()))
        for position, value in enumerate(content.get("concepts") or ()):
            _take(value, concepts=concepts, problems=problems, place=(str(path), position))
    if problems:
        raise UserError(f"the vocabulary has {len(problems)} problem(s)", problems=problems)
    words = {key: tuple(found) for key, found in labels.items()}
    return Vocabulary(concepts=concepts, short_forms=short_forms, **words)


def _safe_loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _short_forms(content: Mapping[str, Any]) -> dict[str, str]:
    return {
        plain(str(word)): str(short) for short, words in (content.get("short_forms") or {}).items() for word in words
    }


def _take(value: Any, *, concepts: dict[str, Concept], problems: list[Problem], place: tuple[str, int]) -> None:
    path, position = place
    name = value.get("id", f"concepts[{position}]") if isinstance(value, dict) else f"concepts[{position}]"
    found = list(_problems_of(value)) if isinstance(value, dict) else [("", "not a mapping")]
    if not found and value["id"] in concepts:
        found = [("id", "defined twice")]
    problems += [Problem(path, None, f"{name}.{field}".rstrip("."), message) for field, message in found]
    if not found:
        concepts[value["id"]] = _concept(value)


def _problems_of(value: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for field in sorted(set(value) - _FIELDS):
        yield str(field), "unknown field"
    if not _ID.match(str(value.get("id", ""))):
        yield "id", "lower-case words joined by _"
    for field, allowed in (("kind", KINDS), ("role", ROLES)):
        if value.get(field) not in allowed:
            yield field, f"{value.get(field)!r} is none of {', '.join(allowed)}"
    if value.get("sensitivity", "internal") not in SENSITIVITIES:
        yield "sensitivity", f"one of {', '.join(SENSITIVITIES)}"
    if missing := [language for language in LANGUAGES if not (value.get("label") or {}).get(language)]:
        yield "label", f"no name in {', '.join(missing)}"
    limits = value.get("range")
    if limits is not None and not (isinstance(limits, list) and len(limits) == 2 and limits[0] < limits[1]):
        yield "range", "two numbers, the lower first"


def _concept(value: Mapping[str, Any]) -> Concept:
    limits = value.get("range")
    return Concept(
        id=value["id"],
        label={language: str(value["label"][language]) for language in LANGUAGES},
        kind=value["kind"],
        role=value["role"],
        quantity=value.get("quantity"),
        unit=None if value.get("unit") is None else str(value["unit"]),
        range=(float(limits[0]), float(limits[1])) if limits else None,
        synonyms={key: tuple(map(str, words or ())) for key, words in (value.get("synonyms") or {}).items()},
        sensitivity=value.get("sensitivity", "internal"),
        adverse=bool(value.get("adverse", False)),
        revision=int(value.get("revision", 1)),
    )
