"""Features of every layer of an encoder of texts: encoded once, kept in the feature file, read by rows, and scored."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from oodgrid import paths, plan, scores, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.config import Backbone, parse
from oodgrid.detector import from_experiment
from oodgrid.detector.choosing import Chosen
from oodgrid.encode.drawn import encode_drawn
from oodgrid.encode.embedding import embed, embed_layers
from oodgrid.encode.images import encode_images
from oodgrid.encode.texts import encode_texts
from oodgrid.evaluate.run import evaluate
from oodgrid.identity import differences
from oodgrid.inspection import describe, verify
from oodgrid.score.run import score
from tests.encode.test_text_samples import LONG, encoder, entry, expected, experiment, load, save_encoder, talk  # noqa: F401
from tests.failing import failure

pytest.importorskip("transformers")
SCORES = [{"name": "mdf", "bank": ["shots", "train"]}, {"name": "mdf", "combine": "mean"}, "knn"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_every_layer_is_that_of_the_library(tmp_path, kind, pooling):
    loaded = load(save_encoder(tmp_path, kind), pooling=pooling)
    texts = ["play a song", "rain", LONG, "send money to mum ."]
    layers = embed_layers(loaded, texts)
    assert layers.shape == (4, 3, 16) and layers.dtype == np.float32
    np.testing.assert_array_equal(layers[:, -1], embed(loaded, texts))
    for row, text in enumerate(texts):
        for layer in range(3):
            np.testing.assert_allclose(layers[row, layer], expected(loaded, text, pooling, layer), atol=2e-6)


@pytest.fixture(scope="module")
def layered(tmp_path_factory, talk, encoder):  # noqa: F811
    """Return a results folder and its experiment."""
    folder = tmp_path_factory.mktemp("results")
    backbones = [entry(encoder, max_length=24, layer_features=True)]
    config = experiment(talk, encoder, backbones=backbones, scores=SCORES, methods=["prototype", "mlp_head"])
    for dataset in config.datasets():
        encode_images(folder, config.backbones[0], dataset)
    encode_texts(folder, config.backbones[0], config.id_datasets[0])
    return folder, config


def test_a_file_holds_them_beside_its_features(layered, encoder):  # noqa: F811
    results, _ = layered
    path = paths.features(results, "mini-bert", "talk", "test")
    features, layers = store.read_features(path), store.open_layer_features(path)
    assert layers.shape == (9, 3, 16)
    np.testing.assert_array_equal(layers[:], embed_layers(load(encoder, max_length=24), features.texts))
    np.testing.assert_array_equal(layers[np.array([5, 2])], layers[:][[5, 2]])
    np.testing.assert_array_equal(features.image_features, layers[:][:, -1])
    assert "every layer" in features.provenance["layer_features"]
    assert features.provenance["backbone"]["asked"]["layer_features"] is True
    assert "layer_features" in describe(path)
    verify(path)
    store.read_sources(path), store.read_labels(path), store.open_features(path)


def test_a_changed_bit_of_a_layer_is_found(layered, tmp_path):
    path = paths.features(layered[0], "mini-bert", "talk", "test")
    first = store.open_layer_features(path)[0, 0].tobytes()
    raw = bytearray(path.read_bytes())
    raw[raw.find(first)] ^= 1
    (tmp_path / "test.h5").write_bytes(raw)
    assert "checksum of /layer_features" in failure(store.open_layer_features, tmp_path / "test.h5")


def test_they_are_a_part_of_the_identity_where_asked_for_alone(encoder):  # noqa: F811
    plain, layered = (Backbone(**entry(encoder, **more)).identity for more in ({}, {"layer_features": True}))
    assert len(differences(plain, layered)) == 1
    assert "layer_features" not in plain["asked"]
    assert differences(plain, Backbone(**entry(encoder, layer_features=False)).identity) == []


def test_another_kind_of_backbone_has_none(talk, encoder):  # noqa: F811
    clip = {"name": "b", "model": "ViT-B-32-quickgelu", "pretrained": "openai", "layer_features": True}
    line = failure(experiment, talk, encoder, backbones=[clip])
    assert "layer_features is for transformers: take it out" in line


def test_from_texts_to_scores(layered):
    results, config = layered
    plan.check_identities(results, config)
    for method in ("prototype", "mlp_head"):
        fit(results, config, "mini-bert", "talk", method)
        apply(results, config, "mini-bert", "talk", method)
        score(results, config, "mini-bert", "talk", method)
    score(results, config, "mini-bert", "talk", "any")
    metrics = pl.read_parquet(evaluate(results, config)[0]).filter(pl.col("score").str.starts_with("mdf"))
    rows = {(row["method"], row["score"]): row for row in metrics.iter_rows(named=True)}
    assert {method for method, _ in rows} == {"any", "mlp_head"}
    assert all(row["status"] == ("ok" if method == "any" else "skipped") for (method, _), row in rows.items())
    assert all("leaves features alone" in row["reason"] for (method, _), row in rows.items() if method == "mlp_head")
    table = pl.read_parquet(paths.scores(results, "talks", "mini-bert", "talk", "any"))
    table = table.filter(pl.col("dataset") == "oos")
    train, oos = (paths.features(results, "mini-bert", *where) for where in (("talk", "train"), ("oos", "test")))
    bank, layers = store.read_features(train), {file: store.open_layer_features(file)[:] for file in (train, oos)}
    alone = scores.mdf(
        layer_features=layers[oos], train_layer_features=layers[train], train_features=bank.image_features,
        train_labels=bank.labels,
    )  # fmt: skip
    np.testing.assert_allclose(table["mdf@bank=train"], alone, rtol=1e-12)


def test_it_is_no_detector_of_images(layered):
    results, config = layered
    chosen = Chosen("mini-bert", "talk", "any", config.scores[0], 2, 1)
    assert "looks at all layers of texts" in failure(from_experiment, results, config, chosen)


def test_without_layers_the_score_is_skipped_with_its_reason(tmp_path, talk, encoder):  # noqa: F811
    config = experiment(talk, encoder, scores=["mdf"], methods=["prototype"])
    for dataset in config.datasets():
        encode_images(tmp_path, config.backbones[0], dataset)
    score(tmp_path, config, "mini-bert", "talk", "any")
    assert "layer_features: true" in describe(paths.scores(tmp_path, "talks", "mini-bert", "talk", "any"))


def test_what_the_draws_take_has_its_layers(layered, tmp_path):
    results, config = layered
    whole = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    whole["id_datasets"][0]["train"], whole["scores"] = "drawn", ["mdf"]
    config = parse(whole)
    path = encode_drawn(tmp_path, config.backbones[0], config.id_datasets[0])
    drawn, layers = store.read_features(path), store.open_layer_features(path)
    train = store.open_layer_features(paths.features(results, "mini-bert", "talk", "train"))
    np.testing.assert_array_equal(layers[:], train[drawn.rows])
