"""WOOD and COOD on pairs: their losses against loops in float64, their identities, and what they learn on a toy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oodgrid import config, manifests, methods, paths, plan, registry, scores, store
from oodgrid.adapt.apply import applied, apply
from oodgrid.adapt.contract import Outliers, TextSide
from oodgrid.adapt.fit import fit
from oodgrid.adapt.pair_losses import cood, hinge
from oodgrid.errors import Skip
from oodgrid.score.run import score
from tests.adapt.plain import unit
from tests.failing import failure


def pairs_of(seed, count=6, width=5):
    rng = np.random.default_rng(seed)
    images, texts = (unit(rng.normal(size=(count, width))) for _ in range(2))
    labels = torch.tensor(rng.integers(0, 3, count))
    is_ood = torch.tensor(rng.random(count) < 0.4)
    is_ood[:2] = torch.tensor([False, True])
    return images, texts, labels, is_ood


def relu(value):
    return max(0.0, float(value))


def plain_hinge(images, texts, labels, is_ood, m):
    s, count = images @ texts.T, len(labels)
    above = [
        relu(m + s[i, j] - s[i, i]) + relu(m + s[j, i] - s[i, i])
        for i in range(count)
        for j in range(count)
        if not is_ood[i] and not is_ood[j] and labels[i] != labels[j]
    ]
    apart = [relu(m + s[o, o] - s[i, i]) for i in range(count) if not is_ood[i] for o in range(count) if is_ood[o]]
    return sum(above) / max(1, len(above)) + sum(apart) / max(1, len(apart))


def plain_cood(images, texts, is_ood, m):
    s, count = np.maximum((images @ texts.T).numpy(), 0), len(is_ood)
    own = [2 * m if is_ood[i] else s[i, i] for i in range(count)]
    terms = [
        relu(m + s[i, j] - own[i]) + relu(m + s[i, j] - own[j]) for i in range(count) for j in range(count) if i != j
    ]
    return sum(terms) / count**2


@pytest.mark.parametrize("seed", range(8))
def test_losses_against_loops_and_their_gradients(seed):
    images, texts, labels, is_ood = pairs_of(seed)
    for m in (0.1, 0.7):
        assert hinge(images, texts, labels, is_ood, m).item() == pytest.approx(
            plain_hinge(images, texts, labels, is_ood, m), rel=1e-12, abs=1e-15
        )
        assert cood(images, texts, is_ood, m).item() == pytest.approx(plain_cood(images, texts, is_ood, m), rel=1e-12)
    sides = (images.requires_grad_(True), texts.requires_grad_(True))
    assert torch.autograd.gradcheck(lambda a, b: hinge(a, b, labels, is_ood, 0.5), sides)
    assert torch.autograd.gradcheck(lambda a, b: cood(a, b, is_ood, 0.5), sides)


def test_the_hinge_is_zero_where_all_margins_are_kept_and_does_not_care_which_side_is_which():
    images = unit(np.eye(4))
    texts, is_ood, labels = unit(np.eye(4)[[0, 1, 3, 2]]), torch.tensor([False, False, True, True]), torch.arange(4)
    assert hinge(images, texts, labels, is_ood, 0.9).item() == 0
    assert hinge(images, images, labels, is_ood, 0.9).item() == pytest.approx(0.9)  # OOD pairs as alike as ID ones
    one, other, labels, is_ood = pairs_of(3)
    assert hinge(one, other, labels, is_ood, 0.3).item() == pytest.approx(
        hinge(other, one, labels, is_ood, 0.3).item(), rel=1e-12
    )
    same = torch.zeros_like(labels)
    nothing_ood = torch.zeros_like(is_ood)
    lone = hinge(one.requires_grad_(True), other, same, nothing_ood, 0.3)  # one class, no OOD: nothing to tell apart
    lone.backward()
    assert lone.item() == 0


def test_in_coods_loss_the_own_similarity_of_an_ood_pair_is_in_no_term():
    """As in its code: what is pushed apart is its two sides and all other sides of the batch."""
    images, texts, _, is_ood = pairs_of(1, count=2, width=4)
    is_ood = torch.tensor([False, True])
    others = torch.tensor([[0.0, 0.3, 0.4, 0.1], [0.0, 0.2, 0.5, 0.3]], dtype=torch.float64)
    moved = texts.clone()
    moved[1] = texts[1] + (others[1] - (others[1] @ images[0]) * images[0])  # its cosine with the other image stays
    assert cood(images, texts, is_ood, 0.2).item() == pytest.approx(cood(images, moved, is_ood, 0.2).item(), abs=1e-12)


# ------------------------------------------------------------------------------------------------------- the method


def method(**params):
    return registry.find("method", "wood").make(**params)


def data_of(few_shot, seed=1, classes=3, **changes):
    """Shots around class centres, each with a text near its image; two sets of outliers, one of them misaligned."""
    rng = np.random.default_rng(9)
    data = few_shot(shots=12, classes=classes, seed=seed)
    near = data.text.prototypes[data.train_labels] + 0.05 * rng.normal(size=data.train.shape)
    away, words = rng.normal(size=(2, 20, data.train.shape[1]))
    outliers = (
        Outliers("misaligned", data.train[:20], near[::-1][:20].astype(np.float32)),
        Outliers("away", (5 * away).astype(np.float32), words.astype(np.float32)),
    )
    values = {"train_texts": near.astype(np.float32), "outliers": outliers, **changes}
    return few_shot(shots=12, classes=classes, seed=seed, **values)


def fitted(data, **params):
    learner = method(epochs=5, lr=0.01, **params)
    learned = learner.fit(data)
    return learned, learner.classifier(learned.arrays, data.text)


def cosines(left):
    unit_sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (left["features"], left["pair_texts"])]
    return (unit_sides[0] * unit_sides[1]).sum(axis=1)


def test_untrained_maps_change_no_cosine_and_no_class(few_shot):
    data = data_of(few_shot)
    learned = method(epochs=1, lr=0.0).fit(data)
    left = method().classifier(learned.arrays, data.text).of_pairs(data.train, data.train_texts)
    raw = cosines({"features": data.train.astype(np.float64), "pair_texts": data.train_texts.astype(np.float64)})
    np.testing.assert_allclose(cosines(left), raw, atol=1e-12)
    classifier = method().classifier(learned.arrays, data.text)
    np.testing.assert_allclose(classifier.prototypes, data.text.prototypes, atol=1e-6)


@pytest.mark.parametrize("params", [{}, {"losses": "cood"}, {"modules": "contrastive"}, {"modules": "binary"}])
def test_training_is_seeded_and_tells_labelled_ood_pairs_from_matched_ones(few_shot, params):
    data = data_of(few_shot)
    learned, classifier = fitted(data, labelled=0.5, **params)
    again, _ = fitted(data, labelled=0.5, **params)
    assert all(np.array_equal(again.arrays[name], values) for name, values in learned.arrays.items())
    assert learned.info["losses"][-1] < learned.info["losses"][0]
    id_pairs = classifier.of_pairs(data.train, data.train_texts)
    ood = classifier.of_pairs(data.outliers[1].images, data.outliers[1].texts)
    assert ("pair_logits" in id_pairs) == (params.get("modules") != "contrastive")
    if "pair_logits" in id_pairs:
        assert id_pairs["pair_logits"].mean() > ood["pair_logits"].mean()
    if params.get("modules") != "binary" and params.get("losses") != "cood":  # there an OOD pair's cosine is in no term
        start = method(**params).classifier(method(lr=0, epochs=1, **params).fit(data).arrays, data.text)
        away = data.outliers[1].images, data.outliers[1].texts
        before = cosines(start.of_pairs(data.train, data.train_texts)).mean() - cosines(start.of_pairs(*away)).mean()
        assert cosines(id_pairs).mean() - cosines(ood).mean() > before + 0.02
    alone = classifier.of_pairs(data.train[3:4], data.train_texts[3:4])
    assert all(np.allclose(values[3:4], alone[name], rtol=1e-12) for name, values in id_pairs.items())


@pytest.mark.parametrize("labelled, expected", [(0.01, 2), (0.25, 18), (1.0, 40)])
def test_of_every_set_a_share_of_the_id_pairs_is_labelled_ood(few_shot, labelled, expected):
    """One at least, all of a set at most; another seed draws others."""
    data = data_of(few_shot)
    sample = method(labelled=labelled).sample(data)
    assert (sample.labels == -1).sum() == expected and len(sample.labels) == len(data.train) + expected
    turned = method(labelled=labelled).sample(data_of(few_shot, outliers=data.outliers[::-1]))
    assert np.array_equal(turned.images, sample.images)  # the order of OOD sets in a config says nothing
    one = method(labelled=labelled).sample(data_of(few_shot, outliers=data.outliers[:1])).images[len(data.train) :]
    assert np.array_equal(one, sample.images[-len(one) :])  # nor what other sets there are
    other = method(labelled=labelled).sample(data_of(few_shot, seed=2))
    assert np.array_equal(other.images, sample.images) == (labelled == 1.0)


def test_without_class_names_there_are_no_prototypes_and_pairs_are_scored_all_the_same(few_shot):
    data = data_of(few_shot)
    learned, _ = fitted(data)
    classifier = method().classifier(learned.arrays, TextSide(np.empty((0, 0), np.float32), (), lambda: None))
    assert classifier.prototypes.shape == (0, data.train.shape[1])
    assert len(classifier.of_pairs(data.train, data.train_texts)["pair_logits"]) == len(data.train)


@pytest.mark.parametrize(
    "params, name",
    [
        ({"modules": "contrastive", "weight": 0.5}, "weight"),
        ({"modules": "contrastive", "dropout": 0}, "dropout"),
        ({"modules": "binary", "margin": 0.1}, "margin"),
        ({"modules": "binary", "losses": "cood"}, "losses"),
    ],
)
def test_parameters_of_a_module_that_is_left_out_are_refused(params, name):
    assert f"does not read {name}: take {name} out" in failure(method, **params)
    raw = {
        "experiment": "e", "backbones": ["tiny"], "id_datasets": [{"name": "concepts", "ood": {"far": ["noise"]}}],
        "methods": [{"name": "wood", **params}], "scores": ["pair_cosine"],
    }  # fmt: skip
    assert f"does not read {name}" in failure(config.parse, raw)


def test_images_alone_are_no_pairs(few_shot):
    data = data_of(few_shot)
    _, classifier = fitted(data)
    with pytest.raises(Skip, match="pairs"):
        applied(classifier, "features", data.train)


def test_the_library_fits_pairs_and_scores_them(few_shot):
    data = data_of(few_shot)
    model = methods.wood(
        data.train, data.train_labels, train_texts=data.train_texts, outlier_features=data.outliers[1].images,
        outlier_texts=data.outliers[1].texts, epochs=2, labelled=0.5,
    )  # fmt: skip
    left = model.of_pairs(data.train, data.train_texts)
    values, skipped = scores.all_scores(**left, names=["pair_cosine", "pair_fused", "pair_probability"])
    assert not skipped and all(len(each) == len(data.train) for each in values.values())
    assert "pairs" in failure(model.transform, data.train)
    assert "none on pairs" in failure(methods.prototype(data.train, data.train_labels).of_pairs, data.train, data.train)


# ------------------------------------------------------------------------------------------------------ the stages


def pair_file(mini, name, split, rows, labels, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 16)).astype(np.float32)
    store.write_features(
        paths.features(mini.results, "mini", name, split),
        store.NewFeatures(
            values, np.full(rows, labels) if isinstance(labels, int) else labels, [f"{name}/{k}" for k in range(rows)],
            np.zeros((rows, 32), np.uint8), {"backbone": {"name": "mini"}, "split": split, "classnames": None},
            text_features=values + 0.1 * rng.normal(size=values.shape).astype(np.float32),
        ),
    )  # fmt: skip


def test_captions_without_classes_are_drawn_as_one_and_scored(mini):
    """A captioned set has no classes: nothing that needs some runs, and pairs do."""
    for split, rows in (("train", 40), ("test", 12)):
        pair_file(mini, "coco", split, rows, -1, len(split))
        pair_file(mini, "cars", split, rows, -1, 9)
    made = config.parse(
        {
            "experiment": "mini", "backbones": [mini.backbone], "methods": [{"name": "wood", "epochs": 2}, "prototype"],
            "id_datasets": [{"name": "coco", "imported": {}, "text": "visual_prototypes",
                             "ood": {"far": [{"name": "cars", "imported": {}}]}}],
            "scores": ["mcm", "pair_cosine", "pair_fused"], "shots": [20], "seeds": [1],
        }
    )  # fmt: skip
    label = made.methods[0].listed("method")
    for step in (fit, apply, score):
        path = step(mini.results, made, "mini", "coco", label)
    table, about = manifests.read_table(path, manifests.ScoreTable)
    assert [each.status for each in about.fits] == ["ok"] and set(about.fits[0].skipped) == {"mcm"}
    assert len(table) == 24 and table["pair_fused"].null_count() == table["pair_cosine"].null_count() == 0
    assert len(plan.outlier_files(mini.results, made, "mini", "coco", label)) == 1
    assert not plan.outlier_files(mini.results, made, "mini", "coco", "prototype")


def test_on_images_it_is_skipped_and_so_without_labelled_ood_pairs(mini):
    assert "are no pairs" in fits_of(mini, mini.experiment("wood"))
    pair_file(mini, "pets", "train", 40, np.repeat(np.arange(4), 10), 1)
    assert "no OOD set of pets has a training split of pairs" in fits_of(mini, mini.experiment("wood"))


def fits_of(mini, experiment):
    manifest = manifests.read(fit(mini.results, experiment, "mini", "pets", "wood"), manifests.Fitted)
    assert {each.status for each in manifest.fits} == {"skipped"}
    return manifest.fits[0].reason
