"""Kinds of fields that hand-written files share: names, versions, durations, and models deaf to no misspelt field."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from forgia.errors import nearest
from forgia.paths import NAME


class Strict(BaseModel):
    """Frozen, and deaf to no misspelt field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def parse_duration(value: Any) -> int:
    """Seconds of ``HH:MM:SS``, ``D-HH:MM:SS``, ``90m``, ``2h30m`` or ``45s``.

    Raises: ValueError — none of these; a bare number would leave its unit to guessing.
    """
    text = str(value).strip()
    if clock := re.fullmatch(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)", text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if text and (parts := re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)):
        days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    raise ValueError("write a duration as HH:MM:SS, D-HH:MM:SS or with units, such as 90m or 2h30m")


def format_duration(seconds: int) -> str:
    """``HH:MM:SS``, with days before it from 24 hours on; Slurm's own form."""
    hours, rest = divmod(seconds, 3600)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def _version(text: Any) -> Any:
    if not isinstance(text, str) or not re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text):
        raise ValueError("write a version as MAJOR.MINOR.PATCH, such as 1.0.0")
    return text


def _name(text: str) -> str:
    if not NAME.fullmatch(text) or len(text) > 64:
        raise ValueError("use lower-case letters, digits and single . _ - between them, at most 64 characters")
    return text


def one_of(kind: str, known: tuple[str, ...]) -> AfterValidator:
    """A word out of a list; another one is told the nearest."""

    def check(value: str) -> str:
        if value not in known:
            close = nearest(value, known)
            raise ValueError(
                f"unknown {kind}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}")
            )
        return value

    return AfterValidator(check)


Name = Annotated[str, AfterValidator(_name)]
Version = Annotated[str, BeforeValidator(_version)]  # before: 1.0 is a number to YAML
DURATION_SCHEMA = {"type": "string", "description": "HH:MM:SS, D-HH:MM:SS, 90m or 2h30m"}
Duration = Annotated[int, BeforeValidator(parse_duration), Field(gt=0), WithJsonSchema(DURATION_SCHEMA)]
"""Seconds, written as a clock or with units."""
Count = Annotated[int, Field(ge=1)]
