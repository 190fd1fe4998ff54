"""How every picture of a card looks, and how it becomes a file without a display."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

SIZE_INCH = (6.4, 4.0)
DPI = 110
MODEL, BASELINE, QUIET = "#0b6e99", "#c4651a", "#888888"


def save(path: Path, figure: Any) -> None:
    """Write a figure as PNG and let it go."""
    # Without a date and a version the same figures give the same bytes.
    figure.savefig(path, dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)
