"""Transductive scores: whole streams in seeded orders, in a table of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from oodgrid import grid, manifests, paths, registry, store
from oodgrid.errors import OodgridError
from oodgrid.evaluate.run import evaluate
from oodgrid.registry import score as register
from oodgrid.score.run import score

STREAM = "streaming_mean"


def streaming_mean(logits, *, order: int = 0, scale: float = 1.0):
    """MaxLogit over the mean so far: a score of the order."""
    best = logits.max(axis=1)
    return scale * (best - np.cumsum(best) / np.arange(1, len(best) + 1))


@pytest.fixture(autouse=True)
def registered():
    register(needs=("logits",), paper="none", transductive=True)(streaming_mean)
    yield
    del registry.entries("score")[STREAM]


SCORES = ["mcm", STREAM, {"name": STREAM, "order": [1, 2]}]
LABELS = [STREAM, f"{STREAM}@order=1", f"{STREAM}@order=2"]


@pytest.fixture
def tables(mini):
    fit = mini.prototypes()
    mini.applied("prototype", "prototypes", [fit.fit])
    experiment = mini.experiment(scores=SCORES)
    path = score(mini.results, experiment, "mini", "pets", "prototype")
    streams = paths.streams(mini.results, "mini", "mini", "pets", "prototype")
    return fit, experiment, *(manifests.read_table(file, manifests.ScoreTable) for file in (path, streams))


def test_the_two_tables_share_no_score(tables):
    _, _, (single, about), (streams, about_streams) = tables
    assert list(about.params) == ["mcm"]
    assert list(about_streams.params) == LABELS
    assert not set(LABELS) & set(single.columns)
    assert "mcm" not in streams.columns


def test_values_are_those_of_the_stream_in_its_order_put_back_in_place(mini, tables):
    fit, _, _, (streams, _) = tables
    for ood, count in {"noise": 5, "cars": 7}.items():
        features = np.concatenate([mini.read(name).image_features for name in ("pets", ood)]).astype(np.float64)
        logits = features / np.linalg.norm(features, axis=1, keepdims=True) @ fit.values.T
        got = streams.filter(pl.col("ood_dataset") == ood)
        assert got["dataset"].to_list() == ["pets"] * 10 + [ood] * count
        assert got["index"].to_list() == [*range(10), *range(count)]
        assert got["prediction"].to_list() == logits.argmax(axis=1).tolist()
        for order, label in enumerate(LABELS):
            stream = np.random.default_rng(order).permutation(10 + count)
            assert got[f"place@order={order}"].to_numpy()[stream].tolist() == list(range(10 + count))
            np.testing.assert_allclose(got[label].to_numpy()[stream], streaming_mean(logits[stream]), atol=1e-12)


def test_metrics_have_a_row_for_every_order_and_say_which_scores_are_transductive(mini, tables):
    _, experiment, _, (streams, _) = tables
    metrics, about = manifests.read_table(evaluate(mini.results, experiment)[0], manifests.Metrics)
    assert about.transductive == LABELS
    assert metrics.group_by("score", maintain_order=True).len().rows() == [(s, 2) for s in ("mcm", *LABELS)]
    assert set(metrics["status"]) == {"ok"}
    assert metrics["id_accuracy"].n_unique() == 1
    got = streams.filter(pl.col("ood_dataset") == "cars")
    ours, others = (got.filter(pl.col("dataset") == name)[LABELS[1]].to_numpy() for name in ("pets", "cars"))
    area = np.mean([(a > b) + 0.5 * (a == b) for a in ours for b in others])
    row = metrics.filter(pl.col("score") == LABELS[1], pl.col("ood_dataset") == "cars")
    assert row["auroc"][0] == pytest.approx(area, abs=1e-12)
    curves, _ = store.read_table(paths.curves(mini.results, "mini"))
    assert set(curves["score"]) == {"mcm"}


def test_id_accuracy_is_of_the_images_that_have_a_class(mini):
    """Images without one count for detection, not as errors of the classifier; where none has a class there is none."""
    features = mini.read("pets")
    fit = mini.prototypes()
    mini.applied("prototype", "prototypes", [fit.fit])
    experiment = mini.experiment(scores=SCORES)
    predicted = (features.image_features @ fit.values.T).argmax(axis=1)
    for hidden in ([1, 4, 5], range(10)):
        labels = features.labels.copy()
        labels[list(hidden)] = -1
        store.write_features(paths.features(mini.results, "mini", "pets", "test"), replace(features, labels=labels))
        score(mini.results, experiment, "mini", "pets", "prototype")
        metrics, _ = store.read_table(evaluate(mini.results, experiment)[0])
        known = labels >= 0
        wanted = {float(np.mean(predicted[known] == labels[known]))} if known.any() else {None}
        assert set(metrics["id_accuracy"]) == wanted
        assert set(metrics["n_id"]) == {10}


def test_a_test_label_that_is_no_class_is_refused(mini):
    mini.features("pets", "test", np.array([0, 3]), seed=2)
    with pytest.raises(OodgridError, match=r"test\.h5: row 1 has label 3, which is none of the 3 classes"):
        score(mini.results, mini.experiment(scores=SCORES), "mini", "pets", "any")


def test_a_method_without_logits_skips_them_with_a_reason(mini):
    scores = ["mcm", "knn", STREAM]
    for method in ("prototype", "any"):
        mini.applied("prototype", "prototypes", [mini.prototypes().fit])
        score(mini.results, mini.experiment(scores=scores), "mini", "pets", method)
    metrics, _ = store.read_table(evaluate(mini.results, mini.experiment(scores=scores))[0])
    assert metrics.select("method", "score").unique(maintain_order=True).rows() == [
        ("prototype", "mcm"), ("prototype", STREAM), ("any", "knn"),
    ]  # fmt: skip


ONE = {"name": "mcm", "T": 0.25}
MANY = ["mcm", {"name": "mcm", "T": 0.5}, "max_logit", "knn", {"name": "knn", "k": 1}, "tag", STREAM]
MANY += [{"name": STREAM, "order": order} for order in (1, 2)]


@pytest.mark.parametrize("method", ["prototype", "any"])
def test_a_new_score_is_computed_alone_and_one_taken_out_costs_nothing(mini, method, computed, capsys):
    """Whatever comes and goes, in whatever order: values and reasons are those of all scores computed at once."""
    fits = [mini.prototypes(seed=seed).fit for seed in (1, 2)]
    mini.applied("prototype", "prototypes", fits)
    fresh, rng, known = type(mini)(mini.results.parent / "fresh"), np.random.default_rng(1), set()
    for seed in (1, 2):
        fresh.prototypes(seed=seed)
    fresh.applied("prototype", "prototypes", fits)

    def run(world, method, scores):
        experiment = world.experiment(scores=scores, seeds=[1, 2])
        table = score(world.results, experiment, "mini", "pets", method)
        streams = paths.streams(world.results, "mini", "mini", "pets", method)
        both = [manifests.read_table(file, manifests.ScoreTable) for file in (table, streams) if file.exists()]
        streams.unlink(missing_ok=True)
        return [*both, (pl.DataFrame(), None)][:2]

    (whole, about), (whole_streams, _) = run(fresh, method, [ONE, *MANY])
    for _ in range(6):
        computed.clear()
        chosen = [ONE, *(MANY[k] for k in rng.permutation(len(MANY))[: rng.integers(len(MANY))])]
        experiment = mini.experiment(scores=chosen)
        if method == "any" and not any(grid.on_features(choice) for choice in experiment.scores):
            continue
        (table, now), (streams, _) = run(mini, method, chosen)
        listed = {c.listed("score") for c in grid.scores(experiment, method)}
        assert {name for _, _, names in computed for name in names} == listed - known
        assert f"{len(listed - known)} of {len(listed)} scores to compute, {len(listed & known)} kept" in (
            capsys.readouterr().err.replace(" 1 score ", " 1 scores ")
        )
        known |= listed
        assert table.equals(whole.select(table.columns))
        for fit, of_all in zip(now.fits, about.fits, strict=True):
            assert fit.skipped_in == {
                name: {score: why for score, why in of_set.items() if score in table.columns}
                for name, of_set in of_all.skipped_in.items()
                if set(of_set) & set(table.columns)
            }
        assert streams.equals(whole_streams.select(streams.columns)) if method == "prototype" else streams.is_empty()
