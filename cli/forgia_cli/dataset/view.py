"""How datasets, plans of imports and questions look at the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from forgia.dataset.binding import Ask, Question
    from forgia.dataset.dataset import Dataset
    from forgia.dataset.ingest import Added, AnyPlan
    from forgia.dataset.mapping import Entry
    from forgia.vocabulary import Vocabulary
    from forgia_cli.app import App


def dataset_json(dataset: Dataset) -> dict[str, Any]:
    """A dataset as ``--json`` prints it."""
    manifest = dataset.manifest
    return {
        "ref": dataset.ref,
        "name": manifest.name,
        "version": manifest.version,
        "digest": dataset.digest,
        "owner": manifest.owner,
        "created": manifest.created,
        "title": manifest.title,
        "licence": manifest.licence,
        "rows": manifest.rows,
        "rejected": manifest.rejected,
        "folder": str(dataset.paths.root),
    }


WHOLE = {"parquet": "Parquet", "cmapss": "C-MAPSS"}
"""Formats that are not a spelling of text."""


def show_plan(app: App, plan: AnyPlan, *, as_json: bool) -> None:
    """What each column of each file would become, and what is open."""
    files = []
    for opened, found in zip(plan.opened, plan.bindings, strict=True):
        rows = []
        for binding in found.bound:
            concept = "(left out)" if binding.ignored else binding.concept.id if binding.concept else None
            unit = binding.concept.unit if binding.concept else binding.unit
            rows.append((binding.header, concept, binding.kind, binding.unit, unit, binding.how, binding.confidence))
        rows += [
            (question.header, "?", question.look.kind, None, None, question.why, 0.0) for question in found.questions
        ]
        files.append((opened, rows))
    keys = ("header", "concept", "kind", "source_unit", "unit", "binding", "confidence")
    if as_json:
        listed = [
            {"path": str(o.path), "columns": [dict(zip(keys, row, strict=True)) for row in rows]} for o, rows in files
        ]
        app.show_json({"files": listed, **images_json(plan), "complete": not plan.open_questions})
        return
    for place, (opened, rows) in enumerate(files):
        app.say(f"{opened.path}: {WHOLE.get(opened.format) or spelling(opened.dialect)}")
        if place + 1 == len(files) or files[place + 1][1] != rows:  # of files that are alike, once
            app.table(("header", "concept", "kind", "unit in file", "unit kept", "binding", "confidence"), rows)
    if told := images_json(plan):
        app.say(f"{told['images']:,} images")
        if told["classes"]:
            app.table(("class", "images"), sorted(told["classes"].items()))
    if plan.open_questions:
        app.say(f"\nopen; a mapping file to check:\n\n{plan.mapping_text()}")
    app.say("nothing was imported (--dry-run)")


OWN_NAMES = frozenset({"run_id", "machine_id"})
"""Concepts that tell apart what lies in files of its own."""


def say_files(app: App, plan: AnyPlan) -> None:
    """Which files came along, and that nothing would tell rows of several files apart."""
    for opened in (one for one in plan.opened if one.format == "cmapss"):
        beside = "".join(f", with the answers of {path}" for path in opened.beside)
        app.say(f"reads {opened.path}{beside}")
    trained = [one.path for one in plan.opened if one.path.name.lower().startswith("train_") and one.format == "cmapss"]
    tested = {one.path.name[5:].lower() for one in plan.opened if one.beside}
    for path in (path for path in trained if path.name[6:].lower() not in tested):
        subset = path.name[6:]
        app.say(f"no test_{subset} with RUL_{subset} is beside it: whole engines of {path.name} will be the test part")
    named = {binding.concept.id for found in plan.bindings for binding in found.bound if binding.concept}
    if (
        plan.columns
        and len(plan.opened) > 1
        and not named & OWN_NAMES
        and all(not one.constants for one in plan.opened)
    ):
        app.say(f"{len(plan.opened)} files, and no column says which of them a row is of: --file-column run_id does")


def say_kept(app: App, plan: AnyPlan) -> None:
    """Which columns are kept without a concept, and which of them could be the answer in disguise."""
    kept: list[str] = []
    flags: dict[str, set[str]] = {}
    for binding in (one for found in plan.bindings for one in found.bound if not one.concept and not one.ignored):
        if binding.how == "none":
            kept.append(binding.header)
        if binding.kind == "number":
            flags.setdefault(binding.header, set()).update(binding.look.words)
    if kept:
        app.say(f"kept as they are, without a concept: {', '.join(map(repr, dict.fromkeys(kept)))}")
    for header, values in flags.items():
        if len(values) == 2:
            both = " and ".join(sorted(values))
            leave_out = f"--mapping FILE.yaml with columns: {{{header!r}: {{ignore: true}}}} leaves it out"
            app.say(f"warning: {header!r} holds only {both}; if it is a label it would be learnt from: {leave_out}")


def images_json(plan: AnyPlan) -> dict[str, Any]:
    """How many images of which class a folder holds, as far as its folders tell; nothing for tables."""
    from forgia.dataset.images import ImagePlan

    return {"images": len(plan.files), "classes": dict(plan.classes)} if isinstance(plan, ImagePlan) else {}


def spelling(dialect: Any) -> str:
    """How a file is spelled, in words."""
    signs = {"\t": "tabs", " ": "runs of spaces", ",": "commas", ";": "semicolons", "|": "bars"}
    sign = signs.get(dialect.delimiter, dialect.delimiter)
    text = f"{dialect.encoding}, columns parted by {sign}, decimal {dialect.decimal!r}"
    return text + (f", thousands {dialect.thousands!r}" if dialect.thousands else "")


def show_added(app: App, added: Added, *, as_json: bool) -> None:
    """How an import ended."""
    from forgia import store

    dataset = added.dataset
    if as_json:
        app.show_json({**dataset_json(dataset), "new": added.is_new})
        return
    manifest = dataset.manifest
    if not added.is_new:
        app.say("the same bytes, read in the same way, are there already; nothing was added")
    app.out(dataset.ref)
    app.say(f"{manifest.rows:,} rows, {len(manifest.columns)} columns, {manifest.rejected:,} rows rejected")
    if manifest.rejected:
        app.say(f"rejected rows, with line and reason: {dataset.paths.rejects}")
    say_findings(app, store.read_json(dataset.paths.profile), least=0)
    app.say(f"report: {dataset.paths.report}")


def say_findings(app: App, profile: Mapping[str, Any], *, least: int = 2) -> None:
    """What stands out in a dataset, the gravest first: everything, or what weighs no less than ``least``."""
    from forgia.dataset.findings import findings
    from forgia.dataset.report import WORDS

    for finding in findings(profile):
        if finding.weight <= least:
            app.say(f"{WORDS[finding.weight]}: {finding}")


def ask_for(app: App, vocabulary: Vocabulary) -> Ask:
    """Puts questions about columns to the person at the terminal, until the answer can be used."""

    def ask(question: Question) -> Entry | None:
        from forgia.dataset.mapping import Entry, problems_of

        app.say(f"\n{question.header!r}: {question.why}")
        if question.look.example:
            app.say(f"  values such as {question.look.example!r}")
        choices = [*question.suggestions, Entry(keep="auto"), Entry(ignore=True)]
        for number, entry in enumerate(choices, 1):
            app.say(f"  {number}  {describe(entry)}")
        app.say("  or type a concept and its unit, such as: torque N.m")
        while True:
            answer = answer_of(click.prompt("which", err=True), choices)
            wrong = list(problems_of(answer.to_json(), vocabulary)) if answer else ["no such number"]
            if not wrong:
                return answer
            app.say("; ".join(wrong))

    return ask


def answer_of(text: str, choices: list[Entry]) -> Entry | None:
    """The entry that a person's answer means: the number of a choice, or a concept with its unit."""
    from forgia.dataset.mapping import Entry

    first, *rest = text.split(maxsplit=1) or [""]
    if first.isdigit() and not rest:
        place = int(first) - 1
        return choices[place] if 0 <= place < len(choices) else None
    return Entry(concept=first, unit=rest[0] if rest else None)


def describe(entry: Entry) -> str:
    """A choice in words."""
    if entry.ignore:
        return "leave the column out"
    if entry.concept:
        return entry.concept + (f" in {entry.unit}" if entry.unit else "")
    return "keep it without a concept" + ("" if entry.keep == "auto" else f", as {entry.keep}")
