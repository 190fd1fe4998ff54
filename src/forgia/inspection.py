"""What a model of images says of them: which class each shows, and how likely every class is.

Needs numpy, pyarrow and pillow only, and decodes as training does, so that a prediction is made the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forgia import images
from forgia.classes import decided, defect
from forgia.errors import Problem, UserError
from forgia.features import FeatureSpec

Run = Callable[[Mapping[str, npt.NDArray[Any]]], npt.NDArray[np.float32]]
"""What a model answers. Shapes: image (rows, channels, size, size) to (rows, classes)."""
CLASS = "predicted_class"
CHANCE = "probability_"
"""Before the name of a class: the column of its probability."""
AT_ONCE = 64
"""Images given to the network at once."""


def inspect(spec: FeatureSpec, table: pa.Table, run: Run, *, threshold: float | None) -> pa.Table:
    """The table without its images, with ``prediction`` (of a defect; without a normal class, of the class that is
    named), ``predicted`` where there is a normal class, ``predicted_class``, and the probability of each class.

    Raises: UserError — there is no column of images, a column is in the way, or images cannot be read.
    """
    column = str(spec.samples["column"])
    if column not in table.column_names or not _is_bytes(table.schema.field(column).type):
        raise UserError(f"the table has no column {column} of encoded images")
    chances = _chances(spec, table.column(column), run)
    normal = spec.normal_place
    codes = decided(chances, normal=normal, threshold=threshold)
    wanted = {"prediction": chances.max(axis=1) if normal is None else defect(chances, normal=normal)}
    added = {name: pa.array(values, pa.float32()) for name, values in wanted.items()}
    if normal is not None:
        added["predicted"] = pa.array(codes != normal, pa.bool_())
    added[CLASS] = pa.array([spec.classes[code] for code in codes], pa.string())
    added |= {f"{CHANCE}{name}": pa.array(chances[:, place]) for place, name in enumerate(spec.classes)}
    found = table.drop_columns([column])
    if taken := sorted(set(added) & set(found.column_names)):
        raise UserError(f"the table already has a column {', '.join(taken)}; rename it first")
    for name, values in added.items():
        found = found.append_column(name, values)
    return found


def _chances(spec: FeatureSpec, column: pa.ChunkedArray, run: Run) -> npt.NDArray[np.float32]:
    """Shapes: (rows, classes)."""
    images.require_pillow()
    size, channels = int(spec.samples["size"]), int(spec.samples["channels"])
    problems: list[Problem] = []

    def look(item: tuple[int, bytes]) -> images.Pixels:
        try:
            return images.pixels(item[1] or b"", size=size, channels=channels)
        except UserError as error:
            problems.append(Problem("table", item[0] + 1, "", error.message))
            return np.zeros((channels, size, size), dtype=np.uint8)

    workers = images.Workers()
    answers = []
    for start in range(0, len(column), AT_ONCE):
        encoded = column.slice(start, AT_ONCE).to_pylist()
        seen = np.stack(workers.each(look, list(enumerate(encoded, start))))
        if not problems:
            answers.append(run({"image": images.as_input(seen)}))
    workers.close()
    if problems:
        raise UserError(f"{len(problems)} image(s) cannot be read", problems=sorted(problems))
    return np.concatenate(answers) if answers else np.zeros((0, len(spec.classes)), dtype=np.float32)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
