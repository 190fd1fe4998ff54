"""Text as firms write it, into typed rows with the bad ones told apart."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgia.dataset import convert
from forgia.dataset.blocks import blocks, cut
from forgia.dataset.convert import TIME_TYPE, Target
from forgia.dataset.dialect import Dialect, ReadOptions, sniff
from forgia.dataset.kinds import as_number, look
from forgia.dataset.parse import Block, Field, Parser, records
from forgia.errors import UserError

NUMBER = Target(kind="number", type=pa.float64())
WORD = Target(kind="text", type=pa.string())


def dialect_of(text: str | bytes, **said) -> Dialect:
    data = text if isinstance(text, bytes) else text.encode()
    return sniff(Path("f.csv"), data, ReadOptions(**said), complete=True)


def parse(text: str, *targets: Target, delimiter: str = ","):
    header = tuple("abcdef"[: len(targets)])
    dialect = Dialect(encoding="utf-8", delimiter=delimiter, decimal=".", thousands="", header=header, skip=0, line=1)
    fields = [Field(index=n, header=h, name=h, target=t) for n, (h, t) in enumerate(zip(header, targets, strict=True))]
    return Parser("f.csv", dialect, fields).parse(Block(data=text.encode(), line=1))


@pytest.mark.parametrize(
    ("text", "delimiter", "decimal", "thousands"),
    [
        ("a,b\n1.5,2\n", ",", ".", ""),
        ("a;b\n1,5;2,25\n", ";", ",", ""),
        ("a;b\n1.234,5;3\n", ";", ",", "."),
        ("a\tb\n1,5\t2\n", "\t", ",", ""),
        ("a  b   c\n 1.0   2  3\n4 5   6\n", " ", ".", ""),
        ('x,y\n"1,5","2,25"\n', ",", ",", ""),
        ('x,y\n"1,500",2.25\n', ",", ".", ","),
        ("sep=;\na;b\n1;2\n", ";", ".", ""),
        ("a;b\n1 234,5;x\n", ";", ",", " "),
    ],
)
def test_the_spelling_is_seen_in_the_file(text: str, delimiter: str, decimal: str, thousands: str) -> None:
    found = dialect_of(text)
    assert (found.delimiter, found.decimal, found.thousands) == (delimiter, decimal, thousands)


def test_a_comma_that_could_be_either_is_asked_for() -> None:
    with pytest.raises(UserError, match="two ways"):
        dialect_of('x,y\n"1,500","2,250"\n')
    assert dialect_of('x,y\n"1,500","2,250"\n', decimal=",").decimal == ","


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_accents_survive_every_encoding(encoding: str) -> None:
    assert dialect_of("Velocità;Qualità\n1;2\n".encode(encoding)).header == ("Velocità", "Qualità")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\0c\n", "NUL"),
        (bytes(range(1, 32)) * 20, "control characters"),
        (b"a,b,a\n1,2,3\n", "more than once: 'a' in columns 1, 3"),
        (b"1,2\n3,4\n", "values, not names"),
        (b"\n\n", "no rows"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dialect_of(data)


@pytest.mark.parametrize(
    ("values", "kind", "times"),
    [
        (["31/12/2025 14:30:00", "1/1/2026 9:05"], "time", "day-first"),
        (["12/31/2025", "01/02/2025"], "time", "month-first"),
        (["2025-12-31T14:30:00Z"], "time", "iso"),
        (["1735653000", "1735653001"], "number", "epoch-s"),
        (["1735653000000"], "number", "epoch-ms"),
        (["OK", "KO"], "boolean", ""),
        (["sì", "no"], "boolean", ""),
        (["0", "1"], "number", ""),
        (["M14860", "L47181"] * 30, "category", ""),
        (["", "NA", "n.d."], "", ""),
    ],
)
def test_the_kind_is_seen_in_the_values(values: list[str], kind: str, times: str) -> None:
    found = look(values, decimal=".", thousands="")
    assert (found.kind, found.times) == (kind, times)


def test_italian_times_become_utc() -> None:
    target = Target(kind="time", type=TIME_TYPE, times="day-first", time_zone="Europe/Rome")
    values, bad = convert.from_texts(pa.array(["31/12/2025 14:30:00", "1/7/25 9.05", "31/02/2025", "x"]), target)
    assert [value and value.replace(tzinfo=None) for value in values.to_pylist()[:2]] == [
        dt.datetime(2025, 12, 31, 13, 30),
        dt.datetime(2025, 7, 1, 7, 5),
    ]
    assert bad is not None
    assert bad.to_pylist() == [False, False, True, True]


def test_ok_means_false_where_the_concept_asks_for_the_failure() -> None:
    for adverse, expected in ((True, [False, True]), (False, [True, False])):
        target = Target(kind="boolean", type=pa.bool_(), adverse=adverse)
        assert convert.from_texts(pa.array(["OK", "ko"]), target)[0].to_pylist() == expected


@given(st.floats(-1e15, 1e15, allow_nan=False), st.sampled_from([(".", ","), (",", "."), (",", ""), (",", " ")]))
def test_a_number_reads_back_however_it_was_grouped(value: float, signs: tuple[str, str]) -> None:
    decimal, thousands = signs
    text = f"{value:,.3f}".replace(",", "§").replace(".", decimal).replace("§", thousands)
    target = Target(kind="number", type=pa.float64(), decimal=decimal, thousands=thousands)
    values, bad = convert.from_texts(pa.array([text]), target)
    assert bad is None
    assert values[0].as_py() == pytest.approx(float(f"{value:.3f}")) == as_number(text, decimal, thousands)


def test_bad_rows_are_told_with_line_and_reason_and_the_others_kept() -> None:
    found = parse('1,x\n\nabc,y\n3\n4,"two\nlines"\n5,"open\n6,z\n', NUMBER, WORD)
    assert found.batch.column("a").to_pylist() == [1.0, 4.0, 6.0]
    assert [(reject.line, reject.reason) for reject in found.rejects] == [
        (3, "a: 'abc' is not a number"),
        (4, "1 values instead of 2"),
        (7, "quotation marks do not match: unexpected end of data"),
    ]


def test_every_reason_of_a_row_is_told() -> None:
    found = parse("x,y,z\n1,2,ok\n", NUMBER, NUMBER, WORD)
    assert found.rejects[0].reason == "a: 'x' is not a number; b: 'y' is not a number"


def test_infinity_is_no_measurement() -> None:
    assert parse("1\ninf\n", NUMBER).rejects[0].line == 2


def test_missing_markers_are_no_rejects() -> None:
    found = parse("1\nn.d.\nNA\n-\n", NUMBER)
    assert found.batch.column(0).to_pylist() == [1.0, None, None, None]


def test_a_stray_inch_mark_is_a_value() -> None:
    found = parse('1,5" pipe\n2,7" pipe\n3,9" pipe\n', NUMBER, WORD)
    assert found.batch.column("b").to_pylist() == ['5" pipe', '7" pipe', '9" pipe']


def test_two_unclosed_marks_hide_no_rows() -> None:
    found = parse('1,a\n2,"open\n3,y\n4,"z\n5,b\n', NUMBER, WORD)
    assert found.batch.column("a").to_pylist() == [1.0, 3.0, 5.0]
    assert [reject.line for reject in found.rejects] == [2, 4]


def test_bytes_that_are_no_utf8_cost_their_row() -> None:
    dialect = Dialect(encoding="utf-8", delimiter=",", decimal=".", thousands="", header=("a",), skip=0, line=1)
    parser = Parser("f.csv", dialect, [Field(index=0, header="a", name="a", target=WORD)])
    found = parser.parse(Block(data=b"uno\ndu\xe8\ntre\n", line=10))
    assert found.batch.column(0).to_pylist() == ["uno", "tre"]
    assert (found.rejects[0].line, found.rejects[0].reason[:14]) == (11, "not UTF-8 text")


cells = st.text(st.characters(codec="utf-8", exclude_characters='"\r\0', exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(st.integers(0, 999), cells), min_size=1, max_size=40), st.integers(64, 400))
def test_blocks_of_any_size_hold_the_same_rows(rows: list[tuple[int, str]], size: int) -> None:
    text = "".join(f'{number},"{cell}"\n' for number, cell in rows)
    dialect = Dialect(encoding="utf-8", delimiter=",", decimal=".", thousands="", header=("a", "b"), skip=0, line=1)
    found = list(blocks(Path("f"), io.BytesIO(text.encode()), dialect, size=size))
    assert b"".join(block.data for block in found).decode() == text
    assert all(block.data.count(b'"') % 2 == 0 for block in found)
    line = 1
    for block in found:
        assert block.line == line
        line += block.data.count(b"\n")


def test_a_cut_never_falls_inside_a_quoted_value() -> None:
    assert cut(b'a,b\n1,"x\ny"\n2,"q\n') == 12
    assert cut(b"no line feed") == 0


def test_records_keep_their_lines() -> None:
    found = list(records(Block(data=b'1,"a\nb"\n2,c\n', line=7)))
    assert [line for line, _ in found] == [7, 9]
