"""A registered model, ready to predict: every byte of it was checked before one of them is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.registry.contents import Contents, contents
from forgia.registry.layout import Advance, idle
from forgia.registry.models import find_model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from forgia.dataset.manifest import Column
    from forgia.features import FeatureSpec

PREDICTION = "prediction"
"""float32: the probability, the value in the target's unit, or how unusual it is."""
PREDICTED = "predicted"
"""bool: whether the probability reaches the threshold; only where the model gives probabilities."""
FEATURES = "features.json"
METRICS = "metrics.json"
CARD = "README.md"
CHUNK_ROWS = 16_384
"""Rows given to the network at once: enough to fill the cores, few enough to stay small in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A verified release, ready to predict."""

    ref: str
    """``name@version``."""
    digest: str
    spec: FeatureSpec
    card: str
    """The model card, Markdown."""
    columns: tuple[Column, ...]
    """The columns that new files are read by, each name once."""
    origins: tuple[Column, ...]
    """The same columns as each training dataset told of them."""
    metrics: Mapping[str, Any]
    """What the release's metrics.json says; empty where it has none."""
    session: Any
    """The onnxruntime session; None for a language model, which answers to no rows."""

    def predict(self, table: pa.Table, *, threshold: float | None = None) -> pa.Table:
        """The table with ``prediction`` and, for a classifier, ``predicted`` beside its own columns.

        Columns are named and in the units of the model's features; others pass through untouched. A model of windows
        takes the table for whole histories. Of a model that gives forecasts, what ``forecast`` says; of one that looks
        at images, what ``forgia.inspection`` does.
        Raises: UserError — a feature is missing, a column is in the way, or a threshold has no meaning here.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        limit = self.threshold(threshold)
        if self.spec.output == "quantiles":
            return self.forecast(table)
        if self.spec.samples["kind"] == "images":
            from forgia import inspection

            return inspection.inspect(self.spec, table, self._look, threshold=limit)
        if taken := {PREDICTION, PREDICTED} & set(table.column_names):
            raise UserError(f"the table already has a column {', '.join(sorted(taken))}; rename it first")
        answers = self._answers(table)
        scored = table.append_column(PREDICTION, answers)
        if limit is None:
            return scored
        return scored.append_column(PREDICTED, pc.greater_equal(answers, pa.scalar(limit, pa.float64())))

    def _answers(self, table: pa.Table) -> pa.Array:
        """An answer a row."""
        import pyarrow as pa

        from forgia import histories

        if histories.is_meant(self.spec):
            return histories.answers(self.spec, table, lambda seen: self._run(seen, rows=len(seen["numeric"])))
        return pa.array(self._run(self.spec.encode(table), rows=table.num_rows).reshape(-1), pa.float32())

    def forecast(self, table: pa.Table) -> pa.Table:
        """The next steps of every series of a table of readings: its group, the moments, and a column a quantile.

        Raises: UserError — readings are not regular, or no series has enough history.
        """
        from forgia import forecasting

        return forecasting.forecast(self.spec, table, lambda inputs: self._run(inputs, rows=len(inputs["numeric"])))

    def threshold(self, given: float | None = None) -> float | None:
        """The probability from which the answer is yes; None for a model of values. Raises: UserError."""
        if self.spec.output == "tokens":
            text = f"{self.ref} is a language model: it goes on with a text, and has no answer to rows of a table"
            raise UserError(text, hint="forgia model pull writes it to a folder; its README.md says how it is asked")
        if self.spec.output in ("value", "quantiles"):
            if given is not None:
                raise UserError(f"{self.ref} predicts values, not a probability; a threshold has no meaning for it")
            return None
        if self.spec.output == "classes" and self.spec.normal is None:
            if given is not None:
                raise UserError(f"{self.ref} knows no normal class to hold others against; a threshold has no meaning")
            return None
        if given is not None and self.spec.output != "score" and not 0.0 <= given <= 1.0:
            raise UserError(f"threshold {given}: a probability lies between 0 and 1")
        chosen = self.spec.threshold if given is None else given
        return 0.5 if chosen is None else chosen

    def _look(self, seen: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        return self._run(seen, rows=len(seen["image"]))

    def _run(self, inputs: Mapping[str, npt.NDArray[Any]], *, rows: int) -> npt.NDArray[np.float32]:
        import numpy as np

        wanted = [item.name for item in self.session.get_inputs()]
        answers = [] if rows else [np.zeros(0, dtype=np.float32)]
        for start in range(0, rows, CHUNK_ROWS):
            part = slice(start, min(start + CHUNK_ROWS, rows))
            (found,) = self.session.run(["output"], {name: inputs[name][part] for name in wanted})
            answers.append(np.asarray(found, dtype=np.float32))
        return np.concatenate(answers)


def load_release(home: HomePaths, organisation: str, ref: str, *, advance: Advance = idle) -> Model:
    """Open a registered model to predict with it.

    Raises: NotFound — no such model. IntegrityError — a byte of the release is altered; nothing of it was used.
    UserError — the release has no ONNX file, or onnxruntime is not installed.
    """
    found = find_model(home, organisation, ref)
    found.layout.verify(found.digest, advance=advance)
    release = contents(found.layout, found.digest)
    from forgia.features import FeatureSpec

    spec = FeatureSpec.from_json(release.read_json(FEATURES))
    origins = tuple(_origins(release, spec))
    return Model(
        ref=found.ref,
        digest=found.digest,
        spec=spec,
        card=release.read(CARD).decode(errors="replace") if release.find(CARD) else "",
        columns=tuple(_first_by_name(origins)),
        origins=origins,
        metrics=release.read_json(METRICS),
        session=None if spec.output == "tokens" else _session(release, found.ref),
    )


def _origins(release: Contents, spec: FeatureSpec) -> Iterator[Column]:
    """Every dataset's columns, then the features that no dataset tells of."""
    from forgia.dataset.manifest import Column, Manifest

    told: set[str] = set()
    for ref in (part.dataset for part in release.parts if part.dataset):
        columns = Manifest.from_json(release.read_json(f"datasets/{ref}/manifest.json")).columns
        told |= {column.name for column in columns}
        yield from columns
    for feature in (one for one in spec.numeric if not one.operation and one.name not in told):
        yield Column(name=feature.name, source=feature.name, unit=feature.unit)
    for category in (one for one in spec.categorical if one.name not in told):
        yield Column(name=category.name, source=category.name, kind="category", dtype="string")


def _first_by_name(origins: Iterable[Column]) -> Iterator[Column]:
    seen: set[str] = set()
    for column in origins:
        if column.name not in seen:
            seen.add(column.name)
            yield column


def _session(release: Contents, ref: str) -> Any:
    name = next((file.title for file in release.files("model") if file.title.endswith(".onnx")), None)
    if name is None:
        raise UserError(f"{ref} holds no ONNX file", hint="add onnx to the recipe's export and train it again")
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures
    except ModuleNotFoundError as error:
        raise UserError("predicting needs onnxruntime", hint="pip install 'forgia[predict]'") from error
    data = release.read(name)  # the very bytes that are checked are those that run
    try:
        return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail, failures.NotImplemented) as error:
        raise UserError(f"{name} of {ref} cannot be run by onnxruntime {onnxruntime.__version__}: {error}") from error
