"""Metrics that look at covariate-shifted sets and at predictions, through the stage evaluate, beside naive code."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from oodgrid import paths, store
from oodgrid.config import parse
from oodgrid.evaluate.run import evaluate

OODS = {"near": ["n1"], "far": ["f1"], "covariate": ["c1", "c2"]}
SIZES = {"own": 60, "n1": 40, "f1": 25, "c1": 30, "c2": 15}
MEANS = {"own": 1.0, "n1": 0.3, "f1": -0.5, "c1": 0.7, "c2": 0.2}
SCORES = ["mcm", "max_logit"]  # a probability, and none


def entry(name):
    return {"name": name, "generated": {"kind": "noise"}}


@pytest.fixture(scope="module")
def study(tmp_path_factory, experiment_of):
    """The rows of metrics.parquet, and the samples by dataset."""
    results, rng = tmp_path_factory.mktemp("spectrum"), np.random.default_rng(0)
    ood = {kind: [entry(name) for name in names] for kind, names in OODS.items()}
    config = experiment_of(id_datasets=[{**entry("own"), "ood": ood}], methods=["zero_shot"], scores=SCORES)
    samples = {}
    for name, size in SIZES.items():
        logits = rng.normal(MEANS[name], 1, size).round(1)
        columns = {"mcm": (1 / (1 + np.exp(-logits))).round(2), "max_logit": logits + rng.normal(0, 0.5, size)}
        labels = np.arange(size) % 6 - 1
        right = rng.random(size) < columns["mcm"] - 0.15  # confident by .15 too much
        keys = {"dataset": name, "shots": 0, "seed": 0}
        frame = pl.DataFrame({"label": labels, "prediction": np.where(right, labels, labels + 1), **columns})
        samples[name] = frame.with_columns(pl.lit(value).alias(key) for key, value in keys.items())
    fit = {"shots": 0, "seed": 0, "status": "ok", "reason": "", "skipped": {}, "parts": {name: name for name in SIZES}}
    path = paths.scores(results, "mini", "tiny", "own", "zero_shot")
    store.write_table(path, pl.concat(samples.values()), {"fits": [fit], "params": {name: {} for name in SCORES}})
    return store.read_table(evaluate(results, parse(config))[0])[0], samples


def naive_fprs(id_scores, ood_scores):
    n, m = len(id_scores), len(ood_scores)
    recalls = {t: sum(s >= t for s in id_scores) for t in set(id_scores)}
    _, _, kept = min((abs(20 * count - 19 * n), -count, t) for t, count in recalls.items())
    caught = min(t for t in {*id_scores, *ood_scores} if 20 * sum(s <= t for s in ood_scores) >= 19 * m)
    return sum(s >= kept for s in ood_scores) / m, sum(s <= caught for s in id_scores) / n


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ood", ["n1", "f1", "c1", "c2"])
def test_full_spectrum_counts_covariate_shifted_samples_as_id(study, score, ood):
    rows, samples = study
    row = rows.filter(score=score, ood_dataset=ood).row(0, named=True)
    names = ["auroc", "fpr95_id_pos", "fpr95_ood_pos", "aupr_in", "aupr_out"]
    if ood in OODS["covariate"]:
        assert [row[f"{name}_fs"] for name in names] == [None] * 5
        return
    whole = [value for name in ("own", "c1", "c2") for value in samples[name][score]]
    other = samples[ood][score].to_list()
    truth, scores = [1] * len(whole) + [0] * len(other), np.array(whole + other)
    assert row["auroc_fs"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert (row["fpr95_id_pos_fs"], row["fpr95_ood_pos_fs"]) == naive_fprs(whole, other)
    assert row["aupr_in_fs"] == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert row["aupr_out_fs"] == pytest.approx(average_precision_score(1 - np.array(truth), -scores), abs=1e-12)
    assert row["auroc"] == pytest.approx(
        roc_auc_score([1] * 60 + [0] * len(other), [*samples["own"][score], *other]), abs=1e-12
    )


def naive_ece(confidence, right):
    total = 0.0
    for b in range(15):
        inside = [k for k, c in enumerate(confidence) if b / 15 < c <= (b + 1) / 15 or (b == 0 and c == 0)]
        if inside:
            total += abs(sum(right[k] for k in inside) - sum(confidence[k] for k in inside))
    return total / len(confidence)


def test_calibration_is_that_of_the_samples_with_a_class(study):
    rows, samples = study
    known = samples["own"].filter(pl.col("label") >= 0)
    confidence, right = known["mcm"].to_list(), (known["label"] == known["prediction"]).to_list()
    rng = np.random.default_rng(1)
    redrawn = [naive_ece(confidence, rng.random(len(confidence)) < confidence) for _ in range(500)]
    for row in rows.filter(score="mcm").iter_rows(named=True):
        assert row["ece"] == pytest.approx(naive_ece(confidence, right), abs=1e-12)
        assert row["ece_floor"] == pytest.approx(np.mean(redrawn), abs=4 * np.std(redrawn) / 20**0.5)
        assert row["ece"] > row["ece_floor"]
    assert rows.filter(score="max_logit").select("ece", "ece_floor").null_count().row(0) == (4, 4)


@pytest.mark.parametrize("score", SCORES)
def test_oscr_and_aurc_are_those_of_the_samples_with_a_class(study, score):
    rows, samples = study
    known = samples["own"].filter(pl.col("label") >= 0)
    own, right = known[score].to_list(), (known["label"] == known["prediction"]).to_list()
    for row in rows.filter(score=score).iter_rows(named=True):
        other = samples[row["ood_dataset"]][score].to_list()
        wins = [(s > o) + 0.5 * (s == o) for s, ok in zip(own, right, strict=True) if ok for o in other]
        assert row["oscr"] == pytest.approx(sum(wins) / len(own) / len(other), abs=1e-12)
        errors = [1 - np.mean([ok for s, ok in zip(own, right, strict=True) if s == value]) for value in own]
        ranked = [errors[k] for k in np.argsort(-np.array(own), kind="stable")]
        assert row["aurc"] == pytest.approx(np.mean(np.cumsum(ranked) / np.arange(1, len(own) + 1)), abs=1e-12)
    assert row["id_accuracy"] == pytest.approx(np.mean(right))
