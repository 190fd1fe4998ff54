"""Data contracts: what data has to look like for a recipe to work on it, and what a sample of it is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forgia.fields import Count, Strict


class ContractColumn(Strict):
    """One column that a role's data brings, named by its concept in the shared vocabulary."""

    concept: str
    role: Literal["feature", "target", "group", "time", "part", "identifier"] = "feature"
    kind: Literal["number", "category", "boolean", "text", "time", "image"] = "number"
    unit: str | None = None
    required: bool = True
    range: tuple[float, float] | None = None
    """Values outside are a problem of the data, in the given unit."""
    categories: tuple[str, ...] | None = None
    normal: str | None = None
    """Of a target of classes: the one that means nothing is wrong; the others together are the defects."""
    ahead: bool = False
    """Known in advance, such as a plan: a forecast is given its values over the horizon, too."""


class Split(Strict):
    """How rows part into train, validation and test so that nothing leaks from one into another."""

    by: Literal["group", "time", "part"] = "group"
    """``part``: as a column of the data says, where one is bound. What it leaves open trains, and where it names no
    validation part, whole groups of the training part make one."""
    judge: Literal["every", "last"] = "every"
    """Of a test part that the data names: every sample, or the last of each group, for histories that were cut off."""
    episodes_of: str | None = None
    """A counter: each of its resets begins a new group, where no group column is bound (and within one where it is)."""
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if any(part <= 0 for part in self.fractions) or abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must be positive and add up to 1 (found {list(self.fractions)})")
        return self


class Derived(Strict):
    """A measurement made of two others: physics that a model need not find out by itself."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    difference: tuple[str, str] | None = None
    product: tuple[str, str] | None = None
    ratio: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _one(self) -> Derived:
        if sum(pair is not None for pair in (self.difference, self.product, self.ratio)) != 1:
            raise ValueError("say exactly one of difference, product or ratio, with two concepts")
        return self

    @property
    def operation(self) -> str:
        """difference, product or ratio."""
        return next(name for name in ("difference", "product", "ratio") if getattr(self, name))

    @property
    def of(self) -> tuple[str, str]:
        """The two concepts."""
        pair: tuple[str, str] = getattr(self, self.operation)
        return pair


class Rows(Strict):
    """A sample is a row."""

    kind: Literal["rows"] = "rows"


class Windows(Strict):
    """A sample is some consecutive rows of one group, in the order of time."""

    kind: Literal["windows"]
    length: Count
    """Rows in a window."""
    stride: Count = 1
    """Rows from the end of one window to that of the next."""
    horizon: int = Field(default=0, ge=0)
    """Rows ahead that are to be foretold; 0: the answer belongs to the window's last row."""
    lead_in: bool = False
    """Each row of a group ends a window: its first row stands for the rows before it, or its beginning in a mirror."""
    beginning: int = Field(default=0, ge=0)
    """Rows at the beginning of a group that are as they should be: measurements are told as distances from their mean
    in their standard deviations. 0: measurements are told as they are."""
    train_on: Literal["every", "normal"] = "every"
    """``normal``: windows that show a row whose target is true are left out of the training part."""
    time_zone: str = "UTC"
    """Where the clock hangs that a forecast reads the hour and the day from."""
    holidays: Literal["none", "italy"] = "none"
    """Whose public holidays a forecast knows."""


class Images(Strict):
    """A sample is an image."""

    kind: Literal["images"]
    size: Count = 64
    """Height and width that a network sees, pixels."""
    channels: Literal[1, 3] = 1


class Tokens(Strict):
    """A sample is a stretch of text."""

    kind: Literal["tokens"]
    context: Count = 256
    """Tokens."""
    vocabulary: int = Field(default=2048, gt=256)
    """Entries of the tokenizer that is learnt from the training part, where no weights bring their own."""
    too_long: Literal["refuse", "drop"] = "refuse"
    """What becomes of a question that does not fit into the context with its answer; it is never cut."""


OUTPUTS = {
    "rows": ("probability", "value", "score"),
    "windows": ("probability", "value", "score", "quantiles"),
    "images": ("classes",),
    "tokens": ("tokens",),
}
"""Kind of sample → what a model of it can give."""
Output = Literal["probability", "value", "score", "quantiles", "classes", "tokens"]


class Contract(Strict):
    """What data has to look like for the recipe to work on it."""

    columns: tuple[ContractColumn, ...]
    extra_features: bool | Literal["numbers"] = False
    """Also learn from measurements that the contract does not name, if every bound dataset has them; ``numbers``: from
    numbers of no known meaning, too."""
    derived: tuple[Derived, ...] = ()
    """Further features, made of the numbers above where the data has both; for the model and its baseline alike."""
    samples: Annotated[Rows | Windows | Images | Tokens, Field(discriminator="kind")] = Rows()
    """What a network is shown one of at a time."""
    output: Output | None = None
    """What the model gives; default: a probability for a boolean target, a value for a number. ``score``: how unusual a
    sample is; the target is then only for the evaluation."""
    quantiles: tuple[float, ...] = ()
    """Shares of outcomes below the foretold values, where the output is quantiles."""
    cap: float | None = None
    """A greater value of the target counts as this one, in training and in judging."""
    conditions: str | None = None
    """A concept whose columns are the settings of a machine: other measurements are then told as distances from what is
    usual under the same settings."""
    split: Split = Split()

    @model_validator(mode="after")
    def _answerable(self) -> Contract:
        known = OUTPUTS[self.samples.kind]
        if self.output and self.output not in known:
            raise ValueError(f"output {self.output} of {self.samples.kind}: it can be {', '.join(known)}")
        if (self.output == "quantiles") != bool(self.quantiles):
            raise ValueError("output: quantiles and a list of quantiles go together")
        if (self.output == "quantiles") != bool(getattr(self.samples, "horizon", 0)):
            raise ValueError("output: quantiles and samples.horizon go together: quantiles of each row ahead")
        if any(not 0 < share < 1 for share in self.quantiles) or list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError(f"quantiles lie between 0 and 1 and ascend (found {list(self.quantiles)})")
        if isinstance(self.samples, Windows) and not self.column("time"):
            raise ValueError("windows need a column with role: time, by which rows are ordered")
        if not isinstance(self.samples, Windows) and (self.conditions or self.cap is not None):
            raise ValueError("cap and conditions are for samples of kind windows")
        if isinstance(self.samples, Windows) and self.samples.train_on == "normal" and self.output != "score":
            raise ValueError("train_on: normal is for output: score, whose target is not learnt from")
        if isinstance(self.samples, Images) and not any(column.kind == "image" for column in self.columns):
            raise ValueError("images need a column with kind: image")
        return self

    @model_validator(mode="after")
    def _coherent(self) -> Contract:
        counts = {role: sum(column.role == role for column in self.columns) for role in ("target", "group", "time")}
        if counts["target"] != 1:
            raise ValueError(f"exactly one column must have role: target (found {counts['target']})")
        twice = {c.concept for c in self.columns if sum(other.concept == c.concept for other in self.columns) > 1}
        if twice:
            raise ValueError(f"concept written twice: {', '.join(sorted(twice))}")
        numbers = {column.concept for column in self.columns if column.role == "feature" and column.kind == "number"}
        if strange := sorted({name for item in self.derived for name in item.of} - numbers):
            raise ValueError(f"derived features are made of numbers of role feature, not of {', '.join(strange)}")
        if self.split.by != "time" and not counts["group"] and not self.split.episodes_of:
            raise ValueError(f"split by {self.split.by} needs a column with role: group, or episodes_of")
        if self.split.by == "part" and not self.column("part"):
            raise ValueError("split by part needs a column with role: part")
        if self.split.by == "time" and not counts["time"]:
            raise ValueError("split by time needs a column with role: time")
        return self

    def column(self, role: str) -> ContractColumn | None:
        """The first column of a role."""
        return next((column for column in self.columns if column.role == role), None)


class DataRole(Strict):
    """A place in the recipe where data is bound."""

    dataset: str | tuple[str, ...] | None = None
    """One dataset or several to pool, by name or name@version; None: the sample."""
    sample: str | None = None
    """A generator of the catalogue, so that the recipe runs before any data is bound."""
    contract: Contract

    @property
    def bound(self) -> tuple[str, ...]:
        """The dataset references, in order."""
        return () if self.dataset is None else (self.dataset,) if isinstance(self.dataset, str) else self.dataset
