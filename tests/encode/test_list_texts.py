"""Label lists and shuffled prompts through a backbone: the texts of the model itself, in batches, kept and checked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from oodgrid import backbones, paths, plan, registry, store
from oodgrid.cli import main
from oodgrid.config import Backbone, Dataset, LabelList, parse
from oodgrid.encode import embedding, texts
from oodgrid.encode.exporting import export
from oodgrid.encode.importing import import_experiment, import_text
from oodgrid.encode.noise import encode_noise, noise_images
from oodgrid.encode.texts import encode_text_list, encode_texts
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.inspection import describe
from oodgrid.texts import SHUFFLED, shuffled

torch = pytest.importorskip("torch")

LIST = {
    "name": "far",
    "labels": {"noun": ["tree", "cat", "été"], "adjective": ["red"]},
    "templates": {"noun": ["a {}.", "the {}"], "adjective": ["a {} photo"]},
}


@pytest.fixture
def backbone(untrained):
    return Backbone(**untrained)


@pytest.fixture
def encoded(tmp_path, backbone, experiment_of):
    def make(**changes):
        entry = {**LIST, **changes}
        sets = [{"name": "pets", "folder": "nowhere", "classnames": ["Cat", "dog"], "ood": {"far": ["noise"]}}]
        experiment = parse(experiment_of(id_datasets=sets, label_lists=[entry]))
        path = encode_text_list(tmp_path, experiment, backbone, experiment.label_list("far"))
        assert path == tmp_path / "text/untrained/labels/far.h5"
        return store.read_texts(path)

    return make


def expected(backbone, prompts):
    """Return the embeddings of prompts, passed one by one."""
    loaded = backbones.load(backbone)
    with torch.inference_mode():
        found = [loaded.model.encode_text(loaded.tokenizer([p]).to(loaded.device), normalize=False) for p in prompts]
    return torch.cat(found).cpu().numpy()


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_labels_are_encoded_in_every_template_of_their_kind(encoded, backbone):
    found = encoded()
    assert found.text_features.shape == (2, 4, 16)
    assert (found.classnames, found.kinds) == (["tree", "cat", "été", "red"], ["noun"] * 3 + ["adjective"])
    close(found.text_features[0], expected(backbone, ["a tree.", "a cat.", "a été.", "a red photo"]))
    close(found.text_features[1], expected(backbone, ["the tree", "the cat", "the été", "a red photo"]))
    assert not np.allclose(np.linalg.norm(found.text_features, axis=2), 1)


def test_a_file_says_what_it_is(encoded):
    said = encoded().provenance
    labels = LabelList(**LIST)
    prompts = [["a tree.", "a cat.", "a été.", "a red photo"], ["the tree", "the cat", "the été", "a red photo"]]
    assert said["text"] == {**labels.identity, "label_list": "far", "count": 4, "texts_sha256": digest(prompts)}
    assert (said["encode_version"], said["normalised"]) == (plan.ENCODE_VERSION, False)
    assert said["backbone"]["model"] == "test-tiny"


def test_classes_of_an_id_set_are_dropped(encoded):
    found = encoded(drop_classes_of="pets")
    assert found.classnames == ["tree", "été", "red"]
    assert found.provenance["text"]["classes_sha256"] == digest(["Cat", "dog"])


def test_classes_of_an_imported_set_are_those_of_its_texts(tmp_path, backbone, experiment_of):
    np.save(tmp_path / "t.npy", np.ones((2, 16), np.float32))
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    import_text(tmp_path, "untrained", "pets", tmp_path / "t.npy", tmp_path / "names.txt", "{}")
    sets = [{"name": "pets", "imported": {}, "ood": {"far": ["noise"]}}]
    experiment = parse(experiment_of(id_datasets=sets, label_lists=[{**LIST, "drop_classes_of": "pets"}]))
    path = encode_text_list(tmp_path, experiment, backbone, experiment.label_list("far"))
    assert store.read_texts(path).classnames == ["tree", "été", "red"]


def test_labels_that_the_tower_cuts_are_counted_and_said(encoded, tmp_path, capsys):
    """Its 20 places hold 18 tokens of words."""
    assert "cut" not in encoded().provenance["text"]
    long = " ".join(["tree"] * 30)
    found = encoded(labels=["cat", long, long + " house", "tree"], templates=["a photo of a {}"])
    assert found.provenance["text"]["cut"] == {"labels": 2, "first": long}
    line = "label list far: 2 of 4 labels are longer than the text tower of untrained takes, and were cut, the first: "
    assert line in capsys.readouterr().err
    said = describe(tmp_path / "text/untrained/labels/far.h5")
    assert "cut:" in said
    assert "labels: 2" in said


def test_batches_and_chunks_change_nothing(encoded, monkeypatch, tmp_path):
    words = [f"word {k}" for k in range(23)]
    whole = encoded(labels=words, templates=["a {}", "the {}"])
    monkeypatch.setattr(texts, "ROWS", 8)
    monkeypatch.setattr(embedding, "BATCH", {"cpu": 4, "cuda": 4})
    (tmp_path / "text/untrained/labels/far.h5").unlink()
    for kept in (tmp_path / "kept").rglob("*.h5"):
        kept.unlink()
    parts = encoded(labels=words, templates=["a {}", "the {}"])
    close(parts.text_features, whole.text_features)
    assert parts.classnames == whole.classnames


def test_a_text_has_the_same_bits_wherever_it_stands_in_a_batch_of_one_size(encoded, monkeypatch):
    alone = encoded(labels=["tree"], templates=["a {}"])
    among = encoded(labels=["cat", "dog", "tree"], templates=["a {}"])
    np.testing.assert_array_equal(alone.text_features[0, 0], among.text_features[0, 2])


def test_a_run_that_was_broken_off_goes_on_with_its_last_chunk(encoded, monkeypatch):
    monkeypatch.setattr(texts, "ROWS", 4)
    words = [f"word {k}" for k in range(12)]
    embed, seen = texts.embed, []

    def breaking(loaded, given):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(list(given))
        return embed(loaded, given)

    monkeypatch.setattr(texts, "embed", breaking)
    with pytest.raises(KeyboardInterrupt):
        encoded(labels=words, templates=["a {}"])
    monkeypatch.setattr(texts, "embed", lambda loaded, given: seen.append(list(given)) or embed(loaded, given))
    found = encoded(labels=words, templates=["a {}"])
    assert seen == [[f"a {word}" for word in words[start : start + 4]] for start in (0, 4, 8)]
    monkeypatch.setattr(texts, "embed", embed)
    close(found.text_features, encoded(labels=words, templates=["a {}"]).text_features)


def test_a_file_that_was_deleted_is_had_back_without_encoding(encoded, tmp_path, monkeypatch):
    first = encoded()
    assert not list((tmp_path / "kept").rglob("*.safetensors"))  # chunks go once they are joined
    (tmp_path / "text/untrained/labels/far.h5").unlink()
    monkeypatch.setattr(texts, "embed", None)
    again = encoded()
    np.testing.assert_array_equal(first.text_features, again.text_features)


def test_a_label_that_the_backbone_cannot_embed_is_one_line(encoded, monkeypatch):
    embed = texts.embed
    monkeypatch.setattr(texts, "embed", lambda *given: embed(*given) * np.float32(np.nan))
    with pytest.raises(OodgridError, match=r"encoding: 4 of 4 feature rows are NaN .* row 0 \(a tree\.\)"):
        encoded()


def test_a_word_that_a_small_vocabulary_lacks_is_named(tmp_path, experiment_of):
    experiment = parse(experiment_of(label_lists=[{**LIST, "labels": ["zebra"], "templates": ["a {}."]}]))
    with pytest.raises(OodgridError, match=r"never saw the word 'zebra' of 'a zebra\."):
        encode_text_list(tmp_path, experiment, experiment.backbones[0], experiment.label_list("far"))


@pytest.mark.parametrize("name", ["concept-words", "concept-agents"])
def test_the_demos_lists_are_in_words_of_the_tiny_clip(tmp_path, experiment_of, name):
    experiment = parse(experiment_of())
    found = store.read_texts(
        encode_text_list(tmp_path, experiment, experiment.backbones[0], experiment.label_list(name))
    )
    assert found.text_features.shape[0] == 1
    from oodgrid.encode.concept_world import GROUPS

    assert not set(found.classnames) & set(GROUPS["id"])


# ---------------------------------------------------------------------------------------------- shuffled prompts


def test_shuffling_keeps_the_words_and_the_name_together():
    for variant in range(10):
        words = shuffled("a photo of a {}.", "sea lion", variant)
        assert "sea lion" in words
        assert sorted(words.replace("sea lion", "NAME").split()) == ["NAME", "a", "a", "of", "photo"]


def test_every_class_and_variant_has_an_order_of_its_own_and_keeps_it():
    orders = {
        (name, variant): shuffled("a photo of a {}.", name, variant).replace(name, "{}")
        for name in ("cat", "dog", "elk")
        for variant in range(10)
    }
    assert len(set(orders.values())) > 15  # of 60 that there are
    by_class = [tuple(orders[name, variant] for variant in range(10)) for name in ("cat", "dog", "elk")]
    assert len(set(by_class)) == 3
    assert shuffled("a photo of a {}.", "cat", 0) == "photo of a cat a"


def test_orders_are_drawn_evenly():
    first = [shuffled("b {} c", f"n{k}", 0).split()[0] for k in range(3000)]
    counts = [sum(word == w for word in first) for w in ("b", "c")]
    counts.append(3000 - sum(counts))
    assert max(abs(count - 1000) for count in counts) < 120  # 4.6 standard deviations


def test_shuffled_prompts_are_encoded_for_every_class(tmp_path, backbone):
    dataset = Dataset(name="d", folder="nowhere", classnames=["cat", "sea lion"], templates=["a photo of a {}.", "{}"])
    path = encode_texts(tmp_path, backbone, dataset, SHUFFLED)
    assert path == tmp_path / "text/untrained/d.shuffled.h5"
    found = store.read_texts(path)
    assert found.text_features.shape == (10, 2, 16)
    for variant in (0, 9):
        texts = [shuffled("a photo of a {}.", name, variant) for name in dataset.classnames]
        close(found.text_features[variant], expected(backbone, texts))
    assert found.kinds is None
    assert found.provenance["text"] == {**SHUFFLED.identity(dataset), "classnames": ["cat", "sea lion"]}
    plain = store.read_texts(encode_texts(tmp_path, backbone, dataset))
    assert not np.allclose(plain.text_features[0], found.text_features[0], atol=1e-4)


def test_kinds_of_texts_that_say_the_same_of_themselves_are_never_taken_for_each_other(tmp_path, backbone):
    """Their provenance is one; a file of results/kept may be served for a set of equal texts alone."""
    datasets = [Dataset(name=name, folder="nowhere", classnames=["cat", "sea lion"]) for name in ("one", "other")]

    def kind(prompt):
        return replace(
            SHUFFLED, suffix=f".{prompt[0]}", prompts=lambda _, names: [("{}", [prompt + name for name in names])]
        )

    kinds = [kind("a "), kind("the ")]
    files = [[encode_texts(tmp_path, backbone, dataset, source) for dataset in datasets] for source in kinds]
    found = [[store.read_texts(path) for path in row] for row in files]
    assert found[0][0].provenance == found[1][0].provenance
    for prompt, row in zip(("a ", "the "), found, strict=True):
        for each in row:
            close(each.text_features[0], expected(backbone, [f"{prompt}cat", f"{prompt}sea lion"]))
    assert len(list((tmp_path / "kept/encode").rglob("*.h5"))) == len(kinds)  # two sets of equal texts share one


# ------------------------------------------------------------------------------------------------------- imports


def test_texts_of_a_list_can_be_imported(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.save(tmp_path / "t.npy", values)
    (tmp_path / "l.csv").write_text("label,kind\ntree,noun\ntree,noun\nred,adjective\n")
    path = import_text(tmp_path, "b", "far", tmp_path / "t.npy", tmp_path / "l.csv", "the {}", of_list=True)
    assert path == paths.label_texts(tmp_path, "b", "far")
    found = store.read_texts(path)
    assert (found.classnames, found.kinds) == (["tree", "tree", "red"], ["noun", "noun", "adjective"])
    np.testing.assert_array_equal(found.text_features[0], values)
    assert found.provenance["normalised"] is False


def test_names_of_an_imported_list_may_be_unknown(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(3, dtype=np.float32))
    path = import_text(tmp_path, "b", "far", tmp_path / "t.npy", None, "the {}", of_list=True)
    assert store.read_texts(path).classnames == ["label 0", "label 1", "label 2"]
    (tmp_path / "l.txt").write_text("a\nb\n")
    with pytest.raises(OodgridError, match=r"holds 3 text features but .* 2 names"):
        import_text(tmp_path, "b", "far", tmp_path / "t.npy", tmp_path / "l.txt", "the {}", of_list=True)


def test_an_experiment_imports_the_lists_that_its_scores_name(tmp_path, shared, experiment_of, monkeypatch):
    detic = shared / "data" / "clip_vitb32_features" / "detic_text"
    entry = {
        "name": "lvis", "templates": ["a {}"],
        "imported": {
            "text": str(detic / "lvis_v1_clip_a+cname.npy"), "labels": str(detic / "lvis_v1_train_cat_info.json"),
        },
    }  # fmt: skip
    experiment = parse(experiment_of(label_lists=[entry]))
    monkeypatch.setattr(type(experiment), "wanted_lists", lambda self, scores=None: [self.label_list("lvis")])
    (path,) = import_experiment(tmp_path, experiment)
    found = store.read_texts(path)
    assert found.text_features.shape == (1, 1203, 512)
    assert found.classnames[:2] == ["aerosol_can", "air_conditioner"]
    plan.check_identities(tmp_path, experiment)


# ------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, experiment_of, write_yaml):
    """`oodgrid encode texts` for an experiment with scores that are given a list and shuffled prompts."""
    for kind in registry.PACKAGES:  # all imported before, so that none registers in what is thrown away
        registry.entries(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(known) for kind, known in registry._ENTRIES.items()})

    @registry.score(needs=("features", "prompt_variants"))
    def textual(features: np.ndarray, variants: np.ndarray, *, agents: registry.LabelList = "concept-agents"):
        """Of texts."""
        return features

    config = write_yaml(experiment_of(scores=["textual"]))

    def call(*options):
        status = main(["encode", "texts", "--config", str(config), "--results", str(tmp_path / "r"), *options])
        written = [line.removeprefix(f"wrote {tmp_path}/r/text/tiny/") for line in capsys.readouterr().out.splitlines()]
        return status, written

    return call


def test_encode_texts_makes_all_that_the_experiment_needs_or_one_of_them(command):
    assert command() == (0, ["concepts.h5", "concepts.shuffled.h5", "labels/concept-agents.h5"])
    assert command("--dataset", "concepts") == (0, ["concepts.h5"])
    assert command("--dataset", "concepts", "--shuffled") == (0, ["concepts.shuffled.h5"])
    assert command("--shuffled") == (0, ["concepts.shuffled.h5"])
    assert command("--label-list", "concept-words") == (0, ["labels/concept-words.h5"])


def test_the_command_line_imports_a_list(tmp_path, capsys):
    np.save(tmp_path / "t.npy", np.eye(2, dtype=np.float32))
    where = ["--backbone", "b", "--results", str(tmp_path / "r")]
    assert main(["import", "text", str(tmp_path / "t.npy"), *where, "--label-list", "far", "--template", "{}"]) == 0
    assert (tmp_path / "r/text/b/labels/far.h5").exists()
    assert main(["import", "text", str(tmp_path / "t.npy"), *where, "--label-list", "far", "--dataset", "d"]) == 1
    assert "of classes or of a list, not of both" in capsys.readouterr().err
    assert main(["import", "text", str(tmp_path / "t.npy"), *where, "--label-list", "no name"]) == 1
    assert "'no name' is no name" in capsys.readouterr().err


def test_a_list_is_exported_with_its_kinds(encoded, tmp_path):
    encoded()
    file = tmp_path / "text/untrained/labels/far.h5"
    with np.load(export(file, tmp_path / "far.npz")) as found:
        assert found["kinds"].tolist() == ["noun"] * 3 + ["adjective"]
        assert found["text_features"].shape == (2, 4, 16)
    table = pl.read_parquet(export(file, tmp_path / "far.parquet"))
    assert table["classnames"].to_list() == ["tree", "cat", "été", "red"] * 2
    assert table["kinds"].to_list() == (["noun"] * 3 + ["adjective"]) * 2


# -------------------------------------------------------------------------------------------------- images of noise


def test_images_of_noise_are_encoded_as_they_are(tmp_path, backbone, experiment_of):
    """Fifteen, of five kinds, in [0, 1]; the same every time; and a score may name them as it names any list."""
    experiment = parse(experiment_of(label_lists=[{"name": "noisy", "noise_images": 2}]))
    counts = {"noise-images": 3, "noisy": 2}
    for name, count in counts.items():
        found = store.read_texts(encode_text_list(tmp_path, experiment, backbone, experiment.label_list(name)))
        loaded = backbones.load(backbone)
        images = noise_images(count, loaded.input_shape)
        assert images.shape == (5 * count, *loaded.input_shape)
        assert (images.min(), images.max()) == (0, 1)
        assert set(np.unique(images[-count:])) == {0, 1}
        np.testing.assert_array_equal(images, noise_images(count, loaded.input_shape))
        with torch.inference_mode():
            wanted = loaded.encode_image(torch.from_numpy(images)).cpu().numpy()
        close(found.text_features[0], wanted)
        assert found.classnames[:2] == ["gaussian 1", "gaussian 2"]
        assert found.provenance["text"] == {"noise_images": count, "label_list": name, "count": 5 * count}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_images": 0}, "noise_images"), ({"noise_images": "3"}, "noise_images"),
        ({"noise_images": True}, "noise_images: a whole number is wanted"), ({"noise_images": 10**9}, "noise_images"),
        ({"noise_images": 3, "lower": True}, "label list noisy: lower is of texts: take it out"),
        ({"noise_images": 3, "templates": ["a {}"]}, "label list noisy: templates is of texts: take it out"),
        ({"noise_images": 3, "labels": ["a"]}, "label list noisy needs one source of .* labels and noise_images"),
    ],
)  # fmt: skip
def test_a_list_of_noise_that_is_none_is_refused(experiment_of, changes, message):
    with pytest.raises(OodgridError, match=message):
        parse(experiment_of(label_lists=[{"name": "noisy", **changes}]))


def test_noise_needs_an_encoder_of_images(tmp_path, experiment_of):
    words = SimpleNamespace(name="words", takes_images=False)
    with pytest.raises(OodgridError, match="noise-images is of images, and backbone words takes texts alone"):
        encode_noise(tmp_path, words, parse(experiment_of()).label_list("noise-images"))
