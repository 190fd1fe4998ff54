"""A sample is an image: decoded once where all fit into memory, else a batch at a time from a file on this node.

Every image is read, turned and scaled by ``forgia.images``, as it will be when the model is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional

from forgia import class_parts, images
from forgia.class_parts import Labels
from forgia.dataset.dataset import Dataset
from forgia.errors import UserError
from forgia.features import FeatureSpec
from forgia_jobs import devices
from forgia_jobs.request import Role
from forgia_jobs.samples import Flat, Positions, Source, data
from forgia_jobs.samples.data import Data

DECODED_BYTES = 1 << 30
"""Images that fit into this, decoded, are kept so: in the memory of every process."""
PIXELS_AT_ONCE = 1 << 20
"""Pixels predicted at once, times channels."""
READ_AT_ONCE = 256
"""Encoded images read from Parquet at once."""
CPU = torch.device("cpu")
CELLS, BINS = 8, 16
"""What a baseline sees: brightness and its spread in so many cells along an edge, and a histogram of so many bins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Height, width and channels that a network sees."""

    size: int
    channels: int

    @property
    def numbers(self) -> int:
        """In one image."""
        return self.channels * self.size * self.size

    @property
    def rows_at_once(self) -> int:
        """As many images as hold some number of pixels."""
        return max(PIXELS_AT_ONCE // self.numbers, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImages:
    """All images, decoded. Shapes: pixels (images, channels, size, size) uint8."""

    frame: Frame
    pixels: Tensor

    @property
    def rows_at_once(self) -> int:
        """As the frame allows."""
        return self.frame.rows_at_once

    def to(self, device: torch.device) -> DecodedImages:
        """The same there; where they are already, the very same memory."""
        return replace(self, pixels=self.pixels.to(device))

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``image`` (batch, channels, size, size), from 0 to 1."""
        return {"image": self.pixels.index_select(0, chosen) / 255.0}

    def flat(self, chosen: Positions) -> Flat:
        """Small pictures of the pictures."""
        return summaries(self, chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImages:
    """Images as they were added, in a memory-mapped file; decoded when they are asked for."""

    frame: Frame
    column: pa.ChunkedArray
    """Encoded images; nothing of it is in memory before it is read."""
    starts: Positions
    """Position of the first image of each chunk."""
    workers: images.Workers
    device: torch.device = CPU

    @property
    def is_costly(self) -> bool:
        """Images are decoded while the step before computes."""
        return True

    @property
    def rows_at_once(self) -> int:
        """As the frame allows."""
        return self.frame.rows_at_once

    def to(self, device: torch.device) -> EncodedImages:
        """The same, giving tensors there."""
        return replace(self, device=device)

    def inputs(self, chosen: Tensor) -> dict[str, Tensor]:
        """``image`` (batch, channels, size, size), from 0 to 1."""
        pixels = decoded([self._bytes(place) for place in chosen.tolist()], self.frame, self.workers)
        return {"image": devices.sent(torch.from_numpy(pixels), self.device) / 255.0}

    def flat(self, chosen: Positions) -> Flat:
        """Small pictures of the pictures."""
        return summaries(self, chosen)

    def _bytes(self, place: int) -> bytes:
        chunk = int(np.searchsorted(self.starts, place, side="right")) - 1
        found: bytes = self.column.chunk(chunk)[place - int(self.starts[chunk])].as_py()
        return found


def load(role: Role, datasets: Sequence[Dataset]) -> Data:
    """Read what is told of the images, split it, and decode them or lay them out on this node.

    Raises: UserError — no column of images, classes that cannot be learnt, or an image that cannot be read.
    """
    table = data.pool(datasets, role.columns)
    answered = np.flatnonzero(table.column(role.columns.target).is_valid().to_numpy())
    told = table.take(pa.array(answered))
    labels, place = Labels.of(told.column(role.columns.target)), f"data.{role.name}.contract"
    class_parts.check_names(labels, normal=role.normal, setting=f"{place}.columns.{role.columns.target}.normal")
    groups = data.group_rows(told, role.columns, is_sorted=True)
    split = data.split_rows(told, role, groups=groups, target=labels.indicators)
    class_parts.check_parts(labels, split, normal=role.normal, setting=f"{place}.split.seed")
    spec = FeatureSpec(
        numeric=(),
        categorical=(),
        target=role.columns.target,
        output="classes",
        samples={**role.samples, "column": role.columns.image},
        classes=labels.names,
        normal=role.normal,
    )
    return Data(
        spec=spec,
        split=split,
        groups=groups,
        owners=told.column(data.OWNER).to_numpy(),
        source=source(role, datasets, keep=answered),
        target=labels.codes,
        left_out=table.num_rows - len(answered),
        test_groups=data.group_names(told, role.columns, groups, of=groups[split.test]),
    )


def source(role: Role, datasets: Sequence[Dataset], *, keep: Positions) -> Source:
    """The images at these positions of the pool. Raises: UserError — one cannot be read, or there is no column."""
    column = role.columns.image
    if column is None:
        raise UserError(
            "no dataset has a column of images", hint="forgia dataset add NAME FOLDER reads a folder of images"
        )
    images.require_pillow()
    frame = Frame(size=int(role.samples["size"]), channels=int(role.samples["channels"]))
    workers, found = images.Workers(), kept(datasets, column, keep)
    if len(keep) * frame.numbers > DECODED_BYTES:
        laid = lay_out(found)
        starts = np.cumsum([0, *(len(chunk) for chunk in laid.chunks)])[:-1].astype(np.int64)
        return EncodedImages(frame=frame, column=laid, starts=starts, workers=workers)
    pixels = np.empty((len(keep), frame.channels, frame.size, frame.size), dtype=np.uint8)
    done = 0
    for encoded in found:
        pixels[done : done + len(encoded)] = decoded(encoded, frame, workers)
        done += len(encoded)
    workers.close()
    return DecodedImages(frame=frame, pixels=torch.from_numpy(pixels))


def kept(datasets: Sequence[Dataset], column: str, keep: Positions) -> Iterator[list[Any]]:
    """The encoded images at these positions of the pool, in its order, some at a time."""
    wanted, first = set(keep.tolist()), 0
    for dataset in datasets:
        for batch in dataset.batches([column], rows=READ_AT_ONCE):
            places = [place for place in range(batch.num_rows) if first + place in wanted]
            yield batch.column(0).take(pa.array(places, pa.int64())).to_pylist()
            first += batch.num_rows


def decoded(encoded: Sequence[bytes], frame: Frame, workers: images.Workers) -> images.Pixels:
    """Shapes: (images, channels, size, size). Raises: UserError — one cannot be read."""
    look = partial(images.pixels, size=frame.size, channels=frame.channels)
    found = workers.each(look, encoded)
    return np.stack(found) if found else np.empty((0, frame.channels, frame.size, frame.size), dtype=np.uint8)


def lay_out(found: Iterator[list[bytes]]) -> pa.ChunkedArray:
    """The images in one Arrow file of this node's scratch space, mapped; the file goes with this process."""
    schema = pa.schema([pa.field("image", pa.large_binary())])
    with tempfile.NamedTemporaryFile(prefix="forgia-images-") as file:  # mapped memory outlives its name
        with pa.ipc.new_file(file.name, schema) as writer:
            for encoded in found:
                writer.write_batch(pa.record_batch([pa.array(encoded, pa.large_binary())], schema=schema))
        return pa.ipc.open_file(pa.memory_map(str(Path(file.name)))).read_all().column(0)


def summaries(source: Source, chosen: Positions) -> Flat:
    """Mean and spread of the brightness in a grid of cells, and a histogram: what trees can learn from.

    Shapes: (samples, channels * (2 * CELLS * CELLS + BINS)).
    """
    parts = _parts(chosen, source.rows_at_once)
    matrix = np.concatenate([_summary(source.inputs(torch.from_numpy(part))["image"].cpu()) for part in parts])
    return Flat(matrix=matrix, is_category=(False,) * matrix.shape[1])


def _parts(chosen: Positions, size: int) -> list[Positions]:
    return [chosen[start : start + size] for start in range(0, max(len(chosen), 1), size)]


def _summary(seen: Tensor) -> npt.NDArray[np.float64]:
    """Shapes: (samples, channels, size, size) to (samples, columns)."""
    mean = functional.adaptive_avg_pool2d(seen, CELLS)
    spread = (functional.adaptive_avg_pool2d(seen.square(), CELLS) - mean.square()).clamp_min(0).sqrt()
    bins = (seen * BINS).long().clamp(0, BINS - 1).flatten(2)
    counts = torch.zeros(*bins.shape[:2], BINS).scatter_add_(2, bins, torch.ones(bins.shape))
    columns = [mean.flatten(1), spread.flatten(1), (counts / bins.shape[2]).flatten(1)]
    return torch.cat(columns, dim=1).double().numpy()
