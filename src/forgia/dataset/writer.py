"""Batches into one Parquet file, in a thread of its own, in row groups large enough to compress and read well."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 524_288
GROUP_BYTES = 96 << 20
"""Whichever comes first ends a row group, so that wide tables do not need their width in memory."""
WAITING_GROUPS = 1


class ParquetFileWriter:
    """Writes what it is given, in order; a failure of the writing thread is raised by the next call."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self.nulls = dict.fromkeys(schema.names, 0)
        self._path, self._schema = path, schema
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._queue: queue.Queue[pa.Table | None] = queue.Queue(WAITING_GROUPS)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="forgia-parquet", daemon=True)
        self._thread.start()

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch. Raises: OSError — the disk said no."""
        self.rows += batch.num_rows
        for name, values in zip(self.nulls, batch.columns, strict=True):
            self.nulls[name] += values.null_count
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= GROUP_ROWS or self._pending_bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and end the file. Raises: OSError — the disk said no."""
        self._flush()
        self._end()
        self._raise()

    def abandon(self) -> None:
        """Stop without caring for the file; for the way out of an error."""
        self._error = self._error or RuntimeError("abandoned")
        self._end()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._put(None)
            self._thread.join()

    def _flush(self) -> None:
        self._raise()
        if self._pending_rows:
            self._put(pa.Table.from_batches(self._pending, schema=self._schema))
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _put(self, table: pa.Table | None) -> None:
        while self._thread.is_alive():
            try:
                self._queue.put(table, timeout=0.1)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        try:
            with pq.ParquetWriter(self._path, self._schema, compression="zstd", compression_level=1) as writer:
                while (table := self._queue.get()) is not None:
                    if self._error is None:
                        writer.write_table(table, row_group_size=max(1, table.num_rows))
        except (OSError, pa.ArrowException, MemoryError) as error:
            self._error = error
            while self._queue.get() is not None:
                pass
