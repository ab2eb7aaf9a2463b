"""Few-shot draws against a re-enactment of Dassl's `generate_fewshot_dataset` with Python's `random` module."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from oodgrid.errors import OodgridError
from oodgrid.fewshot import NoDraw, draw

RNG = np.random.default_rng(3)
TRAIN = RNG.permutation(np.repeat([4, 0, 2, 1, 3], [30, 25, 20, 17, 40]))
VAL = RNG.permutation(np.repeat([0, 1, 2, 3, 4], 9))


def dassl(splits, shots, seed):
    """Seed the module once, then draw from each (labels, images a class) split, label by label as they first come."""
    random.seed(seed)
    drawn = []
    for labels, count in zip(splits, (shots, min(shots, 4)), strict=False):
        by_label = defaultdict(list)
        for row, label in enumerate(labels):
            by_label[int(label)].append(row)
        rows = []
        for members in by_label.values():
            rows.extend(random.sample(members, count) if len(members) >= count else members)
        drawn.append(rows)
    return drawn


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("shots", [1, 2, 4, 8, 16])
def test_draws_are_those_of_dassl(shots, seed):
    train, val = dassl([TRAIN, VAL], shots, seed)
    got = draw(TRAIN, VAL, shots, seed)
    assert got.train.tolist() == train
    assert got.val.tolist() == val


def test_a_draw_is_recorded_here_for_good():
    """Numbers computed once with Python's own generator: a new Python that draws otherwise must not go unseen."""
    labels = np.tile([7, 5], 6)
    assert draw(labels, None, 2, 1).train.tolist() == [2, 8, 1, 5]


def test_every_class_gives_its_shots_and_no_row_twice():
    got = draw(TRAIN, VAL, 16, 1)
    assert Counter(TRAIN[got.train].tolist()) == dict.fromkeys(range(5), 16)
    assert Counter(VAL[got.val].tolist()) == dict.fromkeys(range(5), 4)
    assert len(set(got.train.tolist())) == 80


def test_a_class_with_too_few_images_gives_all_it_has():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 2, 2])
    got = draw(labels, None, 4, 5)
    assert Counter(labels[got.train].tolist()) == {0: 4, 1: 3, 2: 2}
    assert got.train[-2:].tolist() == [7, 8]  # in file order: nothing was sampled
    assert got.train.tolist() == dassl([labels], 4, 5)[0]


def test_without_validation_the_training_draw_is_the_same():
    got = draw(TRAIN, None, 8, 2)
    assert got.train.tolist() == draw(TRAIN, VAL, 8, 2).train.tolist()


@pytest.mark.parametrize("shots", [1, 2, 8, 13])
def test_without_validation_it_is_drawn_from_what_the_shots_leave(shots):
    """As ImageNet, whose val is its test set: in the same stream, after the shots, never one of them."""
    got = draw(TRAIN, None, shots, 2)
    assert got.val_from_train
    assert not set(got.val) & set(got.train)
    assert Counter(TRAIN[got.val].tolist()) == dict.fromkeys(range(5), min(shots, 4))
    random.seed(2)
    rest = {label: [] for label in dict.fromkeys(TRAIN.tolist())}
    for label in rest:
        random.sample(np.flatnonzero(label == TRAIN).tolist(), shots)
    for row, label in enumerate(TRAIN.tolist()):
        if row not in set(got.train.tolist()):
            rest[label].append(row)
    order = dict.fromkeys(label for row, label in enumerate(TRAIN.tolist()) if row not in set(got.train.tolist()))
    assert got.val.tolist() == [row for label in order for row in random.sample(rest[label], min(shots, 4))]


def test_a_class_that_gives_all_it_has_to_the_shots_gives_none_to_validation():
    labels = np.array([0, 0, 0, 1])
    got = draw(labels, None, 2, 1)
    assert labels[got.val].tolist() == [0]


def test_draws_that_an_import_brought_leave_nothing_to_validate_on():
    got = draw(np.array([0, 1, 0, 1]), None, 1, 1, fixed=np.array([1, 1, 2, 2]))
    assert (got.val.size, got.val_from_train) == (0, False)


def test_the_validation_draw_continues_the_stream_of_the_training_draw():
    assert draw(TRAIN, VAL, 4, 1).val.tolist() != draw(VAL, VAL, 4, 1).val.tolist()


def test_seeds_differ_and_the_global_generator_is_left_alone():
    random.seed(11)
    before = random.getstate()
    assert draw(TRAIN, VAL, 4, 1).train.tolist() != draw(TRAIN, VAL, 4, 2).train.tolist()
    assert random.getstate() == before


def test_draws_of_different_shots_are_not_nested():
    assert not set(draw(TRAIN, VAL, 4, 1).train.tolist()) <= set(draw(TRAIN, VAL, 16, 1).train.tolist())


def test_fixed_draws_take_the_rows_that_carry_their_shots():
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1])
    fixed = np.array([1, 1, 2, 2, 2, 2, 4, 4])
    first, second = (draw(labels, VAL, 2, seed, fixed) for seed in (1, 2))
    assert first.train.tolist() == second.train.tolist() == [2, 3, 4, 5]
    assert first.val.tolist() != second.val.tolist()
    assert Counter(VAL[first.val].tolist()) == dict.fromkeys(range(5), 2)


def test_fixed_draws_that_are_not_there_say_which_are():
    with pytest.raises(NoDraw, match=r"no draw of 8 shots \(they hold: 1, 2\)"):
        draw(np.array([0, 1, 0, 1]), None, 8, 1, np.array([1, 1, 2, 2]))


@pytest.mark.parametrize("shots", [0, -1])
def test_shots_below_one_are_refused(shots):
    with pytest.raises(OodgridError, match=f"shots must be at least 1, not {shots}"):
        draw(TRAIN, VAL, shots, 1)
