"""A forecast from a firm's exports to the table of the next hours, in real processes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import forgia
from forgia.catalogue import Catalogue
from forgia.dataset import ingest
from forgia.dataset.dialect import ReadOptions
from forgia.errors import UserError
from forgia.paths import HomePaths
from forgia.scoring import Model, score_file
from forgia.vocabulary import Vocabulary

DAYS, LENGTH, HORIZON = 70, 48, 6
END = datetime(2023, 1, 2, tzinfo=UTC) + timedelta(days=DAYS)
SMALL = [
    *("data.lines.dataset=beta", f"data.lines.contract.samples.length={LENGTH}", "train.epochs=1"),
    *(f"data.lines.contract.samples.horizon={HORIZON}", "data.lines.contract.samples.stride=11"),
    *("params.width=8", "evaluate.gate.baseline_margin=1000.0"),
    "train.preflight=false",
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plant beta's file: local times without offset, decimal commas, no plan."""
    folder = tmp_path_factory.mktemp("plants")
    program = Catalogue().generator("plant-load") / "generate.py"
    argv = [sys.executable, str(program), "--out", str(folder), "--days", str(DAYS)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return folder / "beta.csv"


@pytest.fixture(scope="module")
def model(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    home = HomePaths(tmp_path_factory.mktemp("forecasts") / "home")
    client = forgia.Client(forgia.Settings(home=home))
    terms = ingest.Terms(read=ReadOptions(time_zone="Europe/Rome"))
    ingest.add(home, "beta", [exported], owner="beta", vocabulary=client.vocabulary, terms=terms)
    trained = client.run(client.plan("energy-forecasting", sets=SMALL))
    assert isinstance(trained, Model)
    return trained


def test_the_card_says_what_is_foretold_from_what_and_how_it_was_judged(model: Model) -> None:
    assert "`electric_energy` in kWh of the next 6 steps" in model.card
    assert "| pinball |" in model.card
    assert "no moment is an answer in two parts" in model.card
    assert "plots/fan.png" in model.card
    assert "plots/by-step.png" in model.card
    assert 0 <= model.metrics["evaluation"]["model"]["test"]["coverage"] <= 1
    others = model.metrics["evaluation"]["baselines"]
    assert set(others) == {"seasonal-naive", "gradient-boosted-trees"}
    best = min(others, key=lambda name: float(others[name]["test"]["pinball"]))
    assert model.metrics["baseline_name"] == best
    assert model.metrics["evaluation"]["baseline"] == others[best]
    assert "| figure | model | seasonal-naive | gradient-boosted-trees |" in model.card


def test_a_file_of_readings_becomes_the_next_hours_of_every_line(model: Model, exported: Path, tmp_path: Path) -> None:
    vocabulary, output = Vocabulary.load(Catalogue()), tmp_path / "next.parquet"
    done = score_file(model, exported, output, vocabulary=vocabulary)
    found = pq.read_table(output)
    assert found.column_names == ["line_id", "timestamp", "step", "quantile_0.1", "quantile_0.5", "quantile_0.9"]
    assert done.rows == found.num_rows == 2 * HORIZON
    assert "times that say no zone are read as those of Europe/Rome" in done.assumed
    for line in ("Forno 1", "Stampaggio"):
        rows = [row for row in found.to_pylist() if row["line_id"] == line]
        assert [row["timestamp"] for row in rows] == [END + timedelta(hours=step) for step in range(HORIZON)]
        assert all(row["quantile_0.1"] < row["quantile_0.5"] < row["quantile_0.9"] for row in rows)


def test_a_forecast_of_too_short_a_past_is_refused_and_nothing_is_written(
    model: Model, exported: Path, tmp_path: Path
) -> None:
    short, output = tmp_path / "short.csv", tmp_path / "next.csv"
    short.write_text("".join(exported.read_text().splitlines(keepends=True)[:40]))
    with pytest.raises(UserError, match="no series has 48 steps of history"):
        score_file(model, short, output, vocabulary=Vocabulary.load(Catalogue()))
    assert not output.exists()


def test_a_threshold_has_no_meaning_for_a_forecast(model: Model) -> None:
    with pytest.raises(UserError, match="a threshold has no meaning"):
        model.threshold(0.5)
