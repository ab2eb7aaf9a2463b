"""What an experiment will cost, by what jobs took on this machine."""

import json
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oodgrid import config, manifests, paths, plan, rates, store
from oodgrid.cli.checking import _remark_on_training
from oodgrid.encode.sources import ImageSet, checking
from oodgrid.fewshot import drawn_rows
from oodgrid.plan.costs import costs
from oodgrid.rates import Work

RAW = {
    "experiment": "mini", "backbones": ["tiny"], "methods": ["zero_shot", "tip_adapter"], "scores": ["mcm", "knn"],
    "shots": [1, 2], "seeds": [1, 2],
    "id_datasets": [{"name": "concepts", "ood": {"far": ["digits", "noise"]}}],
}  # fmt: skip
EXPERIMENT = config.parse(RAW)
IMAGES = {"concepts": 1000, "digits": 500}


def works(*took, stage="fit", what="tip_adapter"):
    return [Work(stage, what, where, units, 8 * units, cpu, cpu / 2, host="here") for where, units, cpu in took]


def test_what_a_block_took_is_read_again(tmp_path):
    for units in (5, 0, 7):
        with rates.measured(tmp_path, "fit", "coop", "b/d") as work:
            end = time.process_time() + 0.02
            while time.process_time() < end:
                pass
            work.units, work.bytes = units, 10 * units
    with pytest.raises(ValueError, match="no"), rates.measured(tmp_path, "fit", "coop", "b/d") as work:
        work.units = 3
        raise ValueError("no")
    found = rates.read(tmp_path)
    assert [(work.units, work.bytes, work.what, work.where) for work in found] == [
        (5, 50, "coop", "b/d"), (7, 70, "coop", "b/d")
    ]  # fmt: skip
    assert all(work.cpu >= 0.02 and work.wall >= 0.019 for work in found)


def test_lines_that_are_none_and_those_of_other_machines_do_not_count(tmp_path):
    with rates.measured(tmp_path, "fit", "coop", "b/d") as work:
        work.units = 1
    path = paths.rates(tmp_path)
    line = json.loads(path.read_text())
    others = [
        json.dumps(line | {"host": "elsewhere"}),
        json.dumps(line | {"units": 0}),
        '{"stage": "fi',
        "[1]",
        "\0\xff",
    ]
    path.write_text(path.read_text() + "\n".join(others))
    assert len(rates.read(tmp_path)) == 1
    path.unlink()
    path.mkdir()  # a disk that takes no line
    with rates.measured(tmp_path, "fit", "coop", "b/d") as work:
        work.units = 1
    assert rates.read(tmp_path) == []


@given(
    start=st.floats(0, 50), slope=st.floats(0, 10), sizes=st.lists(st.integers(1, 1000), min_size=2, unique=True),
    units=st.integers(1, 10_000),
)  # fmt: skip
def test_of_work_in_other_places_the_start_and_so_much_a_unit(start, slope, sizes, units):
    took = [(f"b/{size}", size, start + slope * size) for size in sizes]
    spent = rates.estimate(works(*took), "fit", "tip_adapter", "b/new", units)
    assert spent.cpu == pytest.approx(start + slope * units, rel=1e-6, abs=1e-6)
    assert spent.wall == pytest.approx(spent.cpu / 2, rel=1e-6, abs=1e-6)
    assert spent.bytes == pytest.approx(8 * units)


def test_work_that_was_found_counts_no_less_and_the_same_place_counts_alone():
    known = works(("b/d", 10, 20.0), ("b/d", 10, 0.1), ("b/e", 10, 500.0))
    assert rates.estimate(known, "fit", "tip_adapter", "b/d", 5).cpu == 10
    assert rates.estimate(known, "fit", "coop", "b/d", 5) is None
    falling = works(("b/d", 10, 20.0), ("b/e", 20, 10.0))
    assert rates.estimate(falling, "fit", "tip_adapter", "b/f", 30).cpu == 30


def test_what_is_missing_is_counted_and_what_is_there_is_not(tmp_path):
    by_kind = {cost.kind: cost for cost in costs(tmp_path, EXPERIMENT, IMAGES)}
    # zero-shot has one fit, Tip-Adapter four; the bank of kNN has four under `any`
    assert {kind: cost.units for kind, cost in by_kind.items()} == {
        "encode": 1500, "fit": 5, "apply": 5, "score": 9, "evaluate": 18, "report": 3
    }  # fmt: skip
    assert by_kind["encode"].uncounted == {"noise"} and by_kind["fit"].unmeasured == ["zero_shot", "tip_adapter"]
    done = [manifests.LearnedFit(shots=shots, seed=1, status="ok", reason=None) for shots in (1, 2, 4)]
    fitted = paths.fitted(tmp_path, "mini", "tiny", "concepts", "tip_adapter")
    manifests.write(fitted, manifests.Fitted(method="tip_adapter", params={}, fits=done))
    fit = costs(tmp_path, EXPERIMENT, IMAGES)[1]
    assert (fit.units, fit.there) == (3, 2)
    fitted.write_bytes(b"damaged")
    assert costs(tmp_path, EXPERIMENT, IMAGES)[1].units == 5


def test_corrupted_test_images_are_counted_once_for_each_corruption(tmp_path):
    """As many as were encoded, or as a set has that is nothing but test images."""
    scores = ["mcm", {"name": "cover", "corruptions": [["fog-1"], ["fog-1", "snow-2"]]}]
    experiment = config.parse(RAW | {"scores": scores})
    encode = costs(tmp_path, experiment, IMAGES)[0]
    assert encode.units == 1500 + 2 * 500  # two corruptions of digits
    assert encode.uncounted == {"noise", "noise (corrupted)", "concepts (corrupted)"}
    encoded("concepts", "test", 40, tmp_path)
    encoded("digits", "test", 500, tmp_path)
    encoded("digits", "test.fog-1-seed0", 500, tmp_path)
    encode = costs(tmp_path, experiment, {"concepts": 1000})[0]
    assert (encode.units, encode.there) == (960 + 2 * 40 + 500, 40 + 500 + 500)
    assert encode.uncounted == {"noise", "noise (corrupted)"}


def encoded(dataset, split, count, results):
    """Write a feature file of so many images."""
    names, digests = [f"{row}.png" for row in range(count)], np.zeros((count, 32), np.uint8)
    features = store.NewFeatures(np.ones((count, 4), np.float32), np.zeros(count, np.int32), names, digests, {})
    store.write_features(paths.features(results, "tiny", dataset, split), features)


def test_the_lines_say_what_was_measured_and_what_was_not(tmp_path):
    took = works(("tiny/concepts", 4, 60.0)) + works(("tiny/noise", 100, 10.0), stage="encode", what="tiny")
    paths.rates(tmp_path).parent.mkdir()
    host = {"host": rates.socket.gethostname()}
    paths.rates(tmp_path).write_text("".join(json.dumps(vars(work) | host) + "\n" for work in took))
    lines = list(plan.summary(tmp_path, EXPERIMENT, IMAGES, cores=2))
    assert lines[0] == "  encode   1,500 samples; samples of noise, not counted; about 75 s"
    assert lines[1] == "  fit      5 fits; about 30 s; not measured yet: zero_shot"
    assert lines[4] == "  evaluate 18 rows; not measured yet: this"
    assert lines[-1] == "  together about 2 min without what was not measured, 0.0 MB (by what jobs took here, 2 cores)"


def test_metrics_whose_imports_are_not_there_are_only_drawn_again(tmp_path):
    """As in a clone; what can be encoded is, as by a bare `snakemake`, which asks for all that encoding makes."""
    store.write_json(paths.metrics(tmp_path, "mini"), {})
    imported = {"text": "visual_prototypes", "imported": {}}
    sets = [{"name": "own", **imported, "ood": {"far": [{"name": "other", "imported": {}}]}}]
    raw = {
        "experiment": "mini",
        "backbones": ["tiny"],
        "methods": ["prototype"],
        "scores": ["mcm"],
        "id_datasets": sets,
    }
    of_clone = config.parse(raw | {"shots": [1], "seeds": [1]})
    to_do = [
        {c.kind for c in costs(tmp_path, each, IMAGES) if c.units or c.uncounted} for each in (of_clone, EXPERIMENT)
    ]
    assert to_do[0] == {"report"}
    assert "encode" in to_do[1]


@pytest.mark.parametrize("count", [2, 4, len(paths.EVALUATED)])
def test_evaluate_is_done_where_all_its_tables_are(tmp_path, monkeypatch, count):
    """Before there were means and differences it left two, and before there were angles four."""
    monkeypatch.setattr("oodgrid.plan.costs._listed", lambda *_: {(n, seed) for n in (0, 1, 2) for seed in (0, 1, 2)})
    for path in paths.EVALUATED[:count]:
        store.write_json(path(tmp_path, "mini"), {})
    evaluated = costs(tmp_path, EXPERIMENT, IMAGES)[4]
    assert (evaluated.units, evaluated.there) == ((0, 18) if count == len(paths.EVALUATED) else (18, 0))


def test_a_job_asks_for_a_quarter_more_than_such_a_job_took_here_or_for_a_safe_guess():
    took = [
        Work("fit", "coop", "a/b", 1, peak=800),
        Work("apply", "coop", "a/c", 1, peak=1000),
        Work("score", "coop", "", 1),
    ]
    assert plan.memory_here(took, "adapt", "coop") == 1250
    assert plan.memory_here(took, "score", "coop") == plan.memory_here([], "score", "coop") == 2500
    assert plan.memory_here(took, "encode", "coop") == 3000


IMAGENET = {"name": "imagenet", "root": "/data", "ood": {"far": [{"name": "noise"}]}}


def of_imagenet(shots=(1, 16), seeds=(1, 2), scores=("mcm",), **more):
    return config.parse({
        "experiment": "mini", "backbones": ["tiny"], "methods": ["coop"], "scores": list(scores),
        "shots": list(shots), "seeds": list(seeds), "id_datasets": [IMAGENET | more],
    })  # fmt: skip


def test_of_draws_at_most_what_they_take_is_counted_and_a_large_rest_is_said(tmp_path, capsys):
    drawn, whole = of_imagenet(train="drawn"), of_imagenet()
    taken = 2 * (1 + 1 + 16 + 4) * 1000  # for training, and for validation, which ImageNet has no split for
    assert checking.count_drawn(whole.id_datasets[0], whole.draws, {}) == (1_281_167, taken)
    assert checking.counts(list(drawn.datasets()), {}) == {"imagenet": 50_000 + taken, "noise": 600}
    assert checking.counts(list(whole.datasets()), {}) == {"imagenet": 50_000 + 1_281_167, "noise": 600}
    assert checking.counts(list(of_imagenet(limit=9).datasets()), {}) == {"noise": 600}  # not counted
    few, many = ({"name": "noise", "limit": limit} for limit in (30, 1000))  # of 600
    oods = [dataset for each in (few, many) for dataset in of_imagenet(ood={"far": [each]}).datasets()]
    assert checking.counts(oods[1::2], {}) == {"noise-limit-30": 30, "noise-limit-1000": 600}
    _remark_on_training(tmp_path, whole, {})
    said = capsys.readouterr().err
    assert "imagenet: the draws take at most 44,000 of 1,281,167 training samples: train: drawn" in said
    bank = {"name": "knn", "bank": "train"}
    for experiment in (drawn, of_imagenet(scores=[bank]), of_imagenet(only=["test"]), of_imagenet(shots=[512])):
        _remark_on_training(tmp_path, experiment, {})
    assert not capsys.readouterr().err


@pytest.mark.parametrize("val", [None, 40])
def test_of_opened_images_the_draws_are_counted_exactly(val):
    labels = np.arange(60, dtype=np.int32) % 3
    sets = {"train": labels, "test": labels[:9], **({"val": labels[:val]} if val else {})}
    opened = {"imagenet": {s: ImageSet([f"{s}{k}" for k in range(len(v))], v, None, bytes) for s, v in sets.items()}}
    experiment = of_imagenet(shots=(2,), seeds=(1, 2, 3), train="drawn")
    rows = drawn_rows(labels, sets.get("val"), [2], [1, 2, 3])
    (dataset,) = experiment.id_datasets
    assert checking.count_drawn(dataset, dataset.draws, opened) == (60, len(rows))
    assert checking.counts([dataset], opened) == {"imagenet": 9 + (val or 0) + len(rows)}
