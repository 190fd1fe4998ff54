"""The model as files that others read: safetensors, and ONNX that takes measurements as they are."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forgia import digest
from forgia.errors import ForgiaError
from forgia_jobs.task import TrainingTask

TOLERANCE = 1e-5
"""Greatest difference allowed between torch and onnxruntime, for probabilities; relative to the largest value else."""
OPSET = 18
METADATA_KEY = "forgia"
"""The only metadata key: with two or more, safetensors 0.8.0 writes them in random order."""


class Answering(nn.Module):
    """From measurements in their units to the answer: what an ONNX file holds."""

    def __init__(self, task: TrainingTask, model: nn.Module, names: Sequence[str]) -> None:
        """Args: names — of the inputs, in the order in which ``forward`` gets them."""
        super().__init__()
        self.task, self.model, self.names = task, model, tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The task's answers to a batch."""
        return self.task.predict(self.model, dict(zip(self.names, inputs, strict=True)))


def write_safetensors(path: Path, model: nn.Module, *, about: Mapping[str, Any]) -> None:
    """The weights; what they are about is one metadata value of canonical JSON: equal weights give equal bytes."""
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, metadata={METADATA_KEY: digest.canonical_json(dict(about)).decode()})


def write_onnx(path: Path, task: TrainingTask, model: nn.Module, *, sample: Mapping[str, Tensor]) -> None:
    """The whole way from measurement to answer as one ONNX graph with a free batch size.

    Args: sample — at least two samples' inputs.
    Raises: ForgiaError — torch cannot express the task's ``predict`` as a graph.
    """
    wrapped = Answering(task, model.to("cpu").eval(), list(sample))
    inputs = tuple(tensor[:2].cpu() for tensor in sample.values())
    batch = torch.export.Dim("batch", min=1)
    with _quietly():
        try:
            program = torch.onnx.export(
                wrapped,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(sample),
                output_names=["output"],
                dynamic_shapes=(tuple({0: batch} for _ in inputs),),
                external_data=False,
                verbose=False,
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise ForgiaError(
                f"the model cannot be exported to ONNX: {_first_line(error)}",
                hint="keep predict() to torch operations on tensors, or drop onnx from the recipe's export",
            ) from error
        if program is None:
            raise ForgiaError("torch wrote no ONNX model")
        proto = program.model_proto
    _strip(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def onnx_predictions(path: Path, inputs: Mapping[str, Tensor]) -> npt.NDArray[np.float32]:
    """What onnxruntime answers; the first dimension counts the samples."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {given.name for given in session.get_inputs()}  # an input that no feature needs is no input of the graph
    feed = {name: tensor.cpu().numpy() for name, tensor in inputs.items() if name in wanted}
    return np.asarray(session.run(["output"], feed)[0], dtype=np.float32)


def check_onnx(
    path: Path, inputs: Mapping[str, Tensor], *, expected: npt.NDArray[np.float32], is_probability: bool
) -> float:
    """The greatest difference from torch's answers on these rows. Raises: ForgiaError — it is too great."""
    found = onnx_predictions(path, inputs)
    difference = float(np.abs(found - expected).max(initial=0.0))
    scale = 1.0 if is_probability else max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference < TOLERANCE * scale:
        raise ForgiaError(
            f"the ONNX model differs from torch by {difference:.3g} on the test rows (allowed {TOLERANCE * scale:.3g})"
        )
    return difference


def _strip(proto: Any) -> None:
    """Drop what the exporter notes of the source: paths and stack traces of this machine."""
    for node in [*proto.graph.node, *(node for function in proto.functions for node in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer]:
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.doc_string = proto.graph.doc_string = ""


@contextlib.contextmanager
def _quietly() -> Any:
    """The exporter speaks of its own versions and passes; none of it concerns the reader of a job's log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
