"""How the rank that a launcher started becomes one of a training: as it is, or under ray.

Light to import: where ray starts the ranks, this process only looks after its node.
"""

from __future__ import annotations

from pathlib import Path

from forgia import store
from forgia.errors import UserError
from forgia.paths import RunPaths


def main(run_dir: str) -> int:
    """Run one task of one attempt and return its exit code, as ``attempt.main`` says it."""
    if is_under_ray(RunPaths(Path(run_dir))):
        from forgia_jobs.under_ray import ray_launch

        return ray_launch.main(run_dir)
    from forgia_jobs import attempt

    return attempt.main(run_dir)


def is_under_ray(paths: RunPaths) -> bool:
    """The request asks for ray, or is of a sweep in one allocation.

    One that cannot be read is left to the attempt, which says why.
    """
    try:
        request = store.read_json(paths.request)
        return "sweep" in request or bool(request["train"]["strategy"] == "ray")
    except (OSError, KeyError, TypeError, UserError):
        return False
