"""What a run's folder shows of a failure: the reasons that ranks left, the ends of their logs, the launcher's words.

Logs may be missing, binary or larger than memory: only their ends are read.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgia.causes.explanation import Line
from forgia.logs import NOTICED, rank_of, reasons
from forgia.paths import HomePaths, RunPaths
from forgia.run import Journal, State
from forgia.schedulers import array

TAIL_BYTES = 64 * 1024
MOST_LOGS, MOST_LINES = 64, 100
"""So many ranks' logs, and lines of each, are read where nobody is known to have failed first."""
LONGEST_LINE = 400
LAUNCHER = re.compile(r"(?:srun: error|forgia): (?P<node>[\w.-]+): tasks? (?P<rank>\d+)[\d,-]*: (?P<how>.+)")
"""How srun tells the end of a rank, and the controller on this machine after it. Source: task_state.c and launch.c of
SLURM 22.05, and a live 22.05.8."""
OWN_MARK = "forgia: start "
START_OVER = re.compile(rf"^{OWN_MARK}\d+ of job |\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ DUE TO (?!TIME LIMIT)")
"""The launcher's log goes on below this when the scheduler starts the job again; the script of an array says it itself,
since SLURM's words go to the log of the whole array."""
ON_ITS_WAY_OUT = re.compile(r"^srun: (?!error)|: (?:Terminated|Killed)$|\*\*\* STEP ")
"""What the launcher of a job that is being stopped still writes, after its successor's log has begun."""
STOPPED = re.compile(r"CANCELLED AT|srun: forcing job termination|srun: Job step aborted|: Terminated$")
"""From here on ranks end because the job was stopped."""
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
ERROR_LINE = re.compile(
    r"^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Warning|Exit|Iteration))(?:: (?P<words>.*))?$"
)
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The rank that failed first, as far as the folder tells."""

    rank: int | None = None
    node: str = ""
    time: str = ""
    kind: str = ""
    """Class of the exception; empty where the rank left no word."""
    line: Line | None = None
    """Its word, or what the launcher said of it."""

    @property
    def is_sure(self) -> bool:
        """It failed by itself, and did not only see another go."""
        return self.rank is not None and self.kind != NOTICED


def first_failure(paths: RunPaths, attempt: int) -> First:
    """Who failed first: by the ranks' own words, by the launcher's, or because all others only noticed."""
    words = reasons(paths, attempt)
    if words and words[0]["kind"] != NOTICED:
        return said(paths, attempt, words[0])
    noticed = {reason["rank"] for reason in words}
    if (by_launcher := told_by_launcher(paths, attempt, noticed)) is not None:
        return by_launcher
    silent = sorted({rank for rank in ranks_with_logs(paths, attempt) if rank not in noticed})
    if words and len(silent) == 1:
        line = Line(
            text=f"rank {silent[0]} left no word, while others noticed its end", file=words_place(paths, attempt)
        )
        return First(rank=silent[0], line=line)
    return said(paths, attempt, words[0]) if words else First()


def said(paths: RunPaths, attempt: int, words: dict[str, Any]) -> First:
    """A rank's own word."""
    time, node, kind, reason = (clean(str(words[key])) for key in ("t", "host", "kind", "reason"))
    line = Line(text=reason, file=str(paths.reason(attempt, words["rank"])))
    return First(rank=words["rank"], node=node, time=time, kind=kind, line=line)


def told_by_launcher(paths: RunPaths, attempt: int, noticed: set[int]) -> First | None:
    """The first rank of whose end srun spoke, leaving aside those that ended because another had."""
    for line in itertools.takewhile(lambda line: not STOPPED.search(line.text), launcher_lines(paths, attempt)):
        found = LAUNCHER.search(line.text)
        if found and not (int(found["rank"]) in noticed and found["how"].startswith("Exited")):
            return First(rank=int(found["rank"]), node=found["node"], line=line)
    return None


def launcher_lines(paths: RunPaths, attempt: int) -> list[Line]:
    """What batch script and launcher said of this attempt; a job that was started again writes on in its first log."""
    number = submitted_as(paths, attempt)
    lines = tail(paths.batch_log(number)) or array_lines(paths, number)
    starts = [0, *(index + 1 for index, line in enumerate(lines) if START_OVER.search(line.text))]
    begun = min(attempt - number, len(starts) - 1)
    mine = lines[starts[begun] : starts[begun + 1] if begun + 1 < len(starts) else None]
    is_marked = begun == 0 or lines[starts[begun] - 1].text.startswith(OWN_MARK)
    return mine if is_marked else list(itertools.dropwhile(lambda line: ON_ITS_WAY_OUT.search(line.text), mine))


def array_lines(paths: RunPaths, number: int) -> list[Line]:
    """What forgia's script said in the log of the array before the task had come to its run."""
    place = array.place_of(paths, number)
    if place is None:
        return []
    log = HomePaths(paths.root.parent.parent).sweep(place.sweep_id).array(place.number).log
    return [line for line in tail(log) if line.text.startswith("forgia:")]


def submitted_as(paths: RunPaths, attempt: int) -> int:
    """The attempt as which the job of this one was sent to its scheduler, which may have started it again since."""
    sent = [int(line.get("attempt", 1)) for line in Journal(paths).read() if line.get("event") == State.SUBMITTING]
    return max((number for number in sent if number <= attempt), default=attempt)


def ranks_with_logs(paths: RunPaths, attempt: int) -> list[int]:
    """The ranks that were started."""
    found = {rank_of(path)[0] for path in paths.attempt(attempt).glob("rank-*.err")}
    return sorted(rank for rank in found if rank >= 0)


def words_place(paths: RunPaths, attempt: int) -> str:
    """The folder of an attempt, as a place of evidence."""
    return str(paths.attempt(attempt))


def log_lines(paths: RunPaths, attempt: int, rank: int | None) -> list[Line]:
    """The ends of what a rank wrote, newest first; of every rank where none is named."""
    ranks = ranks_with_logs(paths, attempt)[:MOST_LOGS] if rank is None else [rank]
    files = [place(attempt, number) for number in ranks for place in (paths.stderr, paths.stdout)]
    most = MOST_LINES if rank is None else None
    return [line for path in files for line in tail(path)[::-1][:most]]


def tail(path: Path) -> list[Line]:
    """The last lines of a file, with their numbers where the file is short; none where it cannot be read."""
    texts, is_whole = tail_texts(path)
    return [
        Line(text=clean(text), file=str(path), number=number if is_whole else None)
        for number, text in enumerate(texts, start=1)
        if text.strip()
    ]


def tail_texts(path: Path) -> tuple[list[str], bool]:
    """The last lines as they are, and whether they are all that the file has."""
    if not path.is_file():
        return [], True
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            data = file.read(TAIL_BYTES)
    except OSError:
        return [], True
    is_whole = size <= TAIL_BYTES
    lines = data.decode(errors="replace").split("\n")
    return lines if is_whole else lines[1:] or lines, is_whole


def clean(text: str) -> str:
    """A line that a terminal can show: no control characters, no end of a megabyte."""
    shown = COLOUR.sub("", text).expandtabs()
    plain = "".join(letter for letter in shown if letter.isprintable()).rstrip()
    return plain if len(plain) <= LONGEST_LINE else f"{plain[:LONGEST_LINE]} …"


def raised_in_recipe(paths: RunPaths, lines: list[Line]) -> str:
    """``file:line`` of the recipe where the last traceback of these lines, newest first, went through it."""
    folder = f"/{paths.root.name}/{paths.recipe.name}/"  # nodes may know the disk by another path
    for line in lines:
        found = FRAME.search(line.text)
        if found and folder in found["file"]:
            return f"{found['file'].rpartition(folder)[2]}:{found['line']}"
        if line.text.startswith("Traceback (most recent call last)"):
            return ""
    return ""


def last_error(lines: list[Line], kind: str = "") -> Line | None:
    """The newest line that names an exception; of this class where one is given."""
    for line in lines:
        found = ERROR_LINE.match(line.text)
        if found and kind in ("", found["kind"].rpartition(".")[2]):
            return line
    return None
