"""Of a training split the images alone that draws take: the same draws, the same features, and nothing twice."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from oodgrid import fewshot, paths, plan, store
from oodgrid.adapt.data import FitFiles
from oodgrid.config import parse
from oodgrid.encode.chunks import Chunks
from oodgrid.encode.drawn import encode_drawn
from oodgrid.encode.images import encode_images
from oodgrid.encode.verifying import check_sources
from oodgrid.encode.views import encode_views
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot, drawn_rows
from oodgrid.grid import Fit

pytest.importorskip("torch")
SHOTS, SEEDS = (1, 2), (1, 2)


@pytest.fixture
def photos(tmp_path):
    """Sixty images of two classes for training, six for testing."""
    for k in range(66):
        path = tmp_path / "photos" / ("train" if k < 60 else "test") / f"class {k % 2}" / f"{k:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def make(photos, untrained):
    def make(shots=SHOTS, seeds=SEEDS, train="drawn", local=False, scores=("mcm",), **more):
        dataset = {
            "name": "photos",
            "folder": str(photos),
            "split_folders": {"train": "train", "test": "test"},
            "ood": {"far": ["noise"]},
            "train": train,
            **more,
        }
        return parse(
            {
                "experiment": "drawn",
                "backbones": [untrained | {"local_features": local}],
                "id_datasets": [dataset],
                "methods": ["zero_shot"],
                "shots": list(shots),
                "seeds": list(seeds),
                "scores": list(scores),
            }
        )

    return make


@pytest.fixture
def encoded(monkeypatch):
    """How many images were encoded, chunk by chunk."""
    counts, write = [], Chunks.write
    monkeypatch.setattr(
        Chunks, "write", lambda self, start, chunk: (counts.append(len(chunk.stamps)), write(self, start, chunk))
    )
    return counts


def encode(results, experiment):
    """Encode what an experiment wants of its ID set, and return the reader of its draws."""
    (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
    encode_images(results, backbone, dataset)
    if dataset.train == "drawn":
        encode_drawn(results, backbone, dataset)
    return FewShot(results, backbone.name, dataset)


def same_draws(one, other, shots=SHOTS, seeds=SEEDS):
    for count in shots:
        for seed in seeds:
            for name in ("bank", "val"):
                ours, theirs = (getattr(each.draw(count, seed), name) for each in (one, other))
                assert [ours.of.paths[row] for row in ours.rows] == [theirs.of.paths[row] for row in theirs.rows]
                np.testing.assert_array_equal(ours.features, theirs.features)
                np.testing.assert_array_equal(ours.labels, theirs.labels)
                np.testing.assert_array_equal(one.split_rows(ours.rows), other.split_rows(theirs.rows))


@pytest.mark.parametrize("local", [False, True])
def test_draws_and_features_are_those_of_the_whole_split(tmp_path, make, encoded, local):
    whole = encode(tmp_path / "whole", make(train="whole", local=local))
    assert sum(encoded) == 66
    encoded.clear()
    assert len(whole.whole_train()) == 60
    part = encode(tmp_path / "part", make(local=local))
    with pytest.raises(OodgridError, match="the whole training split is asked for: take train: drawn out of photos"):
        part.whole_train()
    assert sum(encoded) == 6 + len(part.train.labels) < 66
    assert not part.dataset.file_of("train").endswith("train")
    same_draws(part, whole)
    assert part.remarks(2, [1, 2]) == whole.remarks(2, [1, 2])
    assert part.classes == whole.classes == 2
    if local:
        rows = np.arange(len(part.train.labels))
        np.testing.assert_array_equal(
            store.read_local_rows(part.file("train"), rows),
            store.read_local_rows(whole.file("train"), part.split_rows(rows)),
        )
    assert check_sources(part.file("train")) == f"{len(part.train.labels)} images have the size and time of before"


def test_more_seeds_encode_what_is_new_and_change_no_draw_that_was_there(tmp_path, make, encoded):
    one = encode(tmp_path, make(seeds=(1,)))
    count, digests = len(one.train.labels), [one.digests(shots, 1) for shots in SHOTS]
    encoded.clear()
    both = encode(tmp_path, make())
    assert sum(encoded) == len(both.train.labels) - count
    assert one.file("train") != both.file("train")
    same_draws(both, one, seeds=(1,))
    assert [both.digests(shots, 1) for shots in SHOTS] == digests
    assert both.digests(1, 2) != both.digests(1, 1)
    encoded.clear()
    both_file = both.file("train")
    both_file.unlink()  # as Snakemake does before it runs a job again
    encode(tmp_path, make())
    assert not encoded
    for whole in list((tmp_path / "kept").rglob("whole.h5")):  # but not of the test split
        if whole.samefile(both_file):
            shutil.rmtree(whole.parent)
    both.file("train").unlink()
    same_draws(encode(tmp_path, make()), one, seeds=(1,))
    assert sum(encoded) == len(both.train.labels) - count  # the others are those of the other draws' file


def test_of_the_whole_split_nothing_is_encoded_again(tmp_path, make, encoded):
    whole = encode(tmp_path, make(train="whole"))
    encoded.clear()
    same_draws(encode(tmp_path, make()), whole)
    assert not encoded


def test_a_broken_image_is_replaced_in_the_draws_that_take_it_alone_and_more_seeds_change_none(
    tmp_path, make, photos, encoded
):
    more = encode(tmp_path / "intact", make(seeds=(1, 2, 3)))
    once, two = encode(tmp_path / "intact", make(seeds=(1,))), encode(tmp_path / "intact", make())
    both = [more.split_rows(more.draw(2, seed).bank.rows) for seed in (1, 2)]
    alone = sorted({*both[1]} - {*once.train.rows})[0], once.train.rows[0]  # of seed 2 alone, and of seed 1
    for row in alone:
        name = more.train.paths[np.searchsorted(more.train.rows, row)]
        (photos / "train" / name.removeprefix("train/")).write_bytes(b"broken")
    with pytest.raises(OodgridError, match=r"is a broken image.*on_error: skip"):
        encode(tmp_path, make())
    one = encode(tmp_path, make(seeds=(1,), on_error="skip"))
    digests = [one.digests(shots, 1) for shots in SHOTS]
    assert not {*alone} & {*one.train.rows}
    encoded.clear()
    part = encode(tmp_path, make(on_error="skip"))
    assert sum(encoded) < 20
    assert {name for name, _ in part.train.provenance["skipped"]} >= {
        two.train.paths[np.searchsorted(two.train.rows, row)] for row in alone
    }
    same_draws(part, one, seeds=(1,))
    assert [part.digests(shots, 1) for shots in SHOTS] == digests
    for shots in SHOTS:
        for seed in SEEDS:
            before, after = two.draw(shots, seed), part.draw(shots, seed)
            rows = [np.union1d(two.split_rows(before.bank.rows), two.split_rows(before.val.rows))]
            rows.append(np.union1d(part.split_rows(after.bank.rows), part.split_rows(after.val.rows)))
            assert {*alone} & {*rows[0]} or (rows[0] == rows[1]).all()
    encoded.clear()
    encode(tmp_path, make(on_error="skip"))
    assert not encoded  # what is broken is looked at again, and is broken still


@pytest.mark.parametrize("seed", range(10))
def test_a_draw_depends_on_no_other_draw_and_on_no_broken_image_that_it_would_not_take(seed):
    rng = np.random.default_rng(seed)
    labels, val = rng.integers(-1, 5, 80), None if seed % 2 else np.arange(5)
    broken = rng.choice(80, 25, replace=False)
    for shots in (1, 3, 30):
        drawn = fewshot.draw(labels, val, shots, seed, broken=broken)
        assert not {*drawn.of_train} & {*broken}
        intact, tried = fewshot.draw(labels, val, shots, seed), labels.copy()
        while bad := {*intact.of_train} & {*broken}:
            tried[[*bad]] = -1
            intact = fewshot.draw(tried, val, shots, seed)
        met = [row for row in broken if tried[row] != labels[row]]  # those that were looked at
        assert (fewshot.draw(labels, val, shots, seed, broken=met).of_train == drawn.of_train).all()
        assert {*drawn.of_train} <= {*drawn_rows(labels, val, (1, shots), (seed, 7), broken)}


def test_an_image_that_has_changed_is_encoded_again(tmp_path, make, photos, encoded):
    before = encode(tmp_path, make())
    name = before.train.paths[0]
    Image.new("RGB", (30, 30), "red").save(photos / "train" / name.removeprefix("train/"))
    encoded.clear()
    after = encode(tmp_path, make())
    assert sum(encoded) == 1
    assert (before.train.image_features[0] != after.train.image_features[0]).any()
    np.testing.assert_array_equal(before.train.image_features[1:], after.train.image_features[1:])


def test_views_of_the_draws_are_those_of_the_whole_split(tmp_path, make, encoded, monkeypatch, capsys):
    views = [{"family": "rrc50", "count": 2}]
    found, data = [], []
    for place, train in (("whole", "whole"), ("part", "drawn")):
        experiment = make(train=train, views=views)
        few_shot = encode(tmp_path / place, experiment)
        (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
        file = encode_views(tmp_path / place, experiment, backbone, dataset, dataset.views[0])
        found.append(store.read_views(file))
        files = FitFiles(tmp_path / place, backbone, dataset, "rrc50", file)
        rows = few_shot.draw(2, 1).bank.rows
        data.append((files._of_views(rows), files.views_identity(Fit("tip_adapter", 2, 1))))
        assert set(few_shot.split_rows(few_shot.draw(2, 2).bank.rows)) <= set(found[-1].index)
    np.testing.assert_array_equal(found[0].index, found[1].index)
    np.testing.assert_array_equal(found[0].image_features, found[1].image_features)
    np.testing.assert_array_equal(data[0][0], data[1][0])
    assert data[0][1] == data[1][1]
    fewer = make(seeds=(1,), views=views)  # of a file that does not know all images whose views are there
    few_shot = encode(tmp_path / "part", fewer)
    encoded.clear()
    monkeypatch.setenv("OODGRID_WAIT", "5")  # as a job of a run has it: nobody waits for a split that nobody makes
    capsys.readouterr()
    file = encode_views(tmp_path / "part", fewer, fewer.backbones[0], few_shot.dataset, few_shot.dataset.views[0])
    assert "waiting" not in capsys.readouterr().err
    again = store.read_views(file)
    assert not encoded
    np.testing.assert_array_equal(again.image_features, found[1].image_features[np.isin(found[1].index, again.index)])


@pytest.mark.parametrize("seed", range(10))
def test_the_rows_of_all_draws_are_the_union_of_the_draws(seed):
    labels = np.random.default_rng(seed).integers(-1, 5, 80)
    for val in (None, np.arange(5)):
        expected = set()
        for shots in (1, 3, 30):
            for number in (0, 7):
                each = fewshot.draw(labels, val, shots, number)
                expected |= set(each.train) | (set(each.val) if val is None else set())
        assert drawn_rows(labels, val, (1, 3, 30), (0, 7)).tolist() == sorted(expected)


def test_files_of_the_plan(tmp_path, make):
    experiment = make()
    (dataset,) = experiment.id_datasets
    train = paths.drawn(tmp_path, "untrained", "photos", dataset.draws.digest)
    assert plan.drawn(experiment) == ["photos"]
    assert plan.encoded(experiment) == {("test",): ["noise", "photos"]}
    assert train in plan.fit_input(tmp_path, experiment, "untrained", "photos")
    assert train in plan.score_input(tmp_path, experiment, "untrained", "photos", "zero_shot")
    assert train in plan.encoded_files(tmp_path, experiment)
    assert paths.features(tmp_path, "untrained", "photos", "train") not in plan.feature_files(tmp_path, experiment)
    other = make(shots=(2, 1), seeds=(2, 1)).id_datasets[0]
    assert other.file_of("train") == dataset.file_of("train")
    assert make(seeds=(1,)).id_datasets[0].file_of("train") != dataset.file_of("train")
    assert make(train="whole").id_datasets[0].file_of("train") == "train"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"scores": ["mcm", {"name": "knn", "bank": "train"}]},
            "bank: train of score knn@bank=train is the whole training split",
        ),
        ({"split_folders": {"test": "test"}}, "photos has no training split to encode: take train: drawn out"),
    ],
)
def test_what_needs_the_whole_split_is_refused(make, changes, words):
    with pytest.raises(OodgridError, match=words):
        make(**changes)
    make(train="whole", **changes)


def test_the_test_split_alone_is_no_mistake_while_another_job_makes_what_draws_take(tmp_path, make):
    experiment = make()
    (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
    encode_images(tmp_path, backbone, dataset)
    assert FewShot(tmp_path, backbone.name, dataset).classes is None  # planning goes on
    encode_drawn(tmp_path, backbone, dataset)
    assert FewShot(tmp_path, backbone.name, dataset).classes == 2


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_an_image_that_changes_while_it_is_encoded_ends_the_job_and_alters_no_draw(
    tmp_path, make, monkeypatch, photos, on_error
):
    experiment = make(on_error=on_error)
    (backbone,), (dataset,) = experiment.backbones, experiment.id_datasets
    write = Chunks.write

    def write_and_change(self, start, chunk):
        write(self, start, chunk)
        path = photos / "train" / self.images.paths[0].removeprefix("train/")
        path.write_bytes(path.read_bytes() + b"changed")

    monkeypatch.setattr(Chunks, "write", write_and_change)
    with pytest.raises(OodgridError, match="is no more what it was when it was encoded a moment ago: run again"):
        encode_drawn(tmp_path, backbone, dataset)
    assert not paths.features(tmp_path, backbone.name, dataset.name, dataset.file_of("train")).exists()
