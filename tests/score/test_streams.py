"""Transductive scores: whole streams in seeded orders, in a table of their own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from oodgrid import config, grid, manifests, paths, registry, store
from oodgrid.errors import OodgridError
from oodgrid.evaluate.run import evaluate
from oodgrid.registry import score as register
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend
from oodgrid.report.render import markdown
from oodgrid.report.streaming import peeking
from oodgrid.report.tables import of_pair
from oodgrid.score.run import score
from oodgrid.score.states import State
from oodgrid.score.values import arranged
from oodgrid.streams import Stream

STREAM = "streaming_mean"


def streaming_mean(logits, *, order: int = 0, scale: float = 1.0):
    """MaxLogit over the mean so far: a score of the order."""
    best = logits.max(axis=1)
    return scale * (best - np.cumsum(best) / np.arange(1, len(best) + 1))


def going_on(logits, *, order: int = 0, stream: Stream = "mixed", state: State | None = None):
    """The same mean, over what it remembers too."""
    best, state = logits.max(axis=1), {} if state is None else state
    total, count = state.get("before", np.zeros(2))
    state["before"] = np.array([total + best.sum(), count + len(best)])
    return best - (total + np.cumsum(best)) / np.arange(count + 1, count + len(best) + 1)


@pytest.fixture(autouse=True)
def registered():
    for function in (streaming_mean, going_on):
        register(needs=("logits",), paper="none", transductive=True)(function)
    yield
    for function in (streaming_mean, going_on):
        del registry.entries("score")[function.__name__]


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


# ---------------------------------------------------------------------------------------------------------- protocols


@pytest.mark.parametrize(("n_id", "n_ood"), [(0, 0), (1, 3), (6, 1), (9, 7)])
def test_every_protocol_is_an_order_of_all_samples_and_its_seed_draws_it(n_id, n_ood):
    for stream in ("mixed", "id_first", "ood_first", "temporal", "a>b"):
        orders = [arranged(stream, order, n_id, n_ood) for order in range(3)]
        for each in orders:
            assert sorted(each.tolist()) == list(range(n_id + n_ood))
            is_id = (each < n_id).tolist()
            if stream in ("id_first", "ood_first"):
                assert is_id == sorted(is_id, reverse=stream == "id_first")
        assert n_id + n_ood < 8 or len({tuple(each) for each in orders}) == 3
        if stream in ("temporal", "a>b"):
            np.testing.assert_array_equal(orders[1], arranged("mixed", 1, n_id, n_ood))


def test_scores_of_each_protocol_are_those_of_its_stream(mini):
    """Of a temporal one those of all mixed streams in one piece; in the order of the configuration, or as written."""
    fit = mini.prototypes()
    mini.applied("prototype", "prototypes", [fit.fit])
    protocols = ["mixed", "id_first", "ood_first", "temporal", "cars>noise"]
    scores = ["mcm", {"name": "going_on", "stream": protocols, "order": [0, 4]}, STREAM]
    experiment = mini.experiment(scores=scores)
    score(mini.results, experiment, "mini", "pets", "prototype")
    file = paths.streams(mini.results, "mini", "mini", "pets", "prototype")
    table, about = manifests.read_table(file, manifests.ScoreTable)

    def logits(ood):
        features = np.concatenate([mini.read(name).image_features for name in ("pets", ood)]).astype(np.float64)
        return features / np.linalg.norm(features, axis=1, keepdims=True) @ fit.values.T

    for name, params in ((name, params) for name, params in about.params.items() if name != STREAM):
        stream, order, state = params["stream"], params["order"], {}
        for ood in ("cars", "noise") if stream == "cars>noise" else ("noise", "cars"):
            got, rows = table.filter(pl.col("ood_dataset") == ood), arranged(stream, order, 10, len(logits(ood)) - 10)
            state = state if stream in protocols[3:] else {}
            expected = going_on(logits(ood)[rows], state=state)
            np.testing.assert_allclose(got[name].to_numpy()[rows], expected, atol=1e-12)
            apart = f",stream={stream}" if stream in protocols[1:3] else ""
            assert got[f"place@order={order}{apart}"].to_numpy()[rows].tolist() == list(range(len(rows)))
            assert got["prediction"].to_list() == logits(ood).argmax(axis=1).tolist()
    assert len(about.params) == 11


def test_where_every_stream_goes_on_there_are_predictions_and_another_order_is_scored_anew(mini, computed):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    tables = []
    for stream in ("temporal", "noise>cars", "cars>noise", "temporal"):
        listed = ["mcm", {"name": "going_on", "stream": stream}]
        score(mini.results, mini.experiment(scores=listed), "mini", "pets", "prototype")
        tables.append(store.read_table(paths.streams(mini.results, "mini", "mini", "pets", "prototype"))[0])
        assert tables[-1]["prediction"].null_count() == 0
    names = [f"going_on@stream={each}" for each in ("temporal", "noise-cars", "cars-noise", "temporal")]
    values = [table[name].to_list() for table, name in zip(tables, names, strict=True)]
    assert values[0] == values[1] == values[3] != values[2]
    of_streams = [names for _, _, names in computed if "mcm" not in names]
    assert len(of_streams) == 3 * 2  # three ways to follow, two OOD sets; the fourth run computes nothing


def test_first_samples_of_a_stream_have_rates_of_their_own(mini):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    listed = ["mcm", {"name": "going_on", "stream": ["mixed", "id_first", "temporal"], "order": [0, 1]}]
    raw = mini.experiment(scores=["mcm"]).model_dump(exclude_unset=True, mode="json")
    experiment = config.parse({**raw, "scores": listed, "metrics": ["first@6", "first@99", "fpr@90"]})
    score(mini.results, experiment, "mini", "pets", "prototype")
    metrics, about = manifests.read_table(evaluate(mini.results, experiment)[0], manifests.Metrics)
    table = store.read_table(paths.streams(mini.results, "mini", "mini", "pets", "prototype"))[0]
    columns = [name for name in metrics.columns if "_first" in name]
    assert columns == [f"{rate}_first{n}" for n in (6, 99) for rate in ("auroc", "fpr95_id_pos", "fpr95_ood_pos")]
    assert metrics.filter(score="mcm").select(columns).null_count().row(0) == (2,) * 6
    for row in metrics.filter(pl.col("score") != "mcm").iter_rows(named=True):
        stream = table.filter(pl.col("ood_dataset") == row["ood_dataset"])
        params = json.loads(row["params"])
        place = f"place@order={params['order']}" + ",stream=id_first" * (params["stream"] == "id_first")
        ours, others = (
            stream.filter(pl.col("dataset") == name, pl.col(place) < 6)[row["score"]].to_numpy()
            for name in ("pets", row["ood_dataset"])
        )
        area = np.mean([(a > b) + 0.5 * (a == b) for a in ours for b in others]) if len(ours) and len(others) else None
        assert row["auroc_first6"] == (None if area is None else pytest.approx(area, abs=1e-12))
        assert [row[f"{name}_first99"] for name in ("auroc", "fpr95_id_pos")] == [row["auroc"], row["fpr95_id_pos"]]
        assert (row["auroc_first6"] is None) == (params["stream"] == "id_first")
    check_table(mini, metrics, about)


def check_table(mini, metrics, about):
    frames = [store.read_table(path(mini.results, "mini"))[0] for path in (paths.summary, paths.comparisons)]
    assert frames[0].filter(metric="auroc_first6", scope="far")["orders"].to_list() == [2, 2]
    table = of_pair(Evaluated(metrics, *frames, transductive=about.transductive).pair("mini", "pets"))["streams"]
    assert {"far.auroc_first6", "near.fpr95_ood_pos_first99", "far.auroc"} <= {column.key for column in table.columns}
    text = " ".join([*table.notes, *table.remarks])
    assert "going_on (stream=id_first): it peeks at the unlabelled test stream; all ID samples come before" in text
    assert "Standard deviation of AUROC over 2 orders of the stream: Prototype, going_on" in text
    assert "First 6 and 99: of the ID and OOD samples that come first" in text
    assert "first 99" in markdown(table)


def test_the_note_of_a_stream_says_all_sets_that_it_comes_to():
    """Those that its name leaves out follow in the order of the configuration."""
    rows = pl.DataFrame({"score": ["s"] * 4, "params": ['{"stream": "d>b"}'] * 4, "ood_dataset": ["a", "b", "c", "d"]})
    (note,) = peeking(rows, Legend({}, {"s": "S"}, {}))
    assert "mixed streams of d, then b, then a, then c, and what it remembers stays" in note


@pytest.mark.parametrize(
    ("scores", "metrics", "message"),
    [
        (
            {"stream": "shuffled"},
            [],
            "going_on: stream = 'shuffled' does not fit: mixed, id_first, ood_first, temporal",
        ),
        ({"stream": 3}, [], "going_on: stream = 3 does not fit: mixed, id_first"),
        ({"stream": "cars>"}, [], "stream = 'cars>' does not fit: mixed"),
        ({"stream": "cars>birds"}, [], "score going_on, stream: .*OOD set of pets.*birds"),
        ({"stream": "cars>noise>cars"}, [], "cars>noise>cars comes to cars twice: name it once"),
        ({"name": STREAM, "stream": "temporal"}, [], "parameter of score streaming_mean.*stream"),
        ({"state": 1}, [], "state"),
        ({}, ["first@0"], "'first@0' is not of the form first@100"),
        ({}, ["first@1"], "first@1"),
        ({}, ["first@"], "first@"),
        ({}, ["first@1e3"], "first@1e3"),
        ({}, ["first@" + "9" * 40], "is not of the form first@100"),
        ({"name": "msp"}, ["first@100"], "metrics: first@100 is of streams, and no listed score is transductive"),
    ],
)
def test_what_is_no_stream_is_refused_in_a_line(mini, scores, metrics, message):
    raw = mini.experiment(scores=["mcm"]).model_dump(exclude_unset=True, mode="json")
    with pytest.raises(OodgridError, match=message):
        config.parse({**raw, "scores": ["max_logit", {"name": "going_on", **scores}], "metrics": metrics})


@pytest.mark.parametrize(("stream", "means"), [("shuffled", None), ("cars>", None), ("cars > noise", "cars>noise")])
def test_the_stream_of_a_score_that_says_str_is_a_protocol_too(stream, means):
    """Any other word would be a row of its own with the numbers of mixed."""

    def plain(logits, *, order: int = 0, stream: str = "mixed", state: State | None = None):
        """As docs/scores.md writes it."""

    register(needs=("logits",), paper="none", transductive=True)(plain)
    try:
        if means:
            assert registry.check_params("score", "plain", {"stream": stream}) == {"stream": means}
        else:
            with pytest.raises(OodgridError, match=f"score plain: stream = '{stream}' does not fit: mixed, id_first"):
                registry.check_params("score", "plain", {"stream": stream})
    finally:
        del registry.entries("score")["plain"]


def test_a_plugin_s_stream_begins_mixed():
    def shaky(logits, *, order: int = 0, stream: str = "id_first"):
        """Not allowed."""

    with pytest.raises(OodgridError, match="let its default be mixed"):
        register(needs=("logits",), transductive=True)(shaky)
