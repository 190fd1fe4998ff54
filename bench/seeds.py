"""How far a recipe's figure moves with the seed of training and with the seed of the split, beside its baseline.

    python bench/seeds.py RECIPE [--training 5] [--splits 5]

RECIPE is a folder or a catalogue name, with its data bound. Every line is a run like any other, in forgia's home.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import forgia
from forgia.registry.models import describe, find_model


def figures(client: forgia.Client, recipe: str, sets: Sequence[str]) -> tuple[float, float]:
    """The primary figure of the model and of its baseline, on the test part."""
    plan = client.plan(recipe, sets=sets)
    model = client.run(plan)
    found = describe(find_model(client.home, client.settings.organisation, model.ref))
    return found["metrics"][found["primary"]], found["baseline"][found["primary"]]


def row(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """Mean and standard deviation of the model, of the baseline, and of their difference."""
    columns = [[model for model, _ in pairs], [other for _, other in pairs], [model - other for model, other in pairs]]
    cells = [f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}" for values in columns]
    return f"{name:34} {cells[0]:>16} {cells[1]:>16} {cells[2]:>16}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--training", type=int, default=5)
    parser.add_argument("--splits", type=int, default=5)
    asked = parser.parse_args()
    client = forgia.Client()
    role = next(iter(client.open_recipe(asked.recipe).recipe.data))
    free = "evaluate.gate=null"  # a figure is wanted, whatever the gate would say
    seeds = [(f"train.seed={n}", free) for n in range(asked.training)]
    splits = [(f"data.{role}.contract.split.seed={n}", free) for n in range(1, asked.splits + 1)]
    print(f"{'':34} {'model':>16} {'baseline':>16} {'difference':>16}")
    for name, many in (("training seeds, split seed 0", seeds), ("split seeds from 1, training seed 0", splits)):
        print(row(name, [figures(client, asked.recipe, sets) for sets in many]), flush=True)


if __name__ == "__main__":
    main()
