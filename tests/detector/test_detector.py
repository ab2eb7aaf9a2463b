"""A detector: its numbers are those of the experiment's tables to the bit, taken away too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape
from PIL import Image

import oodgrid
from oodgrid import backbones, grid, paths, store
from oodgrid.cli import main
from oodgrid.config import ANY
from oodgrid.detector import Detector, from_experiment, threshold
from oodgrid.detector.choosing import Wanted, choose
from oodgrid.encode.sources.unseen import open_images
from oodgrid.encode.unseen import encode_unseen
from oodgrid.errors import OodgridError

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]
SHOTS, SEED = 4, 1


def chosen_of(world, method, score, shots=SHOTS, seed=SEED):
    learns = method != "zero_shot"
    return choose(world.results, world.experiment, Wanted(method=method, score=score, shots=shots if learns else None,
                                                          seed=seed if learns else None))  # fmt: skip


def detector_of(world, method, score, **more):
    return from_experiment(world.results, world.experiment, chosen_of(world, method, score), **more)


def table_of(world, method):
    shots, seed = (0, 0) if method == "zero_shot" else (SHOTS, SEED)
    table = store.read_table(paths.scores(world.results, "mini", "untrained", "animals", method))[0]
    return table.filter(pl.col("shots") == shots, pl.col("seed") == seed)


@pytest.fixture(scope="module")
def unseen(world):
    """The test images in another order, among others and in other numbers, encoded as new ones."""
    images = open_images([world.folder / "ood", world.folder / "id" / "test"])
    rows = np.random.default_rng(5).permutation(len(images))[:-3]
    loaded = backbones.load(world.experiment.backbones[0])
    ((_, chunk),) = encode_unseen(loaded, images.subset(rows), local=True)
    return chunk.image_features, chunk.local_features


@pytest.fixture(scope="module")
def places(world, unseen):
    """The row of each unseen image in the tables, by the bits of its features."""
    sets = [
        store.read_features(paths.features(world.results, "untrained", name, "test")) for name in ("animals", "strange")
    ]
    cached = {row.tobytes(): number for number, row in enumerate(np.vstack([each.image_features for each in sets]))}
    return [cached[row.tobytes()] for row in unseen[0]]  # a KeyError: features depend on the neighbours


@pytest.mark.parametrize("place", range(9))
def test_every_number_of_the_tables_to_the_bit(world, unseen, places, place, tmp_path):
    methods = grid.methods(world.experiment)
    method = methods[place]
    table, checked = table_of(world, method), 0
    assert len(table) == 30
    features, local = unseen
    for score in grid.scores(world.experiment, method):
        name = score.listed("score")
        if grid.transductive(score):
            continue
        if table[name].null_count():
            with pytest.raises(OodgridError, match=f"score {re.escape(name)} under"):
                detector_of(world, method, name)
            continue
        detector = detector_of(world, method, name)
        arrays = (features, local if detector.wants_local else None)
        scores, predictions = detector.scored(*arrays)
        assert scores.tobytes() == table[name].to_numpy()[places].tobytes(), (method, name)
        one = detector.score(features[:1], None if arrays[1] is None else local[:1])
        assert one.tobytes() == scores[:1].tobytes(), (method, name)
        if method != ANY:
            np.testing.assert_array_equal(predictions, table["prediction"].to_numpy()[places])
        again = Detector.load(detector.save(tmp_path / f"{checked}.safetensors"))
        assert again.score(*arrays).tobytes() == scores.tobytes(), (method, name)
        assert again.record == detector.record
        checked += 1
    assert checked >= (2 if method in (ANY, "gallop@epochs=1") else 3)


def test_images_of_every_source_get_the_same_row(world, tmp_path):
    detector = detector_of(world, "tip_adapter", "mcm")
    folder = world.folder / "ood"
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in files:
            archive.write(file, f"inside/{file.name}")
    pl.DataFrame({"path": [str(file) for file in files], "split": ["train"] * 9}).write_csv(tmp_path / "list.csv")
    expected = table_of(world, "tip_adapter").filter(pl.col("dataset") == "strange").sort("path")
    pictures = [Image.open(file) for file in files]
    pixels = [np.asarray(picture.convert("RGB")) for picture in pictures]
    for source in (folder, tmp_path / "set.zip", tmp_path / "list.csv", files, pictures, pixels, files[:4] + files[4:]):
        found = detector.predict(source)
        order = range(9) if source is pixels else np.argsort([Path(path).name for path in found["path"]])
        assert found["score"].to_numpy()[order].tobytes() == expected["mcm"].to_numpy().tobytes()
    assert found.columns == ["path", "prediction", "class", "score", "is_ood", "threshold", "reason"]
    np.testing.assert_array_equal(found["is_ood"], found["score"] < detector.threshold)
    assert found["class"].to_list() == [detector.classnames[label] for label in found["prediction"]]


def test_unreadable_images_are_rows_with_a_reason(world, tmp_path):
    good = world.folder / "ood" / "été <b>0&.png"
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:500])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    detector = detector_of(world, "zero_shot", "mcm")
    found = detector.predict([tmp_path / "cut.png", good, tmp_path / "empty.jpg", tmp_path / "gone.png"])
    assert found["reason"].is_null().to_list() == [False, True, False, False]
    assert found["score"].is_null().to_list() == found["is_ood"].is_null().to_list() == [True, False, True, True]
    alone = detector.predict(tmp_path / "cut.png")
    assert alone["score"].to_list() == [None] and "cut.png" in alone["reason"][0]


# ------------------------------------------------------------------------------------------------------- threshold


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), min_size=1, max_size=40), st.floats(0.01, 1))
def test_the_threshold_is_the_highest_that_keeps_the_share(scores, keep):
    chosen = threshold.choose(np.array(scores), keep, "them")
    assert chosen.kept >= keep - 1e-9 and chosen.kept == np.mean(np.array(scores) >= chosen.value)
    assert all(np.mean(np.array(scores) >= higher) < keep for higher in scores if higher > chosen.value)
    assert 0 <= chosen.expected[0] <= chosen.expected[1] <= 1


@pytest.mark.parametrize(("keep", "count", "kept"), [(0.55, 100, 55), (0.95, 20, 19), (0.07, 100, 7), (1, 3, 3)])
def test_a_share_that_float64_cannot_hold_keeps_no_image_more(keep, count, kept):
    chosen = threshold.choose(np.arange(count, dtype=float), keep, "them")
    assert chosen.kept * count == pytest.approx(kept)


def test_the_interval_covers_the_share_of_new_images():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        chosen = threshold.choose(rng.normal(size=60), 0.9, "them")
        from scipy.stats import norm

        share = norm.sf(chosen.value)
        inside += chosen.expected[0] <= share <= chosen.expected[1]
    assert 930 <= inside <= 970


@pytest.mark.parametrize("method", ["zero_shot", "tip_adapter"])
@pytest.mark.parametrize("keep", [0.5, 0.95, 1])
def test_the_threshold_is_of_validation_images(world, method, keep):
    detector = detector_of(world, method, "energy", keep=keep)
    val = store.read_features(paths.features(world.results, "untrained", "animals", "val"))
    scores = detector.score(val.image_features)
    assert detector.threshold == np.sort(scores)[len(scores) - int(np.ceil(keep * 15))]
    assert detector.record.threshold.images == 15 and "val split" in detector.record.threshold.chosen_on
    assert detector.keeping(0.2).threshold == np.sort(scores)[12]
    with pytest.raises(OodgridError, match="share"):
        detector.keeping(1.5)


def test_without_a_val_split_training_images_beside_the_shots_choose(world):
    from oodgrid.detector.building import _held_out
    from oodgrid.fewshot import FewShot

    few_shot = FewShot(world.results, "untrained", world.experiment.id_dataset("animals"))
    few_shot.__dict__["val"] = None
    chosen = chosen_of(world, "tip_adapter", "mcm")
    held_out = _held_out(few_shot, chosen, {"logits"})
    drawn = few_shot.draw(SHOTS, SEED)
    assert sorted([*held_out.rows, *drawn.bank.rows]) == list(range(18))
    # these are of the same training images
    assert f"the fit may have used {len(drawn.val)} to choose its parameters" in held_out.description
    assert (
        "test split" in _held_out(few_shot, chosen, {"train"}).description
    )  # of which all training images are the bank


def test_images_that_a_score_draws_for_itself_choose_no_threshold(world):
    from oodgrid.detector.building import _held_out
    from oodgrid.fewshot import FewShot

    few_shot = FewShot(world.results, "untrained", world.experiment.id_dataset("animals"))
    chosen, drawn = chosen_of(world, "zero_shot", "react@bank=4"), few_shot.draw(4, 1)
    of_val = _held_out(few_shot, chosen, {"val@4-seed1", "bank@4-seed1"})
    assert f"of which the score uses {len(drawn.val)}" in of_val.description
    few_shot.__dict__["val"] = None
    held_out = _held_out(few_shot, chosen, {"bank@4-seed1"})
    assert sorted([*held_out.rows, *few_shot.draw(4, 1).bank.rows]) == list(range(18))
    assert "uses" not in held_out.description


@pytest.mark.parametrize(("method", "shots", "scored", "users"), [
    ("tip_adapter", 4, 0, ["the fit"]), ("any", 4, 0, []), ("zero_shot", 0, 0, []),
    ("any", 4, 40, ["the score"]), ("coop", 4, 40, ["the fit", "the score"]),
])  # fmt: skip
def test_who_may_have_used_the_held_out_images_is_said_of_those_alone(method, shots, scored, users):
    from oodgrid.detector.building import _used

    said = _used(SimpleNamespace(method=method, shots=shots), 40, scored)
    assert [user for user in ("the fit", "the score") if user in said] == users
    assert bool(said) == bool(users) and _used(SimpleNamespace(method=method, shots=shots), 0, 0) == ""


# ---------------------------------------------------------------------------------------------------- taken away


def test_an_exported_detector_needs_no_experiment_no_torch_and_no_pickle(world, tmp_path):
    detector = detector_of(world, "tip_adapter", "mcm")
    file = detector.save(tmp_path / "tip.safetensors")
    features = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['open_clip'] = None\n"
        "import json, numpy as np, oodgrid\n"
        "detector = oodgrid.Detector.load('tip.safetensors')\n"
        "print(json.dumps(detector.score(np.load('features.npy')).tolist()))\n"
        "try: detector.predict(np.zeros((40, 40, 3), np.uint8))\n"
        "except oodgrid.OodgridError as error: print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    scores, line = ran.stdout.splitlines()
    assert json.loads(scores) == detector.score(features).tolist()
    assert "pip install 'oodgrid[encode]'" in line
    metadata = json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")])["__metadata__"]
    said = json.loads(metadata["oodgrid"])
    assert said["classnames"] == ["owl", "red fox", "sea otter"] and said["threshold"]["images"] == 15
    assert said["encoder"]["weights_sha256"] and said["run"]["oodgrid"] == oodgrid.__version__


def test_files_that_are_no_detector_are_refused_in_one_line(world, tmp_path):
    detector = detector_of(world, "zero_shot", "mcm")
    file = detector.save(tmp_path / "it.safetensors")
    with pytest.raises(OodgridError, match="there already"):
        detector.save(file)
    with pytest.raises(OodgridError, match=r"NAME\.safetensors"):
        detector.save(tmp_path / "it.pkl")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    (tmp_path / "cut.safetensors").write_bytes(data)
    store.write_arrays(tmp_path / "other.safetensors", {"a": np.zeros(3)})
    for name, line in (("cut", "checksum"), ("other", "no detector"), ("none", "missing|does not exist")):
        with pytest.raises(OodgridError, match=line) as error:
            Detector.load(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(error.value)


def test_another_backbone_is_refused_and_weights_may_lie_elsewhere(world, tmp_path):
    import torch

    detector = detector_of(world, "zero_shot", "mcm")
    file = detector.save(tmp_path / "it.safetensors")
    weights = torch.load(detector.record.backbone["pretrained"], weights_only=True)
    torch.save(weights, tmp_path / "moved.pt")
    image = sorted((world.folder / "ood").iterdir())[0]
    moved = Detector.load(file, weights=tmp_path / "moved.pt").predict(image)
    assert moved["score"].to_list() == detector.predict(image)["score"].to_list()
    torch.save({name: 1.01 * value for name, value in weights.items()}, tmp_path / "other.pt")
    with pytest.raises(OodgridError, match="weights_sha256"):
        Detector.load(file, weights=tmp_path / "other.pt").predict(image)


@pytest.mark.parametrize(
    "features",
    [
        *(np.ones((2, 5)), np.ones(16), np.ones((2, 1, 16)), np.empty((0, 16)), [["a"] * 16], None, 3, {"a": 1}),
        *(np.eye(3, 16) * bad + np.eye(3, 16, 1) for bad in (np.nan, np.inf, -np.inf, 1e39, -1e300)),
        *(np.eye(3, 16) * scale * [[1], [0], [1]] for scale in (1, 1e30)),
        *(np.zeros((1, 16)), np.full((1, 16), 1e-300)),  # which float32 does not tell from zeros
    ],
)
def test_features_that_are_none_are_refused_in_one_line(world, features):
    with pytest.raises(OodgridError, match=r"detector zero_shot \+ mcm: features") as error:
        detector_of(world, "zero_shot", "mcm").score(features)
    assert "\n" not in str(error.value)


def test_a_feature_file_stands_where_features_do(world, tmp_path, make_features):
    detector, file = (
        detector_of(world, "gallop@epochs=1", "mcm"),
        paths.features(world.results, "untrained", "strange", "test"),
    )
    features = store.read_features(file)
    local = store.read_local_rows(file, np.arange(len(features.labels)))
    expected = detector.score(features.image_features, local)
    for path in (file, str(file)):
        assert detector.score(path).tobytes() == expected.tobytes()
    plain = detector_of(world, "zero_shot", "mcm")
    assert plain.score(file).tobytes() == plain.score(features).tobytes()
    with pytest.raises(OodgridError, match=r"nowhere\.h5 is missing"):
        plain.score(tmp_path / "nowhere.h5")
    (tmp_path / "rows.npy").write_bytes(b"no HDF5")
    with pytest.raises(OodgridError, match=r"rows\.npy"):
        plain.score(str(tmp_path / "rows.npy"))
    encoder = {**features.provenance["backbone"], "weights_sha256": "of others"}
    other = make_features(3, 16, provenance={**features.provenance, "backbone": encoder})
    store.write_features(tmp_path / "other.h5", other)
    with pytest.raises(OodgridError, match=r"what encoded .*other.h5 is not what encoded the experiment: .*of others"):
        plain.score(tmp_path / "other.h5")


@pytest.mark.parametrize("keep", ["0.9", None, True, np.nan, 0, -1, 95, 1.0000001, [0.9], np.array([0.9, 0.8])])
def test_what_is_no_share_is_refused_in_one_line(world, keep):
    with pytest.raises(OodgridError, match="is no share of ID images") as error:
        detector_of(world, "zero_shot", "mcm").keeping(keep)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"method": "tip_adaptor", "score": "mcm"}, "did you mean 'tip_adapter'"),
        ({"method": "tip_adapter", "score": "mcn"}, "did you mean 'mcm'"),
        ({"method": "tip_adapter", "score": "adaneg@labels=others"}, "transductive: its value"),
        ({"method": "tip_adapter", "score": "mcm", "shots": 3}, "the experiment has no shots 3: choose of"),
        ({"shots": 3}, "the experiment has no shots 3: choose of"),
        ({"seed": 9}, "the experiment has no seed 9: choose of"),
        ({"method": "tip_adapter", "score": "mcm", "seed": 9}, "the experiment has no seed 9: choose of 1"),
        ({"method": "zero_shot", "score": "mcm", "shots": 4}, "learns from no shots"),
        ({"backbone": "untraind"}, "did you mean 'untrained'"),
        ({"id_dataset": "x"}, "known: animals"),
    ],
)
def test_what_the_experiment_has_not_is_said_in_one_line(world, wanted, line):
    with pytest.raises(OodgridError, match=re.escape(line)) as error:
        choose(world.results, world.experiment, Wanted(**wanted))
    assert "\n" not in str(error.value)


def test_of_several_backbones_one_is_asked_for(world):
    both = [world.experiment.backbones[0], world.experiment.backbones[0].model_copy(update={"name": "other"})]
    experiment = world.experiment.model_copy(update={"backbones": both})
    with pytest.raises(OodgridError, match="choose one by --backbone, of untrained, other"):
        choose(world.results, experiment, Wanted(method="zero_shot", score="mcm"))


def test_the_proposed_is_the_best_of_the_comparisons(world):
    table = store.read_table(paths.comparisons(world.results, "mini"))[0]
    table = table.filter(pl.col("scope") == "overall", pl.col("metric") == "auroc", pl.col("against") == "best",
                         ~pl.col("transductive"))  # fmt: skip
    row = table.filter("is_best").row(0, named=True)
    best = choose(world.results, world.experiment, Wanted())
    assert (best.method, best.score.listed("score"), best.shots) == (row["method"], row["score"], row["shots"])
    assert f"best of {len(table)} detectors at their most shots by" in best.why
    assert f"{table['in_best_set'].sum() - 1 or 'no'} other" in best.why and "made by OOD results" in best.why


def test_without_comparisons_it_is_the_best_mean_over_ood_sets_and_seeds(world, monkeypatch):
    monkeypatch.setattr(paths, "comparisons", lambda *_: Path("nowhere"))
    metrics = store.read_table(paths.metrics(world.results, "mini"))[0]
    metrics = metrics.filter(~pl.col("score").str.starts_with("adaneg"), pl.col("status") == "ok")
    of_each = metrics.group_by("method", "shots", "score").agg(pl.col("auroc").mean()).sort("auroc")
    best = choose(world.results, world.experiment, Wanted())
    row = of_each.filter(pl.col("method") == best.method, pl.col("score") == best.score.listed("score"),
                         pl.col("shots") == best.shots)  # fmt: skip
    assert row["auroc"][0] == pytest.approx(of_each["auroc"][-1])
    assert "made by OOD results" in best.why and best.seed in (0, 1)
    half = choose(world.results, world.experiment, Wanted(method="tip_adapter"))
    assert half.method == "tip_adapter" and "with method tip_adapter" in half.why


# --------------------------------------------------------------------------------------------------- command line


def test_the_command_line(world, tmp_path, capsys):
    images, tip = str(world.folder / "ood"), str(tmp_path / "tip.safetensors")
    named = ("--experiment", "mini", *world.options, "--method", "tip_adapter", "--score", "mcm", "--seed", "1")
    csv, parquet, page = (tmp_path / f"rows.{suffix}" for suffix in ("csv", "parquet", "html"))
    (tmp_path / "<script>alert(1)<").mkdir()
    broken = tmp_path / "<script>alert(1)<" / "img>.jpg"
    broken.touch()
    outs = [option for file in (csv, parquet, page) for option in ("--out", str(file))]
    assert main(["detect", *named, images, str(broken), *outs]) == 0
    assert "of 15 ID images" in capsys.readouterr().err
    found, read = pl.read_parquet(parquet), pl.read_csv(csv)
    assert found["score"].to_list() == read["score"].to_list() and len(found) == 10
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 9 and "<b>" not in html and "<script" not in html and "http" not in html
    order = [Path(path).name for path in found.sort("score", nulls_last=True)["path"]]
    folders = [images if name.endswith(".png") else broken.parent for name in order]
    shown = [html.index(f'path">{escape(str(Path(each, name)))}') for each, name in zip(folders, order, strict=True)]
    assert shown == sorted(shown)
    assert main(["detect", *named, images, "--out", str(csv)]) == 1
    assert "add --force" in capsys.readouterr().err

    assert main(["export", "detector", *named, tip]) == 0
    capsys.readouterr()
    assert main(["detect", "--detector", tip, images]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["path", "class", "score", "is_ood"] and len(printed) == 10
    assert main(["detect", "--detector", tip, "--shots", "4", images]) == 1
    assert "--shots" in capsys.readouterr().err
    assert main(["detect", "--experiment", "mini", *world.options]) == 0
    proposed = capsys.readouterr().out
    assert "made by OOD results" in proposed and "oodgrid detect --experiment mini --backbone untrained" in proposed


def test_where_no_image_can_be_read_the_command_fails(world, tmp_path, capsys):
    named = ("--experiment", "mini", *world.options, "--method", "zero_shot", "--score", "mcm")
    for name in ("cut.png", "empty.jpg"):
        (tmp_path / name).write_bytes(b"")
    rows = tmp_path / "rows.csv"
    assert main(["detect", *named, str(tmp_path / "cut.png"), str(tmp_path / "empty.jpg"), "--out", str(rows)]) == 1
    assert "error: 2 images, and none of them could be read: each row says why" in capsys.readouterr().err
    assert pl.read_csv(rows)["reason"].null_count() == 0
    assert main(["detect", *named, str(tmp_path / "cut.png")]) == 1
    printed = capsys.readouterr()
    assert "1 image, and it could not be read" in printed.err and "unreadable" in printed.out
    good = next((world.folder / "ood").iterdir())
    assert main(["detect", *named, str(tmp_path / "cut.png"), str(good)]) == 0
    assert "2 images" in (line := capsys.readouterr().err) and "1 could not be read" in line


def test_an_experiment_that_was_not_run_is_said_with_the_command_that_runs_it(world, tmp_path, monkeypatch, capsys):
    def line(*arguments):
        assert main(["detect", *arguments]) == 1
        return capsys.readouterr().err.strip().splitlines()[-1]

    monkeypatch.chdir(tmp_path)
    text = world.config.read_text(encoding="utf-8")
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine too.yaml").write_text(text.replace("experiment: mini", "experiment: mine"))
    (tmp_path / "experiments" / "broken.yaml").write_text("a: [")
    assert line("--experiment", "xyz") == (
        "oodgrid: error: no experiment was run in results: run snakemake first, or name its folder by --results"
    )
    command = "Run snakemake --cores 8 --configfile 'experiments/mine too.yaml' first"
    assert line("--experiment", "mine") == f"oodgrid: error: experiment mine was not run here. {command}"
    assert line("--experiment", "mien", *world.options).endswith("did you mean 'mini'?")
    assert line("--experiment", "mien").endswith("did you mean 'mine'?")
    metrics = paths.metrics(tmp_path / "results", "mine")
    metrics.parent.mkdir(parents=True)
    metrics.write_bytes(paths.metrics(world.results, "mini").read_bytes())
    where = "results/mine/metrics.parquet is there, but no fit"
    assert line("--experiment", "mine") == f"oodgrid: error: experiment mine was not run here: {where}. {command}"
    named = ("--config", "experiments/mine too.yaml", "--method", "zero_shot", "--score", "mcm")
    assert line(*named, str(world.folder / "ood")).endswith(f"{where}. {command}")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--experiment", "mni", "IMAGES"], "did you mean 'mini'"),
        (["IMAGES"], "name the experiment"),
        (["--experiment", "mini", "nowhere"], "nowhere does not exist"),
        (["--experiment", "mini", "EMPTY"], "holds no image"),
        (["--experiment", "mini", "IMAGES", "--out", "rows.xls"], "the suffix says the format"),
        (["--experiment", "mini", "--method", "zero_shot", "--score", "mcm", "IMAGES", "--keep", "95"], "no share"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(world, tmp_path, capsys, arguments, line):
    (tmp_path / "empty").mkdir()
    places = {"IMAGES": str(world.folder / "ood"), "EMPTY": str(tmp_path / "empty")}
    assert main(["detect", *world.options, *(places.get(each, each) for each in arguments)]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert line in said[-1] and sum("error" in each for each in said) == 1


def test_the_snippet_of_the_documentation(world, tmp_path, monkeypatch, capsys):
    detector_of(world, "tip_adapter", "mcm").save(tmp_path / "tip.safetensors")
    (tmp_path / "photos").symlink_to(world.folder / "ood")
    page = (ROOT / "docs" / "detector.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippet.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "detector.md", "exec"), {})
    assert "OOD below" in capsys.readouterr().out
