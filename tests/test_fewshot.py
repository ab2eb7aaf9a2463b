"""Few-shot draws against a re-enactment of Dassl's `generate_fewshot_dataset` with Python's `random` module."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from oodgrid.errors import OodgridError
from oodgrid.fewshot import NoDraw, count_remarks, draw
from oodgrid.labels import accuracy, check_classes

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


# ------------------------------------------------------------------------------------------------ no class, -1


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("val", [True, False])
def test_what_has_no_class_is_as_if_it_were_not_there(seed, val):
    """Any mixture of samples without a class among the others: the draw is that of the others, row for row."""
    rng = np.random.default_rng(seed)
    shots, classes = int(rng.integers(1, 9)), int(rng.integers(1, 6))
    splits = [rng.integers(0, classes, size=rng.integers(10, 60)) for _ in ("train", "val")]
    mixed = []
    for labels in splits:
        rows = np.sort(rng.choice(2 * len(labels), size=len(labels), replace=False))
        mixed.append((np.full(2 * len(labels), -1), rows))
        mixed[-1][0][rows] = labels
    (train, train_rows), (others, val_rows) = mixed
    got, wanted = (
        draw(train, others if val else None, shots, seed),
        draw(splits[0], splits[1] if val else None, shots, seed),
    )
    assert got.train.tolist() == train_rows[wanted.train].tolist()
    assert got.val.tolist() == (val_rows if val else train_rows)[wanted.val].tolist()


def test_a_fixed_draw_leaves_out_what_has_no_class():
    assert draw(np.array([0, -1, 1, 0]), VAL, 2, 1, np.array([2, 2, 2, 4])).train.tolist() == [0, 2]


@pytest.mark.parametrize("fixed", [None, np.array([2, 2])])
def test_no_class_at_all_is_no_draw(fixed):
    with pytest.raises(NoDraw):
        draw(np.array([-1, -1]), None, 2, 1, fixed)


def test_accuracy_is_of_what_has_a_class():
    labels = np.array([0, 1, -1, 2, -1])
    assert accuracy(np.array([0, 1, 1, 1, 0]), labels) == pytest.approx(2 / 3)
    assert accuracy(np.array([0, 1]), np.array([-1, -1])) is None


@pytest.mark.parametrize(("labels", "row"), [([0, 1, 3], 2), ([-2, 0], 0), ([0, -1, 5, 9], 2)])
def test_labels_beyond_the_classes_are_named(labels, row):
    with pytest.raises(
        OodgridError, match=rf"a\.h5: row {row} has label {labels[row]}, which is none of the 3 classes"
    ):
        check_classes(np.array(labels), 3, "a.h5")
    check_classes(np.array([-1, 0, 2]), 3, "a.h5")


# ---------------------------------------------------------------------------------------------------- remarks


@pytest.mark.parametrize(
    ("sizes", "shots", "seeds", "said"),
    [
        ([5, 6], 4, [1, 2], []),
        ([4, 4], 4, [1], []),
        ([4, 4], 4, [1, 2], ["all seeds draw the same shots: no class has more than 4 training samples"]),
        ([4, 5], 4, [1, 2], []),
        ([2, 3, 9], 4, [1, 2], ["2 of 3 classes have fewer than 4 training samples (the fewest: 2)"]),
        (
            [3, 4], 4, [1, 2],
            [
                "1 of 2 classes has fewer than 4 training samples (the fewest: 3)",
                "all seeds draw the same shots: no class has more than 4 training samples",
            ],
        ),
    ],
)  # fmt: skip
def test_draws_that_are_all_the_same_and_classes_with_fewer_are_said(sizes, shots, seeds, said):
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), [-1] * 9])
    assert count_remarks(labels, None, shots, seeds) == said
    draws = {tuple(sorted(draw(labels, None, shots, seed).train)) for seed in range(9)}
    assert (len(draws) == 1) == all(size <= shots for size in sizes), "what is said is what happens"


def test_a_fixed_draw_is_said_where_there_are_several_seeds():
    labels, fixed = np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2])
    assert count_remarks(labels, fixed, 1, [1, 2]) == [
        "all seeds have the same shots: the import brought one draw of 1"
    ]
    assert count_remarks(labels, fixed, 1, [1]) == []
