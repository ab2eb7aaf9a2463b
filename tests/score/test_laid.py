"""LAID, reconstructed: the transform is orthogonal and best, and finds shifts that were planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from oodgrid.errors import OodgridError
from oodgrid.evaluate.metrics import detection_metrics
from oodgrid.registry import find
from oodgrid.score import laid
from oodgrid.score.contract import Bank, Skip, TextList, normalise

WIDTH = 24


def listed(grid):
    """Return the list of texts (templates, words, D)."""
    names = [str(word) for word in range(grid.shape[1])]
    return TextList(normalise(grid.mean(axis=0)), names, [""] * len(names), grid)


class Planted:
    """Texts and images that are the sum of a word's and a prompt's direction, of two spaces that are not axes."""

    def __init__(self, seed, words=9, prompts=5, noise=0.02):
        rng = np.random.default_rng(seed)
        turned = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
        meanings, looks = turned[:, :12], turned[:, 12:20]
        self.words = normalise(rng.normal(size=(words, 12))) @ meanings.T
        away = 0.25 * np.arange(prompts)[:, None] * normalise(rng.normal(size=(prompts, 8)))
        self.prompts = (0.4 * normalise(rng.normal(size=(1, 8))) + away) @ looks.T  # each farther than the one before
        self.rng, self.noise = rng, noise
        self.grid = self.prompts[:, None] + self.words + noise * rng.normal(size=(prompts, words, WIDTH))

    def images(self, word, prompt):
        means = self.words[word] + self.prompts[prompt]
        return normalise(means + self.noise * self.rng.normal(size=means.shape))

    def bank(self, classes=5):
        labels = np.repeat(np.arange(classes), 8)
        return Bank(self.images(labels, np.zeros(len(labels), int)), labels, 8)


def random_grid(seed):
    rng = np.random.default_rng(seed)
    templates, words = rng.integers(2, 7), rng.integers(2, 40)
    return rng.normal(size=(templates, words, WIDTH)) + 3 * rng.normal(size=WIDTH)


@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("seed", range(6))
def test_the_transform_is_orthogonal_and_whole(seed, steps):
    both = laid.transform(listed(random_grid(seed)), share=0.9, steps=steps)
    q = np.hstack([both.semantic, both.covariate])
    assert q.shape == (WIDTH, WIDTH)
    np.testing.assert_allclose(q.T @ q, np.eye(WIDTH), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_part_of_that_size_holds_more_of_words_and_less_of_prompts(seed):
    """The two-way means by loops, and projectors at random and near the one that is returned."""
    grid = random_grid(seed)
    texts = np.array([[text / np.sqrt(text @ text) for text in row] for row in grid])
    mean = sum(text for row in texts for text in row) / texts[..., 0].size
    words = [sum(texts[c, s] for c in range(len(texts))) / len(texts) - mean for s in range(texts.shape[1])]
    prompts = [sum(row) / len(row) - mean for row in texts]

    def held(basis):
        of_words = sum(((word @ basis) ** 2).sum() for word in words) / len(words)
        return of_words - sum(((prompt @ basis) ** 2).sum() for prompt in prompts) / len(prompts)

    best = laid.transform(listed(grid), share=0.9, steps=0).semantic
    rng = np.random.default_rng(seed)
    for size in (1e-3, 0.1, 10):
        for _ in range(20):
            other = np.linalg.qr(best + size * rng.normal(size=best.shape))[0]
            assert held(other) <= held(best) + 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_learning_lowers_the_loss_of_the_closed_form_and_its_gradient_is_right(seed):
    grid = normalise(random_grid(seed))
    grid = grid - grid.mean(axis=(0, 1))
    words, prompts = grid.mean(axis=0), grid.mean(axis=1)
    first, last = (laid.transform(listed(random_grid(seed)), share=0.5, steps=steps).semantic for steps in (0, 30))
    loss, slope = laid._loss(first, grid, words, prompts)
    assert laid._loss(last, grid, words, prompts)[0] <= loss
    direction = np.random.default_rng(seed).normal(size=first.shape)
    ahead, behind = (laid._loss(first + step * direction, grid, words, prompts)[0] for step in (1e-6, -1e-6))
    assert 2 * np.sum((slope @ first) * direction) == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("steps", [0, 50])
@pytest.mark.parametrize("seed", range(3))
def test_planted_shifts_are_found_each_on_its_axis(seed, steps):
    world = Planted(seed)
    word, prompt = (axis.ravel() for axis in np.meshgrid(np.arange(9), np.arange(5), indexing="ij"))
    word, prompt = np.repeat(word, 6), np.repeat(prompt, 6)
    images, bank = world.images(word, prompt), world.bank()
    options = {"texts": listed(world.grid), "share": 1.0, "steps": steps}
    meaning = find("score", "laid_semantic").make(images, bank, **options)
    looks = find("score", "laid_covariate").make(images, bank, **options)
    new_word, new_look = word >= 5, prompt > 0
    assert detection_metrics(meaning[~new_word], meaning[new_word])["auroc"] > 0.99
    assert detection_metrics(looks[~new_look], looks[new_look])["auroc"] > 0.99
    assert spearmanr(-looks, prompt)[0] > 0.7
    assert abs(spearmanr(meaning, prompt)[0]) < 0.3


def test_the_order_of_words_and_of_templates_and_a_turned_space_change_nothing():
    world, rng = Planted(1), np.random.default_rng(0)
    images, bank = world.images(rng.integers(0, 9, 40), rng.integers(0, 5, 40)), world.bank()
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    other = world.grid[rng.permutation(5)][:, rng.permutation(9)] @ turn
    for name in ("laid_semantic", "laid_covariate"):
        make = find("score", name).make
        before = make(images, bank, texts=listed(world.grid), steps=0)
        turned = Bank(bank.features @ turn, bank.labels, bank.shots)
        np.testing.assert_allclose(make(images @ turn, turned, texts=listed(other), steps=0), before, rtol=1e-6)


@pytest.mark.parametrize(
    "texts",
    [
        TextList(np.eye(WIDTH)[:3], list("abc"), [""] * 3),  # as a list under one template
        listed(np.random.default_rng(0).normal(size=(1, 5, WIDTH))),
        listed(np.random.default_rng(0).normal(size=(3, 1, WIDTH))),
        listed(np.repeat(np.random.default_rng(0).normal(size=(1, 5, WIDTH)), 3, axis=0)),
        listed(np.repeat(np.random.default_rng(0).normal(size=(4, 1, WIDTH)), 3, axis=1)),
    ],
    ids=["not kept", "one template", "one word", "templates alike", "words alike"],
)
def test_a_list_that_has_no_two_axes_is_skipped_with_the_reason(texts):
    with pytest.raises(Skip, match="LAID"):
        laid.transform(texts, share=0.9, steps=0)


@pytest.mark.parametrize("params", [{"share": 0.0}, {"share": 1.1}, {"steps": -1}, {"steps": 1001}])
def test_parameters_out_of_range_are_refused(params):
    from oodgrid.registry import check_params

    with pytest.raises(OodgridError):
        check_params("score", "laid_semantic", {"texts": "grid", **params})


def test_the_norm_of_features_is_no_shift():
    """Under own_head features have their own norm."""
    world, rng = Planted(2), np.random.default_rng(0)
    images, bank = world.images(rng.integers(0, 9, 20), rng.integers(0, 5, 20)), world.bank()
    long = Bank(bank.features * rng.uniform(1, 9, (len(bank.features), 1)), bank.labels, bank.shots)
    for name in ("laid_semantic", "laid_covariate"):
        options = {"texts": listed(world.grid), "steps": 0}
        before = find("score", name).make(images, bank, **options)
        np.testing.assert_allclose(find("score", name).make(3 * images, long, **options), before, rtol=1e-9)
