from __future__ import annotations

import random
from pathlib import Path

import pytest

from oodgrid import grid, plan
from oodgrid.config import parse
from oodgrid.grid import Fit


@pytest.fixture
def experiment(experiment_of):
    return parse(experiment_of(seeds=[7, 8], scores=["mcm", {"name": "mcm", "T": 0.5}, "knn"]))


def test_scores_of_image_features_stand_under_any(experiment):
    assert grid.methods(experiment) == ["zero_shot", "tip_adapter", "any"]
    assert [score.listed("score") for score in grid.scores(experiment, "any")] == ["knn"]
    assert [score.listed("score") for score in grid.scores(experiment, "zero_shot")] == ["mcm", "mcm@T=0.5"]


def test_a_method_that_changes_features_has_its_own_feature_scores(experiment_of):
    experiment = parse(experiment_of(methods=["clip_adapter"]))
    assert [score.name for score in grid.scores(experiment, "clip_adapter")] == ["mcm", "knn"]


def test_without_feature_scores_there_is_no_any(experiment_of):
    assert grid.methods(parse(experiment_of(scores=["mcm"]))) == ["zero_shot", "tip_adapter"]


def test_fits_are_shots_times_seeds_and_one_where_nothing_is_learned(experiment):
    assert grid.fits(experiment, "zero_shot") == [Fit("zero_shot", 0, 0)]
    expected = [(1, 7), (1, 8), (2, 7), (2, 8)]
    assert [(fit.shots, fit.seed) for fit in grid.fits(experiment, "tip_adapter")] == expected
    assert [(fit.shots, fit.seed) for fit in grid.fits(experiment, "any")] == expected


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_shots_and_seeds_decides_no_fit_no_trigger_and_no_file(experiment_of, seed):
    stream = random.Random(seed)
    shots, seeds = stream.sample(range(1, 40), 4), stream.sample(range(1, 40), 4)

    def of(shots, seeds):
        made = parse(experiment_of(shots=shots, seeds=seeds))
        names = {"backbone": made.backbones[0].name, "id_dataset": made.id_datasets[0].name}
        triggers = [
            trigger(made, **names, method=method)
            for method in grid.methods(made)
            for rule in ("score", "evaluate", "apply", "fit")
            if method != "any" or rule in ("score", "evaluate")
            for trigger in plan.TRIGGERS[rule].values()
        ]
        files = plan.feature_files(Path("results"), made)
        return [grid.fits(made, method) for method in grid.methods(made)], list(grid.rows(made)), triggers, files

    expected = of(sorted(shots), sorted(seeds))
    assert of(shots, seeds) == expected
    assert [(fit.shots, fit.seed) for fit in expected[0][-1]] == sorted((k, s) for k in shots for s in seeds)


def test_rows_are_every_combination_once(experiment):
    rows = list(grid.rows(experiment))
    keys = set(rows)
    # (1 zero-shot + 4 tip) x 2 mcm + 4 x knn under any, each against 2 OOD sets
    assert len(rows) == len(keys) == grid.count_rows(experiment) == ((1 + 4) * 2 + 4) * 2
    assert ("tiny", "concepts", "any", 1, 7, "knn", "noise") in keys
    assert ("tiny", "concepts", "zero_shot", 0, 0, "mcm@T=0.5", "concepts-unseen-shapes") in keys
    assert not any(row[2] == "zero_shot" and row[5] == "knn" for row in rows)
