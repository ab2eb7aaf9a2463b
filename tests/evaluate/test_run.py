"""The stage evaluate on tables that it should take, and on others: a line that names the file and the mend."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oodgrid import paths, store
from oodgrid.config import parse
from oodgrid.errors import OodgridError
from oodgrid.evaluate.metrics import detection_metrics
from oodgrid.evaluate.run import METRICS, evaluate

SETS = ("concepts", "concepts-unseen-shapes", "noise")


@pytest.fixture
def world(tmp_path, experiment_of):
    """A folder of results with one table of scores, how to write another in its place, and how to evaluate."""
    experiment = parse(experiment_of(methods=["zero_shot"], scores=["mcm"]))
    path = paths.scores(tmp_path, "mini", "tiny", "concepts", "zero_shot")
    rng = np.random.default_rng(0)
    rows = [(name, 0, 0, i, f"{i}.png", i % 3, 0, float(rng.normal(name == "concepts")))
            for name in SETS for i in range(20)]  # fmt: skip
    table = pl.DataFrame(
        rows, ["dataset", "shots", "seed", "index", "path", "label", "prediction", "mcm"], orient="row"
    )
    fit = {"shots": 0, "seed": 0, "status": "ok", "reason": "", "skipped": {}, "parts": {n: n for n in SETS}}
    about = {"fits": [fit], "params": {"mcm": {"T": 1.0}}}
    store.write_table(path, table, about)
    return tmp_path, experiment, path, table, about


def test_metrics_have_every_column_that_is_documented(world):
    results, experiment, _, table, _ = world
    written, _ = evaluate(results, experiment)
    rows, _ = store.read_table(written)
    assert rows.columns == list(METRICS)
    assert rows["ood_dataset"].to_list() == list(SETS[1:])
    scores = {name: table.filter(pl.col("dataset") == name)["mcm"].to_numpy() for name in SETS}
    for row in rows.iter_rows(named=True):
        expected = detection_metrics(scores["concepts"], scores[row["ood_dataset"]])
        assert {key: row[key] for key in expected} == expected


def wrong(table, about):
    """Tables of another config, of another tool, and with a score that took the name of a column."""
    renamed = {"params": {"label": {}}, "fits": about["fits"]}
    return {
        "an OOD set is not in it": (
            table.filter(pl.col("dataset") != "noise"),
            about,
            "holds no scores of noise for 0",
        ),
        "no sample of a fit": (
            table.with_columns(seed=pl.lit(1)),
            about,
            "holds no scores of concepts, .*noise for 0 sh",
        ),
        "a score is not in it": (table.drop("mcm"), about, "is no table of scores: it lacks mcm. Delete it"),
        "no prediction": (table.drop("prediction", "label"), about, "it lacks label, prediction"),
        "of another tool": (table, {}, "it lacks fits, params"),
        "a score called label": (table, renamed, "a score is called label, as another column of its table is"),
    }


WRONG = ("an OOD set is not in it", "no sample of a fit", "a score is not in it", "no prediction", "of another tool",
         "a score called label")  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_tables_that_do_not_fit_the_config_are_refused_in_one_line(world, what):
    results, experiment, path, table, about = world
    changed, metadata, said = wrong(table, about)[what]
    store.write_table(path, changed, metadata)
    with pytest.raises(OodgridError, match=said) as error:
        evaluate(results, experiment)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
