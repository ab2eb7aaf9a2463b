"""Graded shifts from the stages score and evaluate: cells by two scores that depend on no method."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oodgrid import paths, store
from oodgrid.config.grades import Grades
from oodgrid.evaluate import grades as graded
from oodgrid.evaluate.metrics import detection_metrics
from oodgrid.evaluate.run import evaluate
from oodgrid.score.run import score


@pytest.fixture
def tables(mini):
    """What evaluate leaves of two seeds, with levels by knn and mahalanobis, and the tables of scores."""
    for name, seed in (("noise", 30), ("cars", 40)):
        mini.features(name, "test", np.full(60, -1), seed)
    mini.applied("prototype", "prototypes", [mini.prototypes(seed=seed).fit for seed in (1, 2)])
    plain = mini.experiment(scores=["mcm", "knn", "mahalanobis", "vim"], seeds=[1, 2])
    asked = Grades(semantic="knn", covariate="mahalanobis", levels=3)
    experiment = plain.model_copy(update={"grades": asked})
    for method in ("prototype", "any"):
        score(mini.results, experiment, "mini", "pets", method)
    written = evaluate(mini.results, experiment)
    assert written[-1] == paths.grades(mini.results, "mini") and len(evaluate(mini.results, plain)) == len(written) - 1
    read = {
        name: store.read_table(paths.scores(mini.results, "mini", "mini", "pets", name))[0]
        for name in ("prototype", "any")
    }
    return store.read_table(written[-1])[0], read


def test_cells_are_quantiles_of_both_axes_over_all_ood_samples_of_one_fit(tables):
    frame, read = tables
    assert frame.schema == pl.Schema(graded.GRADES)
    ood = read["any"].filter(pl.col("dataset") != "pets", seed=1)
    levels = [
        np.searchsorted(np.quantile(-ood[name].to_numpy(), [1 / 3, 2 / 3]), -ood[name].to_numpy(), side="right") + 1
        for name in ("knn", "mahalanobis")
    ]
    of_mcm = {(r["semantic"], r["covariate"]): r for r in frame.filter(what="cell", score="mcm").iter_rows(named=True)}
    seen = 0
    for semantic in (1, 2, 3):
        for covariate in (1, 2, 3):
            inside = (levels[0] == semantic) & (levels[1] == covariate)
            row = of_mcm.get((semantic, covariate))
            assert (row is not None) == (inside.sum() > 10)
            if row is None:
                continue
            seen += 1
            each = []
            for seed in (1, 2):
                scores = read["prototype"].filter(seed=seed)
                other = scores.filter(pl.col("dataset") != "pets")["mcm"].to_numpy()[inside]
                each.append(detection_metrics(scores.filter(dataset="pets")["mcm"].to_numpy(), other))
            assert (row["n_ood"], row["seeds"], row["method"], row["shots"]) == (inside.sum(), 2, "prototype", 2)
            for name in graded.RATES:
                assert row[name] == pytest.approx(np.mean([metrics[name] for metrics in each]))
    assert seen >= 3
    assert set(frame["score"]) == {"mcm", "vim"}  # an axis is not judged by itself
    assert set(frame["what"]) == {"cell", "mean", "sensitivity", "correlation"}


def test_a_pair_that_cannot_be_graded_costs_the_others_nothing(mini, capsys):
    """No set but covariate ones; or an axis that one shot does not allow."""
    mini.applied("prototype", "prototypes", [mini.prototypes(shots=1).fit])
    axes = Grades(semantic="knn", covariate="mahalanobis")
    plain = mini.experiment(scores=["mcm", "knn", "mahalanobis"], shots=[1])
    skipped = plain.model_copy(update={"grades": axes})
    sets = plain.id_datasets[0]
    shifted = sets.ood.model_copy(update={"near": [], "far": [], "covariate": [*sets.ood.near, *sets.ood.far]})
    alone = skipped.model_copy(update={"id_datasets": [sets.model_copy(update={"ood": shifted})]})
    for experiment, why in ((skipped, "cannot be measured"), (alone, "it has no near or far OOD set")):
        for method in ("prototype", "any"):
            score(mini.results, experiment, "mini", "pets", method)
        evaluate(mini.results, experiment)
        assert f"oodgrid: no graded shifts of mini, pets: {why}" in capsys.readouterr().err.replace(
            "knn and mahalanobis ", ""
        )
        assert store.read_table(paths.grades(mini.results, "mini"))[0].is_empty()
        assert len(store.read_table(paths.metrics(mini.results, "mini"))[0])
