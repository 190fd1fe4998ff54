"""From evidence to a cause: the clearest one wins, and among equals the one nearest to the first failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forgia import errors
from forgia.causes import evidence
from forgia.causes.evidence import First
from forgia.causes.explanation import Explanation, Line
from forgia.causes.table import CAUSES, RETRY, Cause
from forgia.logs import NOTICED
from forgia.paths import RunPaths
from forgia.run import RunStatus, State
from forgia.schedulers import slurm_words
from forgia.schedulers.protocol import JobDetails

TAIL_LINES = 8
OWN_KINDS = tuple(
    kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ForgiaError)
)
"""Errors whose text is a sentence for a person already."""
SENTENCES = ("UserError", "NotFound", "Refused", "IntegrityError")
"""Those that need no look at what else went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cause, filled in."""

    name: str
    sentence: str
    next: str
    is_clear: bool
    lines: tuple[Line, ...] = ()


def judge(
    paths: RunPaths, status: RunStatus, *, request: Mapping[str, Any], details: JobDetails | None = None
) -> Explanation:
    """Why a run ended badly. ``details``: what its scheduler said, where it was asked."""
    first = evidence.first_failure(paths, status.attempt)
    own = evidence.log_lines(paths, status.attempt, first.rank if first.is_sure else None)
    facts = facts_of(status, request)
    groups = evidence_groups(paths, status, first=first, own=own, details=details)
    finding = (
        known(groups, facts, is_symptom=False)
        or own_sentence(first, facts, kinds=SENTENCES)
        or raised(paths, first, own, facts)
        or known(groups, facts, is_symptom=True)
        or own_sentence(first, facts, kinds=OWN_KINDS)
        or unknown(status, facts)
    )
    return as_explanation(status, finding, first=first, own=own, details=details)


def evidence_groups(
    paths: RunPaths, status: RunStatus, *, first: First, own: list[Line], details: JobDetails | None
) -> list[list[Line]]:
    """Lines in the order in which they are to be believed; a rank that said why it ended need not be guessed about."""
    said = [first.line] if first.line else []
    journal = [Line(text=evidence.clean(status.reason), file=str(paths.journal))] if status.reason else []
    if first.is_sure and first.kind:
        error = evidence.last_error(own, first.kind)
        return [[error] if error else [], said, journal]
    return [said, journal, scheduler_lines(details), own, evidence.launcher_lines(paths, status.attempt)[::-1]]


def known(groups: Iterable[Sequence[Line]], facts: Mapping[str, str], *, is_symptom: bool) -> Finding | None:
    """The first row of the table that shows in the evidence, nearest evidence first."""
    rows = [cause for cause in CAUSES if cause.is_symptom is is_symptom]
    for lines in groups:
        for line in lines:
            for cause in rows:
                if match := cause.found_in(line.text):
                    given = {key: value or "" for key, value in match.groupdict().items()}
                    return filled(cause, {**facts, **given, "hint": hint_of(line.text)}, line)
    return None


def filled(cause: Cause, facts: Mapping[str, str], line: Line) -> Finding:
    """A row with the run's own names in it."""
    values = defaultdict(str, facts)
    sentence, following = cause.sentence.format_map(values), cause.next.format_map(values)
    return Finding(name=cause.name, sentence=sentence, next=following, is_clear=not cause.is_symptom, lines=(line,))


def hint_of(text: str) -> str:
    """What to do about the words of a scheduler that refused."""
    return slurm_words.refusal(text).hint


def own_sentence(first: First, facts: Mapping[str, str], *, kinds: Sequence[str]) -> Finding | None:
    """What forgia's own program on the node had to say, which is written for people."""
    if first.kind not in kinds or first.line is None:
        return None
    following = f"mend it, then: forgia run {facts['recipe']}"
    return Finding(name="job-error", sentence=first.line.text, next=following, is_clear=True, lines=(first.line,))


def raised(paths: RunPaths, first: First, own: list[Line], facts: Mapping[str, str]) -> Finding | None:
    """An exception of the recipe's code, or one that is forgia's own fault."""
    if first.kind in (NOTICED, *OWN_KINDS):
        return None
    line = evidence.last_error(own, first.kind) or (first.line if first.kind else None)
    if line is None:
        return None
    place = evidence.raised_in_recipe(paths, own[own.index(line) :] if line in own else [])
    if place:
        sentence = f"the recipe's code failed at {place}: {line.text}"
        return Finding(
            name="recipe-error",
            sentence=sentence,
            next=f"mend {place}, then: forgia run {facts['recipe']}",
            is_clear=True,
            lines=(line,),
        )
    return Finding(
        name="program-error",
        sentence=f"the job's program failed: {line.text}",
        next=f"forgia job logs {facts['run']}",
        is_clear=bool(first.kind),
        lines=(line,),
    )


def unknown(status: RunStatus, facts: Mapping[str, str]) -> Finding:
    """None of the known causes."""
    said = f"; the journal says: {evidence.clean(status.reason)}" if status.reason else ""
    return Finding(
        name="unknown",
        sentence=f"the cause is none that forgia knows{said}",
        next=f"forgia job logs {facts['run']}",
        is_clear=False,
    )


def as_explanation(
    status: RunStatus, finding: Finding, *, first: First, own: Sequence[Line], details: JobDetails | None
) -> Explanation:
    """The answer as a whole."""
    shows_tail = finding.name in ("unknown", "program-error", "killed", "crashed")
    lines = dict.fromkeys([*finding.lines, *([first.line] if first.line else []), *scheduler_lines(details)])
    return Explanation(
        run_id=status.run_id,
        state=status.state,
        attempt=status.attempt,
        job_id=status.job_id,
        cause=finding.name,
        sentence=finding.sentence,
        next=finding.next or RETRY.format(run=status.run_id),
        is_clear=finding.is_clear,
        rank=first.rank if first.is_sure else None,
        node=first.node if first.is_sure else details.nodes if details else "",
        time=first.time if first.is_sure else "",
        exit_code=details.view.exit_code if details else None,
        evidence=tuple(lines),
        tail=tuple(line.text for line in own[:TAIL_LINES][::-1]) if shows_tail else (),
    )


def scheduler_lines(details: JobDetails | None) -> list[Line]:
    """The scheduler's words, its sentence first."""
    if details is None:
        return []
    said = [details.view.reason] if details.view.reason else []
    return [Line(text=text) for text in (*said, *details.words)]


def facts_of(status: RunStatus, request: Mapping[str, Any]) -> dict[str, str]:
    """What the texts of the table may name."""
    asked, train, profile = (request.get(key) or {} for key in ("resources", "train", "profile"))
    memory, batch = asked.get("memory_gb"), train.get("batch_size")
    seconds = int(asked.get("walltime_s") or 0)
    rate = train.get("learning_rate")
    return {
        "run": status.run_id,
        "recipe": str((request.get("recipe") or {}).get("name", "")),
        "profile": str(profile.get("name") or status.profile),
        "account": repr(profile.get("account") or "(the default one)"),
        "partition": repr(profile.get("partition") or "(the default one)"),
        "memory": f"{memory:g} GB was asked for" if memory else "what comes with the cores was taken",
        "more_memory_gb": f"{2 * memory:g}" if memory else "N",
        "half_batch": str(max(1, batch // 2)) if isinstance(batch, int) else "N",
        "lower_rate": f"{rate / 10:g}" if isinstance(rate, int | float) else "X",
        "walltime": clock(seconds),
        "longer": clock(2 * seconds),
    }


def clock(seconds: int) -> str:
    """A duration as recipes write it."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def is_failure(status: RunStatus) -> bool:
    """It ended, and not well."""
    return status.state in (State.FAILED, State.CANCELLED, State.LOST)
