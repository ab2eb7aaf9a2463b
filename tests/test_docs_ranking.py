"""What docs/ranking.md prints of results/real-clip-all and -x is what lies there."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from oodgrid import plan
from oodgrid.config import load

ROOT = Path(__file__).parents[1]
NAMES = ("real-clip-all", "real-clip-all-x")


@pytest.fixture(scope="module")
def ranking():
    return runpy.run_path(str(ROOT / "benchmarks" / "ranking.py"))


def test_the_tables_are_those_of_the_results(ranking):
    page = (ROOT / "docs" / "ranking.md").read_text(encoding="utf-8")
    for name, lines in ranking["tables"]().items():
        assert len(lines) > 2, name  # head, rule, and rows
        assert "\n".join(lines) in page, name


def test_a_gain_that_is_better_counts_as_above_whatever_the_metric(ranking):
    pl = ranking["pl"]
    rows = pl.DataFrame({"scope": ["near", "far", "near", "set"], "lo": [-3.0, -2, -1, 1], "hi": [-2.0, 1, 2, 2]})
    assert ranking["_tally"](rows) == "0 of 3, 1 below"
    assert ranking["_tally"](rows, -1) == "1 of 3, 0 below"


@pytest.mark.parametrize("name", NAMES)
def test_the_results_are_those_of_the_experiment(name, ranking):
    experiment = load(ROOT / "experiments" / f"{name}.yaml")
    metrics = ranking["pl"].read_parquet(ROOT / "results" / name / "metrics.parquet")
    assert set(metrics["id_dataset"]) == {dataset.name for dataset in experiment.id_datasets}
    assert set(metrics["base_method"]) == {method.name for method in experiment.methods} | {"any"}
    assert set(metrics["seed"]) == {0, *experiment.seeds}
    assert plan.report_files(ROOT / "results", experiment)
