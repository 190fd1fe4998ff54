"""What the card says of windows: how they were split, what is given for them, and what readings are held against."""

from __future__ import annotations

from collections.abc import Iterator

from forgia.features import FeatureSpec
from forgia.groups import listed
from forgia_jobs.judging import alarms
from forgia_jobs.request import Columns, SplitRule
from forgia_jobs.samples.data import Data


def split(rule: SplitRule, columns: Columns) -> str:
    """By what samples were parted."""
    if rule.by == "time":
        return f"by time (`{columns.time}`), the latest rows for the test"
    if rule.by == "part" and columns.part:
        judged = "the last window of each test group is judged" if rule.judge == "last" else "every window is judged"
        return f"as `{columns.part}` says ({judged}), validation by whole groups of the training part"
    groups = [name for name in (columns.group, columns.episodes_of and f"resets of {columns.episodes_of}") if name]
    return f"by whole groups ({', '.join(groups)})" if groups else "by whole groups"


def tested(data: Data, columns: Columns) -> Iterator[str]:
    """Which groups the figures are of, so that they can be found again; ``metrics.json`` has all names."""
    if data.test_groups:
        yield f"The test part (`{columns.group}`): {listed(data.test_groups)}."


def threshold_rule(data: Data) -> str:
    """By what the threshold was chosen, where nobody said what a miss costs."""
    if data.spec.output == "score" and not data.targets("validation").any():
        return f"{alarms.NORMAL_SHARE:.0%} of the rows, all normal, stay under it"
    return "greatest F1"


def gives(spec: FeatureSpec) -> str:
    """The answer in words."""
    if spec.output == "probability":
        return f"the probability that `{spec.target}` is true"
    if spec.output == "score":
        return f"how unusual a sample is, whatever `{spec.target}` says, which was never learnt from"
    cap = f", a greater one than {spec.cap:g} counting as {spec.cap:g}" if spec.cap is not None else ""
    return f"the value of `{spec.target}`{f' in {spec.target_unit}' if spec.target_unit else ''}{cap}"


def read_as(spec: FeatureSpec) -> Iterator[str]:
    """How rows become what the network sees, a sentence each."""
    kind = spec.samples
    if kind["kind"] != "windows":
        return
    group = kind.get("group") or "dataset"
    yield f"A window is {kind['length']} rows of one `{group}` in the order of `{kind['time']}`."
    if kind.get("lead_in"):
        before = "its beginning is read in a mirror" if kind.get("beginning") else "that row is repeated"
        yield f"Before the first row of a series {before}, so that every row has an answer."
    if spec.conditions:
        names = ", ".join(f"`{spec.numeric[place].name}`" for place in spec.conditions.settings)
        yield (
            f"Numbers are held against what is usual under the same settings ({names}; "
            f"{len(spec.conditions.centres)} condition(s) were found)."
        )
    if spec.beginning:
        yield (
            f"Numbers are held against the first {spec.beginning.rows} rows of their series, "
            "in which it is taken to be as it should be."
        )
