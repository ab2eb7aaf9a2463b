"""POORE: its loss against a naive one in float64, what it degenerates to, and that training parts both kinds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oodgrid import methods, registry
from oodgrid.adapt.contract import PseudoTexts, class_means, normalise
from oodgrid.config import Choice
from oodgrid.config.pseudo_ood import pseudo_ood_name
from oodgrid.errors import OodgridError
from tests.failing import failure

torch = pytest.importorskip("torch")


def fitted(data, name="poore", **params):
    made = registry.find("method", name).make(**params)
    learned = made.fit(data)
    return learned, made.classifier(learned.arrays, data.text)


def with_pseudo(data, seed=0, lacking=2, each=1):
    """Shots of which all but the first `lacking` gave texts near the middle of all classes."""
    rows = np.repeat(np.arange(lacking, len(data.train)), each)
    noise = np.random.default_rng(seed).normal(size=(len(rows), data.train.shape[1]))
    features = data.train.mean(axis=0) + 0.3 * data.train[rows] + 0.1 * noise
    return replace(data, pseudo_ood=PseudoTexts(rows, features.astype(np.float32)))


def naive(data, first, second, prototypes, weight, margin, tau):
    """The loss of one batch of all shots, by loops, in float64."""

    def head(x):
        x = normalise(np.asarray(x, np.float64))
        return normalise(x + np.maximum(x @ first.T, 0) @ second.T)

    z, o, p = head(data.train), head(data.pseudo_ood.features), normalise(prototypes)
    classified, pairs = [], []
    for x, label in zip(z, data.train_labels, strict=True):
        logits = np.array([x @ each for each in p]) / tau
        classified.append(np.log(np.exp(logits).sum()) - logits[label])
    for row, other in zip(data.pseudo_ood.rows, o, strict=True):
        own, nearest = z[row] @ p[data.train_labels[row]], max(other @ each for each in p)
        pairs.append(max(0.0, margin - own + nearest))
    return np.mean(classified) + weight * np.mean(pairs)


@pytest.mark.parametrize("absent", [{"pseudo_ood": None}, {"weight": 0.0}])
def test_without_its_texts_it_is_the_head_under_cross_entropy_to_the_bit(few_shot, absent):
    data = few_shot(shots=4)
    plain, plain_classifier = fitted(data, "mlp_head", contrast=0.0, epochs=7, batch=5)
    made, classifier = fitted(with_pseudo(data), epochs=7, batch=5, **absent)
    assert made.info["losses"] == plain.info["losses"]
    assert {name: a.tobytes() for name, a in made.arrays.items()} == {n: a.tobytes() for n, a in plain.arrays.items()}
    assert classifier.change(data.val).tobytes() == plain_classifier.change(data.val).tobytes()
    other, _ = fitted(with_pseudo(data), epochs=7, batch=5)
    assert not np.array_equal(other.arrays["prototypes"], plain.arrays["prototypes"])


def test_without_weight_it_asks_for_no_texts(few_shot):
    data = few_shot(shots=4)
    arrays = (data.train, data.train_labels)
    made = methods.poore(*arrays, weight=0, epochs=7, batch=5)
    plain = methods.mlp_head(*arrays, contrast=0.0, epochs=7, batch=5)
    assert made.transform(data.val).tobytes() == plain.transform(data.val).tobytes()
    with pytest.raises(OodgridError, match="method poore: pseudo_features is None, and it is needed"):
        methods.poore(*arrays)
    names = [pseudo_ood_name(Choice(name="poore", weight=weight)) for weight in (0, 1)]
    assert [*names, pseudo_ood_name(Choice(name="coop"))] == [None, "keywords", None]


@pytest.mark.parametrize(("weight", "margin", "each"), [(1.0, 0.2, 1), (3.0, 0.5, 2), (0.5, 0.0, 1)])
def test_the_loss_at_the_start_is_the_naive_one(few_shot, weight, margin, each):
    data = with_pseudo(few_shot(shots=3), each=each)
    learned, _ = fitted(data, epochs=1, lr=0, weight=weight, margin=margin, tau=0.2)
    width, means = data.train.shape[1], class_means(data.train, data.train_labels, data.classes)
    zeros = np.zeros((width, width))
    expected = naive(data, zeros, zeros, means.astype(np.float64), weight, margin, 0.2)
    assert learned.info["losses"][0] == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_naive_loss(few_shot):
    """By central differences of every prototype, and of some entries of both layers."""
    from oodgrid.adapt.methods.mlp_head import MlpHead
    from oodgrid.adapt.methods.poore import Poore

    data, rng = with_pseudo(few_shot(shots=3)), np.random.default_rng(1)
    data = replace(data, train=data.train.astype(np.float64), pseudo_ood=replace(data.pseudo_ood, features=
                   data.pseudo_ood.features.astype(np.float64)))  # fmt: skip
    width = data.train.shape[1]
    at = [0.3 * rng.normal(size=(width, width)) for _ in range(2)] + [rng.normal(size=(data.classes, width))]
    poore, parameters = Poore(weight=2.0, margin=0.6, tau=0.3), [torch.tensor(a, requires_grad=True) for a in at]
    beside = poore._separation_of(data.pseudo_ood, data.train_labels)
    labels = torch.from_numpy(data.train_labels).long()
    loss_of = MlpHead(contrast=0.0, tau=0.3)._loss_of(parameters, labels, beside)
    loss = loss_of(torch.arange(len(data.train)), torch.from_numpy(normalise(data.train)))
    loss.backward()
    assert loss.item() == pytest.approx(naive(data, *at, 2.0, 0.6, 0.3), rel=1e-12)
    for number, of_part in enumerate(at):
        for place in list(np.ndindex(of_part.shape))[:: 1 + of_part.size // 12]:
            values = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in at]
                moved[number][place] += step
                values.append(naive(data, *moved, 2.0, 0.6, 0.3))
            expected = (values[0] - values[1]) / 2e-6
            assert parameters[number].grad[place].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_order_of_the_batch_and_of_the_texts_says_nothing(few_shot):
    data, rng = with_pseudo(few_shot(shots=4), each=2), np.random.default_rng(2)
    shuffled = rng.permutation(len(data.pseudo_ood.rows))
    turned = PseudoTexts(data.pseudo_ood.rows[shuffled], data.pseudo_ood.features[shuffled])
    order = rng.permutation(len(data.train))
    moved = replace(
        data,
        train=data.train[order],
        train_labels=data.train_labels[order],
        pseudo_ood=replace(turned, rows=np.argsort(order)[turned.rows]),
    )
    losses = [
        fitted(each, epochs=1, lr=0)[0].info["losses"] for each in (data, replace(data, pseudo_ood=turned), moved)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], rel=1e-6)


def test_training_takes_what_was_made_away_from_the_classes(few_shot):
    data = with_pseudo(few_shot(shots=8))
    nearest = {}
    for weight in (0.0, 1.0):
        _, classifier = fitted(data, epochs=60, weight=weight, margin=0.5)
        nearest[weight] = (classifier.change(data.pseudo_ood.features) @ classifier.prototypes.T).max(axis=1).mean()
    assert nearest[1.0] < nearest[0.0] - 0.05
    again = fitted(data, epochs=60, weight=1.0, margin=0.5)[1].prototypes
    assert again.tobytes() == classifier.prototypes.tobytes()


def test_a_batch_of_which_nothing_was_made_has_no_margin(few_shot):
    data = with_pseudo(few_shot(shots=2), lacking=5)
    learned, _ = fitted(data, epochs=2, batch=1)
    assert np.isfinite(learned.info["losses"]).all()
    with pytest.raises(Exception, match="no pseudo-OOD texts made of the shots"):
        fitted(replace(data, pseudo_ood=None))


def test_on_arrays_it_takes_features_and_the_rows_of_which_they_were_made(few_shot):
    data = with_pseudo(few_shot(shots=3))
    made = {"pseudo_features": data.pseudo_ood.features, "pseudo_rows": data.pseudo_ood.rows}
    library = methods.poore(data.train, data.train_labels, **made, epochs=3, seed=data.seed)
    np.testing.assert_array_equal(library.learned.arrays["prototypes"], fitted(data, epochs=3)[0].arrays["prototypes"])
    # a shot without a class takes what was made of it along
    train, labels = np.vstack([data.train[:1], data.train]), np.array([-1, *data.train_labels])
    rows = np.array([0, *(data.pseudo_ood.rows + 1)])
    more = {"pseudo_features": np.vstack([data.train[:1], data.pseudo_ood.features]), "pseudo_rows": rows}
    other = methods.poore(train, labels, **more, epochs=3, seed=data.seed)
    np.testing.assert_array_equal(other.learned.arrays["prototypes"], library.learned.arrays["prototypes"])
    for wrong in (len(data.train), -1, 0.5):
        bad = {**made, "pseudo_rows": np.full(len(made["pseudo_rows"]), wrong)}
        assert "is no row of train_features" in failure(methods.poore, data.train, data.train_labels, **bad)
    assert "pseudo_features" in failure(methods.poore, data.train, data.train_labels)
