"""Products of scores in float32: close to those in float64, said in the table, and never taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import manifests, registry
from oodgrid.plan.triggers import TRIGGERS
from oodgrid.score.contract import Head, normalise, product
from oodgrid.score.run import score

GIVEN = {"logits", "features", "head", "bank", "val|bank"}
ENTRIES = registry.entries("score")
NAMES = [name for name, e in ENTRIES.items() if set(e.needs) <= GIVEN and not e.label_lists]
SKIPPED = {"weiper_kld"}  # it counts values in bins: one that lies on an edge may change its bin


@pytest.mark.parametrize("width", [3, 64, 1024])
def test_a_product_in_float32_is_near_that_in_float64(width):
    rng = np.random.default_rng(width)
    rows, others = normalise(rng.normal(size=(50, width))), normalise(rng.normal(size=(40, width)))
    exact, fast = (product(rows, others, precision) for precision in ("float64", "float32"))
    np.testing.assert_array_equal(exact, rows @ others.T)
    assert fast.dtype == np.float64
    assert 0 < np.abs(fast - exact).max() < 3e-7
    np.testing.assert_array_equal(Head(others, np.zeros(40), "float32").logits(rows), fast)


def test_scores_in_float32_rank_and_read_as_those_in_float64_and_are_kept_apart(mini, scored):
    scores = [name for name in NAMES if name not in SKIPPED]
    exact = mini.experiment(scores=scores, shots=(4,))
    fast = exact.model_copy(update={"score_precision": "float32"})
    mini.applied("prototype", "prototypes", [mini.prototypes(shots=4).fit])
    for method in ("prototype", "any"):
        tables = {}
        for experiment in (exact, fast):
            scored.clear()
            path = score(mini.results, experiment, "mini", "pets", method)
            tables[experiment.score_precision], about = manifests.read_table(path, manifests.ScoreTable)
            assert about.precision == experiment.score_precision
            assert len(scored) == 3
        differ = 0
        for name in set(tables["float64"].columns) & set(scores):
            values, other = (tables[precision][name].to_numpy() for precision in ("float64", "float32"))
            np.testing.assert_allclose(other, values, rtol=2e-4, atol=1e-5, err_msg=name)
            differ += not np.array_equal(other, values)
        assert differ or method == "any"  # of these, k nearest neighbours alone multiply, and measure the found one


def test_the_precision_makes_score_jobs_run_again(mini):
    experiment = mini.experiment()
    names = {"backbone": "mini", "id_dataset": "pets", "method": "prototype"}
    before, after = (
        TRIGGERS["score"]["spec"](each, **names)
        for each in (experiment, experiment.model_copy(update={"score_precision": "float32"}))
    )
    assert before != after
