"""Pairs of an image and a text: tables, scenarios, what is refused, and the one file that holds both features."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import polars as pl
import pytest
from PIL import Image

from oodgrid import paths, plan, store
from oodgrid.config import Backbone, Dataset, load, parse
from oodgrid.encode.exporting import export
from oodgrid.encode.images import encode_images
from oodgrid.encode.importing import import_arrays, import_experiment, import_tip_adapter
from oodgrid.encode.scenarios import noisy_features, noisy_pixels, texts_of_others
from oodgrid.encode.sources import open_split, open_splits
from oodgrid.encode.verifying import check_sources
from oodgrid.inspection import verify
from tests.failing import failure

TINY = "tiny"
CAPTIONS = ["a red circle", "a blue square", "a green star", "a red circle on a dark background"]
LABELS = ["circle", "square", "star", "circle"]


@pytest.fixture
def table(tmp_path):
    """A folder with images, one of a name with spaces and accents, and a function that writes a table of them."""
    names = ["a.png", "sub/b c.png", "sub/é.png", "d.png"]
    (tmp_path / "sub").mkdir()
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    columns = {
        "image": names,
        "text": CAPTIONS,
        "label": LABELS,
        "kind": ["aligned", "aligned", "misaligned", "aligned"],
        "part": ["train", "val", "test", "test"],
    }

    def write(name="pairs.csv", **changes):
        frame = pl.DataFrame({key: value for key, value in {**columns, **changes}.items() if value is not None})
        file = tmp_path / name
        if name.endswith(".jsonl"):
            file.write_text("\n".join(json.dumps(row) for row in frame.to_dicts()), encoding="utf-8")
        elif name.endswith(".parquet"):
            frame.write_parquet(file)
        else:
            frame.write_csv(file, separator="\t" if name.endswith(".tsv") else ",")
        return str(file)

    return write


def dataset(file, **options):
    return Dataset.model_validate({"name": "mine", "pairs": {"file": file, **options}})


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv", "pairs.jsonl", "pairs.parquet"])
def test_every_format_gives_the_same_pairs(table, name):
    pairs = open_split(dataset(table(name)), "test")
    assert pairs.captions == CAPTIONS and pairs.thing == "pair"
    assert pairs.classnames == ["circle", "square"] and pairs.labels.tolist() == [0, 1, -1, 0]  # misaligned: no class
    assert [path.rpartition("#")[0] for path in pairs.paths] == ["a.png", "sub/b c.png", "sub/é.png", "d.png"]
    assert len(set(pairs.paths)) == 4 and all(pairs.read(row) for row in range(4))
    assert any("several kinds" in remark for remark in pairs.remarks)


def test_kinds_splits_and_archives(table, tmp_path):
    aligned = open_split(dataset(table(), kinds=["aligned"]), "test")
    assert aligned.kinds == ["aligned"] * 3 and "1 pair of another kind" in " ".join(aligned.remarks)
    spelt = table(kind=["Aligned", "Noisy ", "Mis-aligned", "aligned"], label=list("abcd"))
    assert open_split(dataset(spelt), "test").labels.tolist() == [0, -1, -1, 1]
    assert len(open_split(dataset(spelt, kinds=["aligned"]), "test")) == 2
    opened = open_splits(dataset(table(), split="part"))
    assert {split: len(pairs) for split, pairs in opened.items()} == {"train": 1, "val": 1, "test": 2}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as packed:
        for name in ("a.png", "sub/b c.png", "sub/é.png", "d.png"):
            packed.write(tmp_path / name, name)
    packed = open_split(dataset(table(), root=str(tmp_path / "all.zip")), "test")
    assert [packed.read(row) for row in range(4)] == [aligned.read(0), *map(packed.read, (1, 2)), aligned.read(2)]
    windows = open_split(dataset(table(image=["a.png", "sub\\b c.png", "sub\\é.png", "d.png"])), "test")
    assert windows.read(1) == packed.read(1) and any("read as with /" in remark for remark in windows.remarks)


def test_what_is_passed_over_or_twice_is_counted(table):
    file = table(
        image=["a.png", None, " ", "d.png", "a.png", "a.png"],
        text=["a red circle", "a star", "a star", "", "a red circle", "a blue square"],
        label=["circle"] * 6,
        kind=None,
        part=["train", "train", "train", "test", "test", "test"],
    )
    opened = open_splits(dataset(file, split="part", splits={"train": "train", "test": "test"}))
    remarks = " ".join(line for pairs in opened.values() for line in pairs.remarks)
    assert "passed over 2 rows without an image in pairs.csv, the first in line 3" in remarks
    assert "passed over 1 row without a text in pairs.csv, the first in line 5" in remarks
    assert "1 test pair is of another split too, as a.png" in remarks
    unlabelled = table(label=["circle", None, "NaN", "n/a"], kind=None)
    pairs = open_split(dataset(unlabelled), "test")
    assert pairs.labels.tolist() == [1, -1, 0, 2] and pairs.remarks == (
        "1 row of pairs.csv without label, the first in line 3: no class",
        "label in pairs.csv: 1 'NaN', 1 'n/a' taken as names of classes: leave cells empty that have none",
    )
    numbers = open_split(dataset(table("pairs.parquet", label=[0.0, np.nan, 1.0, None])), "test")
    assert numbers.labels.tolist() == [0, -1, -1, -1]  # the third is misaligned
    assert "2 rows of pairs.parquet without label, the first in line 2: no class" in numbers.remarks
    of_kinds = {"kind": ["aligned", "noisy", "misaligned", "new"], "label": ["circle", "nan", None, " "]}
    pairs = open_split(dataset(table(**of_kinds)), "test")  # of the second and the third no label counts
    assert pairs.classnames == ["circle"] and "label in" not in " ".join(pairs.remarks)
    assert "1 row of pairs.csv without label, the first in line 5: no class" in pairs.remarks
    aligned = open_split(dataset(table(**of_kinds), kinds=["Aligned"]), "test")
    assert aligned.remarks == ("passed over 3 pairs of other kinds",)
    gone = {"kind": ["aligned", "noisy", "misaligned", "noisy"], "label": [0.0, np.nan, 1.0, None]}
    pairs = open_split(dataset(table("pairs.parquet", **gone)), "test")
    assert "1 pair of a kind that is out-of-distribution by itself: no class" in pairs.remarks
    doubled = table(image=["a.png"] * 3, text=["one", "one", "two"], label=None, kind=None, part=None)
    assert "1 test pair repeats another, as a.png" in " ".join(open_splits(dataset(doubled))["test"].remarks)


@pytest.mark.parametrize(
    "changes, options, expected",
    [
        ({"image": None}, {}, "column of images"),
        ({"text": None}, {}, "column of texts"),
        ({}, {"image": "picture"}, "picture"),
        ({}, {"kind": "sort"}, "column of kinds"),
        ({}, {"kinds": ["alinged"]}, "no pair is of the kind 'alinged'; there are"),
        ({}, {"label": "class"}, "column of labels"),
        ({}, {"root": "/nowhere"}, "root /nowhere does not exist"),
        ({"text": [1, 2, 3, 4]}, {"format": "parquet"}, "is no text: name another column by text:"),
        ({"image": [1, 2, 3, 4]}, {"format": "parquet"}, "is no text: name another column by image:"),
        ({"image": [""] * 4}, {}, "holds no pair of its test split (passed over 4 rows without an image"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(table, changes, options, expected):
    name = "pairs.parquet" if options.get("format") == "parquet" else "pairs.csv"
    assert expected in failure(open_split, dataset(table(name, **changes), **options), "test")


def config(*ood, **id_set):
    entry = {"name": "seen", "concept_world": {"group": "id", "captions": True}, **id_set}
    sets = [*ood] or [{"name": "off", "pairs": {"of": "seen", "scenario": "misaligned"}}]
    return {
        "experiment": "e", "backbones": [TINY], "id_datasets": [{**entry, "ood": {"far": sets}}],
        "methods": ["zero_shot"], "scores": ["pair_cosine"],
    }  # fmt: skip


def made(**pairs):
    return {"name": "off", "pairs": {"of": "seen", "scenario": "misaligned", **pairs}}


@pytest.mark.parametrize(
    "ood, id_set, expected",
    [
        (made(of="sean"), {}, "did you mean 'seen'"),
        (made(scenario=None), {}, "write scenario: misaligned, new_domain or noisy"),
        (made(scenario="shuffled"), {}, "scenario"),
        (made(noise=0.1), {}, "noise is of scenario: noisy"),
        (made(scenario="noisy", noise=-1), {}, "greater than 0"),
        (made(seed=-1), {}, "greater than or equal to 0"),
        (made(file="t.csv"), {}, "file: or of:, not both"),
        (made(scenario="new_domain"), {}, "its pairs are those of the ID set itself"),
        (made(kind="x"), {}, "kind is of a table"),
        ({"name": "off", "pairs": {}}, {}, "write file: or of:"),
        ({"name": "off", "pairs": {"file": "t.txt"}}, {}, "a pair needs two"),
        ({"name": "off", "pairs": {"file": "t.csv", "header": False}}, {}, "give the table a first line"),
        ({"name": "off", "pairs": {"file": "t.csv", "seed": 3}}, {}, "write of: NAME"),
        ({"name": "off", "pairs": {"file": "t.csv", "image": "text"}}, {}, "are one column"),
        ({"name": "off", "pairs": {"file": "t.csv", "kind": None, "kinds": ["a"]}}, {}, "kinds are read from a column"),
        ({"name": "off", "pairs": {"hf": "somewhere"}}, {}, "write file: or of:"),
        (made(), {"concept_world": {"group": "id"}}, "seen has no pairs"),
        (made(), {"views": [{"family": "rrc08"}]}, "views is for images"),
        (made(), {"train": "drawn", "concept_world": {"group": "id", "captions": True, "train": 2, "val": 1}},
         "of pairs the whole training split is encoded"),
        ({**made(), "classnames": ["a", "b"]}, {}, "classnames are those of seen"),
        ({**made(), "splits": {"train": 2, "val": 2}}, {}, "splits are those of seen"),
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense_are_refused(ood, id_set, expected):
    raw = config(ood, **id_set)
    with pytest.raises(Exception) as caught:
        parse(raw)
    assert expected in str(caught.value)


def halves(of):
    world = {"name": "seen", "concept_world": {"group": "id", "captions": True}}
    raw = config()
    raw["id_datasets"] = [
        {
            **world,
            "classes": {"half": half},
            "ood": {"far": [{"name": f"off{half}", "pairs": {**made()["pairs"], **of}}]},
        }
        for half in (1, 2)
    ]
    return raw


def test_of_names_the_part_of_a_dataset_that_is_meant():
    """The ID set above where a bare name could be several, or the name that files have; else it is refused."""
    for of, expected in (({"of": "seen"}, [1, 2]), ({"of": "seen-half-2-seed-0"}, [2, 2])):
        sets = parse(halves(of)).id_datasets
        assert [each.ood.far[0].pairs_.source["classes"]["half"] for each in sets] == expected
    raw = halves({"of": "seen"})
    raw["id_datasets"].append({"name": "other", "concept_world": {"group": "unseen_both"}, "ood": {"far": [made()]}})
    line = failure(parse, raw)
    assert "could be those of seen-half-1-seed-0 or seen-half-2-seed-0: write which" in line


def test_scenarios_of_imports_have_no_noise_and_no_limit_that_would_do_nothing():
    def of_import(**more):
        raw = config({**made(), **more})
        del raw["id_datasets"][0]["concept_world"]
        raw["id_datasets"][0]["imported"] = {"tip_adapter": "/x", "pair_texts": {"features": "t.npy"}}
        return raw

    assert "limit is for samples" in failure(parse, of_import(limit=5))
    assert parse({**of_import(), "limit": 5}).dataset("off").limit is None  # that of all datasets is of none imported
    assert "noise is of scenario: noisy" in failure(parse, of_import(pairs=made(noise=3)["pairs"]))


def test_scenarios_are_made_of_other_pairs_and_have_no_class(tmp_path):
    world = {"group": "id", "captions": True, "train": 2, "val": 1, "test": 3}
    noisy = {"name": "grainy", "pairs": {"of": "seen", "scenario": "noisy", "noise": 0.2, "seed": 4}}
    experiment = parse(config(made(seed=2), noisy, concept_world=world))
    seen, off, grainy = (experiment.dataset(name) for name in ("seen", "off", "grainy"))
    assert off.split_names == grainy.split_names == ("train", "test")
    whole = open_split(seen, "test")
    mixed, again = (open_split(off, "test") for _ in range(2))
    own = dict(zip(whole.captions, whole.labels.tolist(), strict=True))
    assert mixed.captions == again.captions and mixed.paths == whole.paths
    assert all(own[text] != label for text, label in zip(mixed.captions, whole.labels.tolist(), strict=True))
    assert set(mixed.labels.tolist()) == {-1} and mixed.classnames is None and set(mixed.kinds) == {"misaligned"}
    noise = open_split(grainy, "test")
    assert noise.captions == whole.captions and set(noise.labels.tolist()) == {-1}
    assert np.array_equal(noise.read(3), noise.read(3)) and not np.array_equal(noise.read(3), whole.read(3))
    assert noise.sha256(3, whole.read(3)) == whole.sha256(3, whole.read(3)) != mixed.sha256(3, whole.read(3))


@pytest.mark.parametrize("seed", range(20))
def test_the_text_of_another_is_of_another_class_and_another_text(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, 4, 60)
    texts = [f"{label} {rng.integers(3)}" if rng.random() < 0.8 else "the same" for label in labels]
    rows = texts_of_others(labels, texts, seed, "here")
    assert np.array_equal(rows, texts_of_others(labels, texts, seed, "here"))
    for row, other in enumerate(rows.tolist()):
        assert texts[other] != texts[row] and (labels[row] == -1 or labels[other] != labels[row])
    assert len(set(rows.tolist())) > 20


def test_where_no_text_is_of_another_class_that_is_said():
    assert "one class" in failure(texts_of_others, np.zeros(4, int), list("abcd"), 0, "here")
    assert "say the class" in failure(texts_of_others, np.arange(4), ["a"] * 4, 0, "here")


def test_noise_is_as_strong_as_asked_and_an_images_own():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = noisy_pixels(grey, 0.1, 0, "a")
    assert noisy.dtype == np.uint8 and (noisy.astype(float) - 128).std() / 255 == pytest.approx(0.1, rel=0.05)
    assert np.array_equal(noisy, noisy_pixels(grey, 0.1, 0, "a"))
    assert not np.array_equal(noisy, noisy_pixels(grey, 0.1, 0, "b"))
    features = 7 * np.random.default_rng(0).normal(size=(50, 256)).astype(np.float32)
    noise = [noisy_features(features, 0.5, 1, split) - features for split in ("train", "test")]
    moved = np.linalg.norm(noise[0], axis=1) / np.linalg.norm(features, axis=1)
    assert moved.mean() == pytest.approx(0.5, rel=0.05)
    alike = (noise[0] * noise[1]).sum() / (np.linalg.norm(noise[0]) * np.linalg.norm(noise[1]))
    assert abs(alike) < 0.05  # else a fit would have seen the noise of test pairs


# ------------------------------------------------------------------------------------------------------ the file


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Captioned images of Concept World, and the same images without captions, through the tiny CLIP."""
    results = tmp_path_factory.mktemp("results")
    world = {"group": "id", "captions": True, "test": 1}
    for name, of in (("seen", world), ("bare", {"group": "id", "test": 1})):
        encode_images(results, load_backbone(), Dataset.model_validate({"name": name, "concept_world": of}))
    return results


def load_backbone():
    from oodgrid import catalogue

    return Backbone(name=TINY, **catalogue.entry("backbone", TINY))


def test_one_file_holds_both_features_row_by_row(encoded):
    from oodgrid import backbones
    from oodgrid.encode.embedding import embed

    pairs, bare = (store.read_features(paths.features(encoded, TINY, name, "test")) for name in ("seen", "bare"))
    assert np.array_equal(pairs.image_features, bare.image_features)  # a text beside it changes no bit of an image
    alone = [embed(backbones.load(load_backbone()), [text])[0] for text in list(pairs.texts)[:5]]
    np.testing.assert_allclose(pairs.text_features[:5], alone, atol=2e-6)
    assert bare.text_features is None and pairs.labels.tolist() == bare.labels.tolist()
    assert not (pairs.sha256 == bare.sha256).all(axis=1).any()
    verify(paths.features(encoded, TINY, "seen", "test"))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_exports_come_back_as_they_were(encoded, tmp_path, suffix):
    file = paths.features(encoded, TINY, "seen", "test")
    out = export(file, tmp_path / f"pairs{suffix}")
    (back,) = import_arrays(tmp_path, TINY, "back", out, "test")
    was, now = store.read_features(file), store.read_features(back)
    assert np.array_equal(was.image_features, now.image_features)
    assert np.array_equal(was.text_features, now.text_features)
    assert list(was.texts) == list(now.texts) and was.labels.tolist() == now.labels.tolist()


def test_a_broken_image_stops_or_is_left_out_with_its_text(table, tmp_path):
    file = table()
    (tmp_path / "d.png").write_bytes(b"no image")
    (tmp_path / "a.png").unlink()
    results, entry = tmp_path / "results", {"name": "mine", "pairs": {"file": file}}
    line = failure(encode_images, results, load_backbone(), Dataset.model_validate(entry))
    assert "on_error: skip" in line
    dataset = Dataset.model_validate({**entry, "on_error": "skip"})
    (written,) = encode_images(results, load_backbone(), dataset)
    pairs = store.read_features(written)
    assert list(pairs.texts) == CAPTIONS[1:3] and len(pairs.text_features) == 2
    assert [path.rpartition("#")[0] for path, _ in pairs.provenance["skipped"]] == ["a.png", "d.png"]
    table(text=["a red circle", "a red square", "a green star", "a red circle"])
    assert "texts of its pairs are others" in failure(check_sources, written)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"text_features": np.ones((3, 2, 4))}, "class texts go into a file of their own"),
        ({"text_features": np.ones((2, 4))}, "one row in each"),
        ({"text_features": np.ones((3, 5))}, "of one joint space"),
        ({"text_features": np.array([["a"] * 4] * 3)}, "real numbers"),
        ({"text_features": np.full((3, 4), np.nan)}, "NaN or infinite"),
        ({"texts": np.array(["a", "b"])}, "3 pairs but 2 texts"),
        ({"texts": np.array(["a", " ", "c"])}, "an empty text, the first in row 1"),
        ({"pair_kinds": np.array([["x"]] * 3)}, "list of texts"),
    ],
)
def test_imports_that_are_no_pairs_are_refused(tmp_path, changes, expected):
    arrays = {"image_features": np.ones((3, 4)), "text_features": np.ones((3, 4)), "labels": np.arange(3), **changes}
    np.savez(tmp_path / "pairs.npz", **arrays)
    assert expected in failure(import_arrays, tmp_path, TINY, "mine", tmp_path / "pairs.npz", "test")


def test_imported_pairs_and_scenarios_of_them(tmp_path):
    import torch

    rng = np.random.default_rng(0)
    cache, results = tmp_path / "cache", tmp_path / "results"
    cache.mkdir()
    labels, images = np.arange(12) % 3, rng.normal(size=(12, 8)).astype(np.float32)
    torch.save(torch.from_numpy(images), cache / "test_f.pt")
    torch.save(torch.from_numpy(labels), cache / "test_l.pt")
    torch.save(torch.from_numpy(images[:6].T.copy()), cache / "keys_2shots.pt")
    torch.save(torch.nn.functional.one_hot(torch.from_numpy(labels[:6])), cache / "values_2shots.pt")
    np.save(tmp_path / "text.npy", np.eye(3, 8, dtype=np.float32))
    (tmp_path / "names.txt").write_text("fox\nowl\nnewt\n")
    source = {"tip_adapter": str(cache), "pair_texts": {"features": str(tmp_path / "text.npy"),
                                                        "names": str(tmp_path / "names.txt")}}  # fmt: skip
    raw = config(made(seed=3), {"name": "grainy", "pairs": {"of": "seen", "scenario": "noisy"}})
    del raw["id_datasets"][0]["concept_world"]
    raw["id_datasets"][0]["imported"] = source
    (tmp_path / "c.yaml").write_text(json.dumps(raw))
    experiment = load(tmp_path / "c.yaml")
    import_experiment(results, experiment)
    files = [paths.features(results, TINY, name, "test") for name in ("seen", "off", "grainy")]
    seen, off, grainy = map(store.read_features, files)
    assert np.array_equal(seen.text_features, np.eye(3, 8)[labels]) and list(seen.texts)[:3] == ["fox", "owl", "newt"]
    assert (off.text_features.argmax(axis=1) != labels).all() and np.array_equal(off.image_features, images)
    assert np.array_equal(grainy.text_features, seen.text_features)
    assert not np.allclose(grainy.image_features, images)
    assert set(off.labels) == set(grainy.labels) == {-1} and paths.features(results, TINY, "off", "train").exists()
    plan.check_identities(results, experiment)
    (tmp_path / "text.npy").rename(tmp_path / "moved.npy")  # its content counts, and not where it lies
    place = {**source["pair_texts"], "features": str(tmp_path / "moved.npy")}
    moved = {**raw, "id_datasets": [{**raw["id_datasets"][0], "imported": {**source, "pair_texts": place}}]}
    plan.check_identities(results, parse(moved))
    np.save(tmp_path / "text.npy", np.eye(3, 8, dtype=np.float32)[::-1])
    assert "imported.pair_texts.features_sha256 is" in failure(plan.check_identities, results, experiment)
    (tmp_path / "moved.npy").replace(tmp_path / "text.npy")
    plan.check_identities(results, experiment)
    torch.save(torch.from_numpy(images[::-1].copy()), cache / "test_f.pt")
    import_tip_adapter(results, TINY, "seen", cache, pair_texts=experiment.dataset("seen").imported.pair_texts)
    line = failure(plan.check_identities, results, experiment)
    assert "misaligned pairs made of those of seen" in line and "holds others now: run oodgrid import" in line
    import_experiment(results, experiment)
    plan.check_identities(results, experiment)
    wrong = {**source, "pair_texts": {**source["pair_texts"], "row": 7}}
    raw["id_datasets"][0]["imported"] = wrong
    assert "row 7 is asked for" in failure(import_experiment, tmp_path / "other", parse(raw))
