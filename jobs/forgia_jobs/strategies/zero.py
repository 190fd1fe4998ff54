"""DeepSpeed's ZeRO: optimizer state, gradients and parameters shared out in stages, under the recipe's own optimizer.

Nothing is compiled on the node: torch's optimizers are used, and the operators that DeepSpeed would build stay off.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore  # type: ignore[attr-defined]  # exported, but not in __all__

from forgia.errors import UserError
from forgia_jobs.checkpoints.pieces import Piece, State, StateReader
from forgia_jobs.meeting.rendezvous import World
from forgia_jobs.request import Train
from forgia_jobs.strategies import MakeOptimizer, Share, blocks, buffers, named
from forgia_jobs.strategies.ddp import MODEL, DataParallel
from forgia_jobs.strategies.zero_partitions import STAGES, Partitions
from forgia_jobs.task import TrainingTask

BUCKET = 500_000_000
"""Elements sent at once at most. Source: DeepSpeed 0.19.8, reduce_bucket_size, its default."""


WHOLE = "works on whole matrices, while ZeRO steps on flat pieces of them"


class ZeroRedundancy(DataParallel):
    """DeepSpeed's engine around the network. Stage 0 holds everything whole, like plain data parallel."""

    unfit: ClassVar[Mapping[str, str]] = {
        "Adafactor": WHOLE,
        "Muon": WHOLE,
        "Adagrad": "DeepSpeed 0.19.8 makes anew, without the recipe's groups",
    }

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._partitions: Partitions | None = None
        """None: nothing is cut, and torch's own optimizer steps on whole tensors."""

    def setup(self, train: Train) -> None:
        """Raises: UserError — bf16 on a CPU, or DeepSpeed is not installed."""
        super().setup(train)
        is_cpu = self.world.device.type == "cpu"
        if is_cpu:
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        os.environ["LOCAL_RANK"] = str(self.world.device.index or 0)  # the engine knows its device by this alone
        try:
            self._deepspeed = importlib.import_module("deepspeed")
        except ImportError as error:
            text = f"strategy deepspeed: deepspeed cannot be imported: {error}"
            raise UserError(text, hint="install forgia[deepspeed] in the job's environment") from error
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        # Its calls of torch's older collectives are no business of whoever reads the log.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch\.distributed|deepspeed)\b")
        if is_cpu:
            self._deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # else built by g++ at the first use
        if not dist.is_initialized():
            _meet_nobody(self.world.device)
        self._deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)

    def wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """The optimizer is made of whole parameters, which the engine then shares out."""
        blocks.prepare(model, self.train)
        if self.train.precision == "bf16":  # predictions go round the engine, but meet weights that are sent in bf16
            model.forward = torch.autocast(self.world.device.type, dtype=torch.bfloat16)(model.forward)
        self.model, self.optimizer = model, self._made(make_optimizer, model)
        self._names = named.parameter_names(model, self.optimizer)
        self._kept = buffers.kept(model)
        settings = config_of(
            self.train,
            world_size=self.world.size,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        )
        self._wrapped, *_ = self._deepspeed.initialize(model=model, optimizer=self.optimizer, config=settings)
        stage = self.train.deepspeed.stage
        self._partitions = STAGES[stage](self._wrapped, model) if stage else None

    def step(self, task: TrainingTask, shares: Sequence[Share], *, global_rows: int) -> Tensor:
        """The engine divides by the number of ranks, and steps after its last micro-batch."""
        engine: Any = self._wrapped
        total = torch.zeros((), device=self.world.device)
        for share in shares:
            factor = share.rows / global_rows
            with self._autocast():
                loss = task.loss(engine, share.batch)
            engine.backward(loss * (factor * self.world.size), scale_wrt_gas=False)
            engine.step()
            total += loss.detach() * factor
        buffers.send(self.model, self._kept)
        return total

    def state(self) -> State:
        """Each tensor is put together for a moment on every rank, and kept by one of them."""
        if self._partitions is None:
            return super().state()
        cut = self._partitions
        state = {name: cut.state(name) for name in self._trained()}
        tensors = (
            (named.tensor_name(name, quantity), cut.quantity(name, quantity))
            for name, quantities in state.items()
            for quantity, value in quantities.items()
            if isinstance(value, Tensor)
        )
        pieces = (*self._pieces(MODEL, self._held().items()), *self._shared_out(tensors))
        whole = {q for name, found in state.items() for q, value in found.items() if cut.is_number(name, value)}
        scalars = named.scalars_of(self.optimizer.param_groups, self._names, state)
        return State(pieces=pieces, scalars={**scalars, "whole": sorted(whole)})

    def load_state(self, source: StateReader) -> None:
        """Each rank keeps its partition of what it reads."""
        if self._partitions is None:
            super().load_state(source)
            return
        named.check_groups(source.scalars, self._names)
        named.set_groups(self.optimizer, source.scalars)
        self.restore(self._read(MODEL, source))
        stored = named.quantities(source.names())
        for name in self._trained():
            self._load_quantities(self._partitions, name, source, stored.get(name, []))

    def weights(self) -> dict[str, Tensor]:
        """Gathered tensor by tensor, where parameters are sharded."""
        wholes = self._wholes(self._held().items())
        return {name: tensor.cpu() for name, tensor in wholes if self.world.leads}

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Also what the optimizer steps on."""
        with torch.no_grad():
            for name, tensor in self._held().items():
                tensor.copy_(snapshot[name])
        if self._partitions is not None:
            self._partitions.zero.refresh_fp32_params()

    def teardown(self) -> None:
        """The engine's hooks on the network go; what it has sharded stays so."""
        engine: Any = self._wrapped
        engine.destroy()
        super().teardown()
        known = self._deepspeed.utils.groups  # a module: its groups would be freed when the interpreter ends, too late
        for name in [name for name, value in vars(known).items() if isinstance(value, dist.ProcessGroup)]:
            setattr(known, name, None)

    def _load_quantities(self, cut: Partitions, name: str, source: StateReader, stored: list[str]) -> None:
        """One parameter's, read one by one."""
        whole = source.scalars["whole"]
        numbers = {q: source.whole(named.tensor_name(name, q)).clone() for q in stored if q in whole}
        cut.make_room(name, {**source.scalars["state"].get(name, {}), **numbers}, [q for q in stored if q not in whole])
        for quantity in stored:
            if quantity not in whole:
                found = source.whole(named.tensor_name(name, quantity))
                cut.take(name, quantity, found.to(self.world.device))

    def _trained(self) -> list[str]:
        return [name for of_group in self._names for name in of_group]

    def _held(self) -> dict[str, Tensor]:
        return super()._held() if self._partitions is None else self._partitions.held()

    def _tensor(self, source: StateReader, name: str, *, like: Tensor | None) -> Tensor:
        found = super()._tensor(source, name, like=like)
        return found if self._partitions is None else self._partitions.part(name.partition("/")[2], found)

    def _wholes(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Put together one after the other (collective)."""
        for name, tensor in tensors:
            yield name, tensor if self._partitions is None else self._partitions.whole(name, tensor)

    def _pieces(self, prefix: str, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[Piece]:
        if self._partitions is None:
            return super()._pieces(prefix, tensors)
        return self._shared_out((prefix + name, tensor) for name, tensor in self._wholes(tensors))

    def _shared_out(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[Piece]:
        """Each goes to the rank that has the least so far."""
        elements = [0] * self.world.size
        for name, tensor in tensors:
            owner = elements.index(min(elements))
            elements[owner] += tensor.numel()
            if owner == self.world.rank:
                yield Piece(name=name, tensor=tensor.detach().cpu())


def config_of(train: Train, *, world_size: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's configuration, all of it from the recipe's settings; the optimizer is the recipe's own."""
    asked = train.deepspeed
    zero: dict[str, Any] = {
        "stage": asked.stage,
        "reduce_bucket_size": min(BUCKET, parameters),
        "stage3_param_persistence_threshold": 0,
    }
    if asked.offload:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    return {
        "train_micro_batch_size_per_gpu": math.ceil(train.batch_size / (world_size * train.accumulate)),
        "gradient_accumulation_steps": train.accumulate,
        "gradient_clipping": train.gradient_clip or 0.0,
        "torch_autocast": {"enabled": train.precision == "bf16", "dtype": "bfloat16"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }


def _meet_nobody(device: torch.device) -> None:
    """A process group of one, which the engine needs where the ranks of a run would have met."""
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    atexit.register(dist.destroy_process_group)
