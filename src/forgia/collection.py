"""Collection: from a run's outbox to a version in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from forgia import digest as digests
from forgia import store
from forgia.errors import IntegrityError, NotFound
from forgia.paths import HomePaths, RunPaths, checked_name
from forgia.registry.contents import Contents, contents
from forgia.registry.layout import OciLayout
from forgia.registry.models import KIND
from forgia.release import IDENTITY, Version, is_version
from forgia.run import Journal, State, is_mine, settle_ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A release that the registry holds."""

    name: str
    version: str
    digest: str


def collect(home: HomePaths, organisation: str, run_id: str) -> Collected:
    """Verify a run's release, push it under the next free version and journal that. Safe to repeat, at any moment.

    Raises: NotFound — the run has no release. IntegrityError — a byte of it is altered, or it answers another request.
    Refused — the registry folder cannot be written. Nothing is visible then.
    """
    paths = home.run(run_id)
    outbox = OciLayout(paths.outbox)
    if not outbox.exists() or run_id not in outbox.tags():
        raise NotFound("release of run", run_id, hint=f"forgia job show {run_id}")
    release = contents(outbox, outbox.resolve(run_id))
    name, base = answered_request(paths, release)
    outbox.verify(release.digest)

    def choose(tags: Mapping[str, str]) -> str:
        mine = [tag for tag, found in tags.items() if found == release.digest and is_version(tag)]
        return min(mine, key=Version.parse) if mine else base.next_free(tags).tag

    registry = OciLayout(home.repository(organisation, KIND, name))
    tag = registry.copy_from(outbox, release.digest, tag=choose)
    collected = Collected(name=name, version=str(Version.parse(tag)), digest=release.digest)
    if is_mine(paths):
        _journal(paths, outbox, collected)
    else:
        _settle(home, paths, collected)
    return collected


def answered_request(paths: RunPaths, release: Contents) -> tuple[str, Version]:
    """Name and version of the recipe that a release answers. Raises: IntegrityError — it is another request's."""
    request = store.read_json(paths.request)
    expected, found = digests.of_json(request), release.annotations.get(IDENTITY, "nothing")
    if found != expected:
        raise IntegrityError(
            f"the request that the release of {paths.root.name} answers", expected=expected, found=found
        )
    return checked_name(KIND, request["recipe"]["name"]), Version.parse(request["recipe"]["version"])


def _journal(paths: RunPaths, outbox: OciLayout, collected: Collected) -> None:
    # The outbox has a lock of its own: a caller may hold the run's, and giving a POSIX lock back twice loses it.
    with store.locked(outbox.lock_path):
        journal = Journal(paths)
        status = journal.status()
        if (status.state, status.version, status.digest) != (State.COLLECTED, collected.version, collected.digest):
            facts = {"model": collected.name, "version": collected.version, "digest": collected.digest}
            journal.record(State.COLLECTED, by="submitter", attempt=status.attempt, **facts)


def _settle(home: HomePaths, paths: RunPaths, collected: Collected) -> None:
    """Say that a colleague's run is collected, where everyone reads it: its journal is for its owner to write."""
    found = Journal(paths).status()
    settle_ended(home, [replace(found, state=State.COLLECTED, version=collected.version, digest=collected.digest)])
