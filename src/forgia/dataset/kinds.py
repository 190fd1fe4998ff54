"""What kind of values a column holds, judged from a sample of its texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from forgia.dataset.dialect import MISSING

TRUE_WORDS = frozenset(("1", "true", "t", "yes", "y", "sì", "si", "s", "vero", "v", "on", "1.0"))
FALSE_WORDS = frozenset(("0", "false", "f", "no", "n", "falso", "off", "0.0"))
GOOD_WORDS = frozenset(("ok", "okay", "buono", "conforme", "pass", "passed", "good"))
BAD_WORDS = frozenset(("ko", "nok", "ng", "nc", "scarto", "guasto", "fail", "failed", "bad"))
"""Good and bad are true and false only once the concept says which of the two it asks about."""
NORMAL_WORDS = frozenset(("normal", "normale", "regolare", "healthy"))
ABNORMAL_WORDS = frozenset(
    (
        *("abnormal", "anomaly", "anomalous", "fault", "faulty", "failure", "defect", "defective", "broken"),
        *("anormale", "anomalia", "anomalo", "anomala", "avaria", "difetto", "difettoso"),
    )
)
"""Good and bad to a concept that asks about it; by themselves the names of states, of which there may be more."""
WHOLE = r"^\+?(-?\d+)[.,]0*$"
"""A whole number with a decimal sign, whichever."""
MANY_VALUES = 1000
MOST = 0.95
"""Share of a sample that decides a kind; what contradicts it becomes rejects."""
_INTEGER = re.compile(r"^[+-]?\d{1,18}$")
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2}([.,]\d+)?)?)?)?(?P<zone>Z|[+-]\d{2}(:?\d{2})?)?$")
_LOCAL = re.compile(
    r"^(?P<first>\d{1,2})[/.-](?P<second>\d{1,2})[/.-](\d{4}|\d{2})([T ,]+\d{1,2}[:.]\d{2}([:.]\d{2}([.,]\d+)?)?)?$"
)
EPOCHS = (("epoch-s", 1e8, 1e10), ("epoch-ms", 1e11, 1e13), ("epoch-us", 1e14, 1e16), ("epoch-ns", 1e17, 1e19))
"""How many units since 1970 a time between 1973 and 2286 is: the magnitude tells the unit apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a column's sample looks like."""

    kind: str
    """number, category, boolean, text, time, or empty where every sampled value is missing."""
    integer: bool = False
    times: str = ""
    """How times are spelled: iso, day-first, month-first, epoch-s, epoch-ms, epoch-us, epoch-ns."""
    zoned: bool = False
    """Times carry their own zone."""
    padded: bool = False
    """Spaces around values."""
    words: frozenset[str] = field(default_factory=frozenset)
    """The values in lower case, where they are few."""
    low: float | None = None
    high: float | None = None
    example: str = ""
    """A value that shows why it is not a number, else any."""
    numeric_share: float = 0.0
    boolean_share: float = 0.0


def look(values: Sequence[str | None], *, decimal: str, thousands: str) -> Look:
    """Judge a sample; up to one value in twenty may contradict the kind and becomes a reject later."""
    raw = [value for value in values if value is not None]
    texts = [text for value in raw if (text := value.strip()) not in MISSING]
    padded = any(value != value.strip() for value in raw)
    if not texts:
        return Look(kind="", padded=padded)
    numbers = [number for text in texts if (number := as_number(text, decimal, thousands)) is not None]
    words = frozenset(text.casefold() for text in texts) if len(set(texts)) <= MANY_VALUES else frozenset()
    yes_or_no = boolean_share(texts)
    seen = Look(
        kind="",
        padded=padded,
        words=words,
        numeric_share=len(numbers) / len(texts),
        boolean_share=yes_or_no,
        example=texts[0],
    )
    times, zoned = times_of(texts)
    if times:
        return replace(seen, kind="time", times=times, zoned=zoned)
    if len(numbers) >= MOST * len(texts):
        integer = all(_INTEGER.match(text) for text in texts)
        epoch = epoch_of(numbers) if integer else ""
        return replace(seen, kind="number", integer=integer, low=min(numbers), high=max(numbers), times=epoch)
    example = next((text for text in texts if as_number(text, decimal, thousands) is None), texts[0])
    is_state = bool(words & (NORMAL_WORDS | ABNORMAL_WORDS))
    return replace(seen, kind="boolean" if yes_or_no >= MOST and not is_state else text_kind(texts), example=example)


def boolean_share(texts: Sequence[str]) -> float:
    """How many of these are the words of a yes and a no: the plain ones, or those of good and bad."""
    words = [tidied(text) for text in texts]
    both = (TRUE_WORDS | FALSE_WORDS, GOOD_WORDS | BAD_WORDS | NORMAL_WORDS | ABNORMAL_WORDS)
    return max(sum(word in known for word in words) for known in both) / len(words)


def tidied(word: str) -> str:
    """A word of a yes or a no as it is compared: small, whole numbers without a decimal sign.

    >>> tidied("1,0"), tidied("KO")
    ('1', 'ko')
    """
    return re.sub(WHOLE, r"\1", word.strip().casefold())


def truth(*, adverse: bool) -> Mapping[str, bool]:
    """Word → value; for a concept whose truth is the bad state, OK is false and KO is true."""
    table = dict.fromkeys(TRUE_WORDS, True) | dict.fromkeys(FALSE_WORDS, False)
    good, bad = GOOD_WORDS | NORMAL_WORDS, BAD_WORDS | ABNORMAL_WORDS
    return table | dict.fromkeys(good, not adverse) | dict.fromkeys(bad, adverse)


def text_kind(texts: Sequence[str]) -> str:
    """A category repeats its values; a text does not."""
    distinct = len(set(texts))
    return "category" if distinct <= MANY_VALUES and distinct <= max(20, len(texts) / 5) else "text"


def times_of(texts: Sequence[str]) -> tuple[str, bool]:
    """How most of these spell a time, and whether with a zone; empty where they do not."""
    iso = [match for text in texts if (match := _ISO.match(text))]
    if len(iso) >= MOST * len(texts):
        return "iso", sum(bool(match["zone"]) for match in iso) * 2 > len(iso)
    local = [match for text in texts if (match := _LOCAL.match(text))]
    if len(local) < MOST * len(texts):
        return "", False
    month_first = any(int(match["second"]) > 12 for match in local) and all(
        int(match["first"]) <= 12 for match in local
    )
    return ("month-first" if month_first else "day-first"), False


def epoch_of(numbers: Sequence[float]) -> str:
    """The unit in which these count the time since 1970; empty where they cannot."""
    low, high = min(numbers), max(numbers)
    return next((name for name, first, last in EPOCHS if first <= low and high < last), "")


def as_number(text: str, decimal: str, thousands: str) -> float | None:
    """The number a text spells; None where it spells none."""
    plain = text.strip().replace("\u00a0", " ").replace("\u202f", " ")
    if thousands and thousands in plain:
        grouped = rf"[+-]?\d{{1,3}}({re.escape(thousands)}\d{{3}})+([{decimal}]\d*)?"
        if not re.fullmatch(grouped, plain):
            return None
        plain = plain.replace(thousands, "")
    if decimal == ",":
        if "." in plain:
            return None
        plain = plain.replace(",", ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain):
        return None
    return float(plain)
