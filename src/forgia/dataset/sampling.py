"""Bounded views of tables too large to keep: rows for quantiles, row digests for duplicates.

Both keep the members whose 64-bit key lies under a limit and halve the limit when they hold too many, so that what
is kept is the same share of the whole table at every moment, whatever the size of the batches.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Keys = npt.NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio, made odd.

Row numbers times this spread evenly over 64 bits for every stride, so that a sample never falls into step with
machines that take turns in a file. Source: D. E. Knuth, The Art of Computer Programming, vol. 3, §6.4 (1973)
"""
MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
"""Multipliers of the 64-bit finaliser of MurmurHash3. Source: A. Appleby, SMHasher, MurmurHash3.cpp (public domain)"""
BYTE_WEIGHTS = np.random.Generator(np.random.PCG64(11)).integers(0, 2**64, 256, dtype=np.uint64)
MISSING = np.uint64(0x5851F42D4C957F2D)
"""Stands for a missing value; any number that real values do not share by habit."""


class RowSample:
    """At most ``cap`` rows of a stream, spread evenly over it; the same for the same stream however it is cut."""

    def __init__(self, names: Sequence[str], *, cap: int) -> None:
        self.names, self.cap, self.level, self.seen = tuple(names), cap, 0, 0
        self._rows: list[pa.Table] = []
        self._kept = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take the rows of this batch whose turn it is."""
        keys = np.arange(self.seen, self.seen + batch.num_rows, dtype=np.uint64) * GOLDEN
        self.seen += batch.num_rows
        places = np.flatnonzero(keys < _limit(self.level)) if self.level else None
        self._keep(batch.select(list(self.names)), keys, places)
        while self._kept > self.cap:
            self.level += 1
            table = pa.concat_tables(self._rows)
            table = table.filter(pc.less(table.column("sampling key"), pa.scalar(int(_limit(self.level)), pa.uint64())))
            self._rows, self._kept = [table], table.num_rows

    def _keep(self, batch: pa.RecordBatch, keys: Keys, places: npt.NDArray[np.intp] | None) -> None:
        if places is not None:
            batch, keys = batch.take(pa.array(places)), keys[places]
        if batch.num_rows:
            self._rows.append(pa.Table.from_batches([batch]).append_column("sampling key", pa.array(keys)))
            self._kept += batch.num_rows

    def column(self, name: str) -> pa.ChunkedArray:
        """The sampled values of a column, in the order of the rows."""
        return pa.chunked_array([chunk for table in self._rows for chunk in table.column(name).chunks] or [[]])

    @property
    def rows(self) -> int:
        """How many rows are kept."""
        return self._kept


class RowDigests:
    """Counts equal rows by 64-bit digests of whole rows, keeping at most ``cap`` of them.

    Above the cap only rows whose *content* falls under the limit are compared: equal rows are in or out together.
    """

    SELECTORS = 2
    """Columns that decide, once the cap is passed, whether a row is compared at all."""

    def __init__(self, *, cap: int) -> None:
        self.cap, self.level = cap, 0
        self._digests: list[Keys] = []
        self._kept = 0
        self._selectors: list[int] = []

    def update(self, batch: pa.RecordBatch) -> None:
        """Digest the rows of this batch that are under the limit."""
        if not batch.num_rows:
            return
        self._selectors = self._selectors or most_telling(batch, self.SELECTORS)
        chosen = row_keys([batch.column(index) for index in self._selectors])
        self._make_room(chosen)
        if self.level:
            places = np.flatnonzero(chosen < _limit(self.level))
            batch, chosen = batch.take(pa.array(places)), chosen[places]
        if batch.num_rows:
            # The selecting bits stay on top, so that a lower limit can still be applied to what is kept.
            self._digests.append((chosen & np.uint64(0xFFFF << 48)) | (row_keys(batch.columns) >> np.uint64(16)))
            self._kept += len(chosen)

    def _make_room(self, coming: Keys) -> None:
        while self.level < 16 and self._kept + np.count_nonzero(coming < _limit(self.level)) > self.cap:
            self.level += 1
            self._digests = [kept[kept < _limit(self.level)] for kept in self._digests]
            self._kept = sum(map(len, self._digests))

    def result(self) -> tuple[int, int]:
        """Rows compared, and how many of them repeat an earlier one."""
        return self._kept, self._kept - len(np.unique(np.concatenate(self._digests))) if self._digests else 0


def row_keys(columns: Sequence[pa.Array]) -> Keys:
    """One 64-bit key a row, equal for equal rows; a missing value equals a missing value only."""
    keys = value_keys(columns[0])
    for column in columns[1:]:
        keys = keys * GOLDEN
        keys ^= keys >> np.uint64(32)
        keys ^= value_keys(column)
    return _mixed(keys)


def value_keys(column: pa.Array) -> Keys:
    """One 64-bit key a value: the bits of a number or a time, a polynomial over the bytes of a text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        keys = _text_keys(column)
    else:
        keys = _bits(column)
    if column.null_count:
        keys = np.where(pc.is_null(column).to_numpy(zero_copy_only=False), MISSING, keys)
    return keys


def most_telling(batch: pa.RecordBatch, count: int) -> list[int]:
    """Places of the columns that best tell rows apart, by the first rows; numbers before texts, cheaper to digest.

    One is enough where its values hardly ever occur twice.
    """
    head = batch.slice(0, 4096)
    found = [pc.count_distinct(column).as_py() for column in head.columns]
    order = sorted(
        range(batch.num_columns),
        key=lambda place: (found[place] < 64, pa.types.is_string(head.column(place).type), -found[place]),
    )
    return order[: 1 if found[order[0]] > 0.9 * head.num_rows else count]


def _bits(column: pa.Array) -> Keys:
    if column.null_count:
        column = column.fill_null(False if pa.types.is_boolean(column.type) else pa.scalar(0).cast(column.type))
    column = column.cast(pa.float64() if pa.types.is_floating(column.type) else pa.int64())
    bits: Keys = column.to_numpy(zero_copy_only=False).view(np.uint64)
    return bits ^ (bits >> np.uint64(29))


def _text_keys(column: pa.Array) -> Keys:
    """Sum over the bytes of weight(byte) * GOLDEN**position, modulo 2**64, without a loop over the rows.

    Differences of one running sum over all bytes, divided by GOLDEN**start (odd, so that it can be divided by).
    """
    column = column.cast(pa.large_string())
    _, offsets_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(column) + 1, column.offset * 8)
    start, size = int(offsets[0]), int(offsets[-1] - offsets[0])
    if not size:
        return np.zeros(len(column), np.uint64)
    sums = np.zeros(size + 1, np.uint64)
    data = np.frombuffer(data_buffer, np.uint8, size, start)
    np.cumsum(BYTE_WEIGHTS[data] * _powers(GOLDEN, size), out=sums[1:])
    inverse = _powers(np.uint64(pow(int(GOLDEN), -1, 2**64)), size + 1)
    places = offsets - start
    lengths = np.diff(places).astype(np.uint64)
    return _mixed((sums[places[1:]] - sums[places[:-1]]) * inverse[places[:-1]] + lengths)


def _powers(base: np.uint64, count: int) -> Keys:
    return _powers_up_to(base, 1 << (count - 1).bit_length())[:count]


@functools.lru_cache(maxsize=4)
def _powers_up_to(base: np.uint64, count: int) -> Keys:
    powers = np.full(count, base)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _mixed(keys: Keys) -> Keys:
    keys = keys ^ (keys >> np.uint64(33))
    for multiplier in MIX:
        keys *= multiplier
        keys ^= keys >> np.uint64(33)
    return keys


def _limit(level: int) -> np.uint64:
    return np.uint64(2**64 - 1) >> np.uint64(level)
