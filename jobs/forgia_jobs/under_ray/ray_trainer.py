"""Ray's trainer without what a cluster of one job does not need.

Each actor of ray's own is a process that imports for a second, and ranks start only after it. These are parts of ray
that it does not publish; a test starts ranks with them. Source: ray 2.60, train/v2/api/data_parallel_trainer.py
"""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import ScalingPolicy
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

NOT_NEEDED = ("DatasetsCallback", "PlacementGroupCleanerCallback")
"""Data goes past ray, and the cluster ends with the job."""


class AsManyAsLaunched(FixedScalingPolicy):  # type: ignore[misc]  # ray's types are not read
    """The allocation has the size that was asked for: there is no autoscaler to tell."""

    def after_controller_start(self, train_run_context: Any) -> None:
        """Ray would start an actor that speaks for this training to an autoscaler."""

    def _maybe_send_resource_request(self) -> None:
        """There is nobody to ask."""


class Trainer(DataParallelTrainer):  # type: ignore[misc]
    """The ranks meet as they do without ray, so torch's own set-up by ray is not used."""

    def _create_default_callbacks(self) -> list[Any]:
        return [item for item in super()._create_default_callbacks() if type(item).__name__ not in NOT_NEEDED]

    def _initialize_and_run_controller(self, *, scaling_policy: ScalingPolicy, **others: Any) -> Any:
        fixed = AsManyAsLaunched(scaling_policy.scaling_config)
        return super()._initialize_and_run_controller(scaling_policy=fixed, **others)
