"""How a text file spells a table: encoding, separator, decimal and thousands signs, header; read from its beginning."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
import zoneinfo
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forgia.errors import UserError, nearest

DELIMITERS = ("\t", ";", "|", ",", " ")
"""Tried in this order: the rarer a sign is inside values, the more it says. A space stands for runs of spaces."""
BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
FORMATS = ("cmapss", "documents")
SAMPLE_LINES = 2000
MISSING = frozenset(
    (
        *("", "NA", "N/A", "n/a", "na", "n.a.", "N.A.", "NaN", "nan", "NAN", "-NaN", "-nan", "null", "NULL", "Null"),
        *("None", "none", "-", "--", "n.d.", "N.D.", "nd", "ND", "N/D", "n/d", "#N/D", "#N/A", "?", "<NA>", "(null)"),
    )
)
"""Texts that stand for a value that is not there, as exports in Italian and English write it."""
_COMMA_DECIMAL = re.compile(r"^[+-]?(\d+|\d{1,3}([. '\u00a0\u202f]\d{3})+),\d+([eE][+-]?\d+)?$")
_POINT_DECIMAL = re.compile(r"^[+-]?(\d+|\d{1,3}([, '\u00a0\u202f]\d{3})+)\.\d+([eE][+-]?\d+)?$")
_NUMBER = re.compile(r"^[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$")
CMAPSS_WIDTH = 26
"""Numbers in a line of NASA's files: unit, cycle, 3 settings, 21 sensors."""
_GROUPED = re.compile(r"^[+-]?[1-9]\d{0,2}(?P<sign>[., '\u00a0\u202f])\d{3}((?P=sign)\d{3})*(?P<rest>[.,]\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What a person says about the files; None is read from the file itself."""

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool = True
    """Whether the first line names the columns."""
    columns: tuple[str, ...] = ()
    """Names of all columns, in order; instead of the header's."""
    time_zone: str = "UTC"
    """Zone of times that do not say theirs."""
    format: str | None = None
    """A format that is not seen in the files themselves; one of FORMATS."""
    is_import: bool = True
    """Whether all of this is for a person to say, as of an import; new rows for a model have to be as they are."""

    def __post_init__(self) -> None:
        """Raises: UserError — what no file can be read with, all of it."""
        wrong = []
        if self.delimiter is not None and len(self.delimiter) != 1:
            wrong.append(f"delimiter {self.delimiter!r} is not one sign")
        if self.thousands and len(self.thousands) != 1:
            wrong.append(f"thousands sign {self.thousands!r} is not one sign")
        if self.thousands and self.thousands == (self.decimal or "."):
            wrong.append(f"{self.thousands!r} cannot be both the decimal and the thousands sign; say --decimal too")
        if self.time_zone != "UTC" and self.time_zone not in zoneinfo.available_timezones():
            close = nearest(self.time_zone, zoneinfo.available_timezones())
            wrong.append(
                f"no time zone {self.time_zone!r}" + (f"; did you mean {' or '.join(close)}?" if close else "")
            )
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            wrong.append(f"no encoding {self.encoding!r}")
        if self.format is not None and self.format not in FORMATS:
            wrong.append(f"no format {self.format!r}; forgia knows {', '.join(FORMATS)}")
        if wrong:
            raise UserError("; ".join(wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one file is spelled."""

    encoding: str
    delimiter: str
    decimal: str
    thousands: str
    """Empty where numbers have none."""
    header: tuple[str, ...]
    skip: int
    """Bytes before the first row of data, in the decoded (UTF-8) text."""
    line: int
    """Line number of the first row of data."""


def sniff(path: Path, head: bytes, options: ReadOptions, *, complete: bool) -> Dialect:
    """Read the dialect from the first bytes of a file (decompressed); ``complete`` when there are no more.

    Raises: UserError — not a table of text, empty, or a header that cannot be used.
    """
    encoding = options.encoding or encoding_of(path, head)
    text = decode_head(path, head, encoding, complete=complete)
    if not text.strip():
        raise UserError(f"{path}: the file holds no rows")
    lines = list(io.StringIO(text, newline=""))
    if not complete and len(lines) > 1:
        lines = lines[:-1]
    start, told = _preamble(lines)
    delimiter = options.delimiter or told or delimiter_of(lines[start : start + SAMPLE_LINES])
    rows = split_lines(lines[start : start + SAMPLE_LINES], delimiter)
    if options.header:
        header, used = rows[0][0], rows[0][1]
    else:
        header, used = [f"column_{number}" for number in range(1, len(rows[0][0]) + 1)], 0
    names = _header(path, header, options)
    cells = [cell for row, _ in rows[1:] for cell in row] or [cell for row, _ in rows for cell in row]
    decimal, thousands = number_signs(cells, delimiter, options)
    before = start + used
    return Dialect(
        encoding=encoding,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        header=names,
        skip=len("".join(lines[:before]).encode()),
        line=before + 1,
    )


def encoding_of(path: Path, head: bytes) -> str:
    """By the byte order mark, else UTF-8 if it is, else Windows-1252, which is what Italian Excel writes.

    Raises: UserError — bytes that are no text.
    """
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:
        raise UserError(f"{path}: this is no text file (it holds NUL bytes); forgia reads CSV and Parquet")
    odd = sum(head.count(bytes([code])) for code in (*range(1, 9), 11, *range(14, 32), 127))
    if odd > len(head) / 500:
        raise UserError(f"{path}: this is no text file (control characters); forgia reads CSV and Parquet")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
        return "utf-8"
    except UnicodeDecodeError:
        return "latin-1" if any(code in head for code in b"\x81\x8d\x8f\x90\x9d") else "cp1252"


def decode_head(path: Path, head: bytes, encoding: str, *, complete: bool) -> str:
    """The text of the first bytes, without its byte order mark. Raises: UserError — not text in this encoding."""
    try:
        text: str = codecs.getincrementaldecoder(encoding)().decode(head, complete)
    except (LookupError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not text in {encoding}: {error}") from error
    return text.removeprefix("\ufeff")


def delimiter_of(lines: Sequence[str]) -> str:
    """The sign that cuts most lines into the same number of values as the first line; a comma for one column."""
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        widths = Counter(len(row) for row, _ in split_lines(lines[:200], delimiter))
        first = len(split_lines(lines[:1], delimiter)[0][0]) if lines else 1
        share = widths[first] / max(1, sum(widths.values()))
        if delimiter == " " and share < 0.5:
            continue  # blanks within the name of a single column
        if first > 1 and share > best_score + 0.05:
            best, best_score = delimiter, share
    return best


def split_lines(lines: Sequence[str], delimiter: str) -> list[tuple[list[str], int]]:
    """Rows of values with the number of lines read up to and with each; empty lines are passed over."""
    text = io.StringIO("".join(squeeze(line) for line in lines) if delimiter == " " else "".join(lines), newline="")
    reader = csv.reader(text, delimiter=delimiter)
    rows: list[tuple[list[str], int]] = []
    with contextlib.suppress(csv.Error):
        rows.extend((row, reader.line_num) for row in reader if row)
    return rows or [([""], 0)]


def squeeze(line: str) -> str:
    """A line of values parted by runs of spaces, with one space between and none around."""
    return re.sub(r"[ \t]+", " ", line.strip()) + "\n"


def number_signs(cells: Sequence[str], delimiter: str, options: ReadOptions) -> tuple[str, str]:
    """Decimal and thousands sign that the numbers of a file use.

    ``1,234`` alone says little: in a file parted by anything but commas the comma is decimal; in one parted by
    commas it groups digits where other numbers have a decimal point.
    Raises: UserError — nothing in the file decides.
    """
    tidy = [cell.strip() for cell in cells]
    commas = [cell for cell in tidy if _COMMA_DECIMAL.match(cell)]
    points = sum(bool(_POINT_DECIMAL.match(cell)) for cell in tidy)
    if delimiter == "," and options.decimal is None and options.thousands is None:
        doubtful = [cell for cell in commas if _GROUPED.match(cell)]
        if doubtful and len(doubtful) == len(commas):
            if not points:
                raise UserError(
                    f"numbers such as {doubtful[0]!r} can be read in two ways",
                    hint="say --decimal , or --thousands ,"
                    if options.is_import
                    else "part the columns by semicolons, or write numbers with a decimal point",
                )
            commas = []
    decimal = options.decimal or ("," if len(commas) > points else ".")
    if options.thousands is not None:
        return decimal, options.thousands
    signs = Counter(
        match["sign"]
        for cell in tidy
        if (match := _GROUPED.match(cell)) and match["sign"] != decimal and (match["rest"] or decimal)[0] == decimal
    )
    sign = signs.most_common(1)[0][0] if signs else ""
    return decimal, " " if sign in ("\u00a0", "\u202f") else sign


def _preamble(lines: Sequence[str]) -> tuple[int, str | None]:
    """Lines before the header, and the separator that Excel's ``sep=;`` line tells."""
    start = 0
    while start < len(lines) and not lines[start].strip():
        start += 1
    if start < len(lines) and (match := re.match(r"^sep=(.)\s*$", lines[start])):
        return start + 1, match[1]
    return start, None


def _header(path: Path, header: Sequence[str], options: ReadOptions) -> tuple[str, ...]:
    names = options.columns or tuple(" ".join(name.split()) for name in header)
    if len(names) != len(header):
        raise UserError(f"{path}: {len(names)} column names were given, the first line has {len(header)} values")
    if not options.columns:
        # A separator at the end of every line makes a last column without a name.
        names = tuple(name or f"column_{number}" for number, name in enumerate(names, 1))
    if options.header and not options.columns and _is_cmapss(names):
        raise UserError(
            f"{path}: the first line holds {len(names)} numbers and no names, as NASA's C-MAPSS files do",
            hint="--format cmapss reads them" + ("; --no-header any other table" if options.is_import else ""),
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        places = "; ".join(
            f"{name!r} in columns {', '.join(str(n) for n, other in enumerate(names, 1) if other == name)}"
            for name in repeated
        )
        raise UserError(
            f"{path}: column names occur more than once: {places}",
            hint="--columns a,b,c gives every column its own name"
            if options.is_import
            else "give every column the name of its own that it had in the training data",
        )
    if options.header and not options.columns and _looks_like_data(names):
        raise UserError(
            f"{path}: the first line holds values, not names: {', '.join(names[:5])}",
            hint="--no-header --columns a,b,c names the columns"
            if options.is_import
            else "write the names of the columns, as in the training data, into the first line",
        )
    return names


def _looks_like_data(names: Sequence[str]) -> bool:
    return sum(bool(_NUMBER.match(name)) for name in names) * 2 > len(names)


def _is_cmapss(names: Sequence[str]) -> bool:
    """As many numbers as a line of C-MAPSS's files has; blanks at its end make up to two nameless columns more."""
    return sum(bool(_NUMBER.match(name)) for name in names) == CMAPSS_WIDTH and len(names) <= CMAPSS_WIDTH + 2
