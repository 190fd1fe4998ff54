"""Writes manuals, tickets and questions of two firms that run the same presses: ``python generate.py --out DIR``.

Stands alone: the standard library. What is made up and how is told in the README beside this file.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FAMILIES = ("KX", "RM", "TL", "VP")
"""Kinds of machine; what is true of a kind is true of every machine of it, at both firms."""
PARTS = (
    ("spindle nut", "ghiera del mandrino"),
    ("flange bolt", "bullone della flangia"),
    ("pump cover", "coperchio della pompa"),
    ("guide rail", "guida lineare"),
    ("belt pulley", "puleggia della cinghia"),
    ("clamp screw", "vite del morsetto"),
)
SERVICES = (
    ("oil change", "cambio olio"),
    ("filter replacement", "sostituzione del filtro"),
    ("belt inspection", "controllo della cinghia"),
    ("grease refill", "rabbocco del grasso"),
)
FAULTS = (
    ("low oil pressure", "pressione olio bassa", "clean the suction filter", "pulire il filtro di aspirazione"),
    ("spindle overheating", "mandrino surriscaldato", "check the coolant flow", "verificare il refrigerante"),
    ("drive overload", "sovraccarico azionamento", "reduce the feed rate", "ridurre la velocità di avanzamento"),
    ("door switch open", "interruttore porta aperto", "adjust the door latch", "regolare la chiusura della porta"),
    ("encoder signal lost", "segnale encoder assente", "replace the encoder cable", "sostituire il cavo encoder"),
    ("air pressure low", "pressione aria bassa", "drain the air dryer", "scaricare l'essiccatore"),
    ("excess vibration", "vibrazione eccessiva", "balance the tool holder", "bilanciare il portautensile"),
    ("tank level low", "livello serbatoio basso", "refill the coolant tank", "rabboccare il serbatoio"),
)
WORKERS = ("AB", "CD", "EF", "GH", "LM", "NP")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of the kinds of machine; the same for every seed of the documents."""

    torque_nm: dict[tuple[str, int], int]
    """(family, part) → tightening torque."""
    interval_h: dict[tuple[str, int], int]
    """(family, service) → hours between two."""
    codes: dict[tuple[str, int], str]
    """(family, fault) → the code that the machine shows."""


@dataclass(frozen=True, slots=True)
class Row:
    """A paragraph of a document, or a question about one with its answer."""

    document: str
    text: str = ""
    question: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Firm:
    """Which machines a firm has and how it writes."""

    name: str
    language: int
    """0: English, 1: Italian; the place of a word in the tables above."""
    machines: tuple[str, ...]


FIRMS = (
    Firm("alfa", 0, tuple(f"{family}-{number}" for family in FAMILIES for number in range(11, 18))),
    Firm("beta", 1, tuple(f"{family}-{number}" for family in FAMILIES for number in range(31, 38))),
)


def facts_of(families: tuple[str, ...]) -> Facts:
    """Numbers and codes drawn once and for all."""
    draw = random.Random("facts")  # noqa: S311 — nothing secret
    codes = iter(draw.sample(range(101, 999), len(families) * len(FAULTS)))
    return Facts(
        torque_nm={(family, part): draw.randrange(12, 180) for family in families for part in range(len(PARTS))},
        interval_h={
            (family, service): draw.randrange(4, 40) * 50 for family in families for service in range(len(SERVICES))
        },
        codes={(family, fault): f"E{next(codes)}" for family in families for fault in range(len(FAULTS))},
    )


def manual(firm: Firm, machine: str, facts: Facts, draw: random.Random) -> Iterator[Row]:
    """A manual of one machine, a row a section, and questions that it answers."""
    family, document = machine[:2], f"manual {machine}" if firm.language == 0 else f"manuale {machine}"
    parts, services = draw.sample(range(len(PARTS)), 5), draw.sample(range(len(SERVICES)), 3)
    faults = draw.sample(range(len(FAULTS)), 6)
    sections = [
        heading(firm, machine),
        *(tightening(firm, machine, part, facts.torque_nm[family, part]) for part in parts),
        *(servicing(firm, machine, service, facts.interval_h[family, service]) for service in services),
        *(fault_help(firm, machine, fault, facts.codes[family, fault]) for fault in faults),
    ]
    yield Row(document, text=" ".join(sections))
    yield torque_question(firm, document, machine, parts[0], facts.torque_nm[family, parts[0]])
    yield code_question(firm, document, machine, faults[0], facts.codes[family, faults[0]])


def tickets(firm: Firm, facts: Facts, draw: random.Random, count: int) -> Iterator[Row]:
    """What the maintenance crew wrote down, and a question a ticket for some of them."""
    for number in range(1, count + 1):
        machine, fault = draw.choice(firm.machines), draw.randrange(len(FAULTS))
        code, document = facts.codes[machine[:2], fault], f"ticket {number:04}"
        yield Row(document, text=ticket(firm, machine, fault, code, draw))
        if number % 3 == 0:
            yield code_question(firm, document, machine, fault, code)


def heading(firm: Firm, machine: str) -> str:
    """The first words of a manual."""
    if firm.language == 0:
        return f"Maintenance manual of machine {machine}. Stop the machine before any work."
    return f"Manuale di manutenzione della macchina {machine}. Fermare la macchina prima di ogni intervento."


def tightening(firm: Firm, machine: str, part: int, torque: int) -> str:
    """How hard a part is tightened."""
    if firm.language == 0:
        return f"On {machine} tighten the {PARTS[part][0]} to {torque} Nm."
    return f"Su {machine} serrare {PARTS[part][1]} a {torque} Nm."


def servicing(firm: Firm, machine: str, service: int, hours: int) -> str:
    """How often a service is due."""
    if firm.language == 0:
        return f"On {machine} the {SERVICES[service][0]} is due every {hours} hours."
    return f"Su {machine} {SERVICES[service][1]} ogni {hours} ore."


def fault_help(firm: Firm, machine: str, fault: int, code: str) -> str:
    """What a code means and what helps."""
    if firm.language == 0:
        return f"Code {code} on {machine} means {FAULTS[fault][0]}: {FAULTS[fault][2]}."
    return f"Il codice {code} su {machine} significa {FAULTS[fault][1]}: {FAULTS[fault][3]}."


def ticket(firm: Firm, machine: str, fault: int, code: str, draw: random.Random) -> str:
    """One intervention."""
    worker, minutes, hour = draw.choice(WORKERS), draw.randrange(1, 13) * 5, draw.randrange(6, 22)
    if firm.language == 0:
        return (
            f"At {hour}:00 machine {machine} stopped with code {code}, {FAULTS[fault][0]}. "
            f"Remedy: {FAULTS[fault][2]}. Done by {worker} in {minutes} minutes."
        )
    return (
        f"Alle {hour}:00 la macchina {machine} si è fermata con codice {code}, {FAULTS[fault][1]}. "
        f"Rimedio: {FAULTS[fault][3]}. Eseguito da {worker} in {minutes} minuti."
    )


def torque_question(firm: Firm, document: str, machine: str, part: int, torque: int) -> Row:
    """A question whose answer is a number."""
    if firm.language == 0:
        question = f"What is the tightening torque of the {PARTS[part][0]} on {machine}?"
    else:
        question = f"Qual è la coppia di serraggio: {PARTS[part][1]} su {machine}?"
    return Row(document, question=question, answer=f"{torque} Nm")


def code_question(firm: Firm, document: str, machine: str, fault: int, code: str) -> Row:
    """A question whose answer is a remedy."""
    if firm.language == 0:
        return Row(document, question=f"What to do on code {code} of {machine}?", answer=FAULTS[fault][2])
    return Row(document, question=f"Cosa fare con il codice {code} di {machine}?", answer=FAULTS[fault][3])


def rows_of(firm: Firm, count: int, seed: int) -> list[Row]:
    """All documents of a firm with their questions."""
    facts, draw = facts_of(FAMILIES), random.Random(f"{firm.name} {seed}")  # noqa: S311 — nothing secret
    manuals = [row for machine in firm.machines for row in manual(firm, machine, facts, draw)]
    return [*manuals, *tickets(firm, facts, draw, count)]


HEADERS = {"alfa": ("Document", "Text", "Question", "Answer"), "beta": ("Documento", "Testo", "Domanda", "Risposta")}
DELIMITERS = {"alfa": ",", "beta": ";"}


def as_text(firm: Firm, rows: list[Row]) -> str:
    """The whole file as text."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=DELIMITERS[firm.name], lineterminator="\n")
    writer.writerow(HEADERS[firm.name])
    writer.writerows((row.document, row.text, row.question, row.answer) for row in rows)
    return text.getvalue()


def write(folder: Path, rows: int, seed: int) -> list[Path]:
    """A file a firm."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{firm.name}.csv" for firm in FIRMS]
    for firm, path in zip(FIRMS, paths, strict=True):
        path.write_text(as_text(firm, rows_of(firm, rows, seed)), encoding="utf-8")
    return paths


def main() -> None:
    """Read the arguments, write the files, print their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--rows", type=int, default=300, help="tickets a firm")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for path in write(chosen.out, chosen.rows, chosen.seed):
        print(path)


if __name__ == "__main__":
    main()
