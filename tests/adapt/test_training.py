"""Batches and the learning-rate schedule of CoOp's code of record."""

from __future__ import annotations

import math

import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged
from oodgrid.adapt.training import Recipe, TrainingFeatures, batches, coop_learning_rate, mean_loss, take_step
from oodgrid.errors import OodgridError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_learning_rates_of_the_published_log():
    """The log of a 50-epoch run (CoOp, issue 26) shows 2.0e-3 and then 1.998027e-3 after the warm-up."""
    rates = [coop_learning_rate(epoch, 50, 0.002) for epoch in range(50)]
    assert rates[0] == 1e-5
    assert rates[1] == 0.002
    assert rates[2] == pytest.approx(1.998027e-3, abs=5e-10)
    assert rates[26] == pytest.approx(0.001)


@pytest.mark.parametrize("epochs", [1, 2, 50, 200])
def test_learning_rates_against_a_warm_up_around_torch_s_cosine(epochs):
    """One epoch at 1e-5, in which the cosine does not move; from then on the cosine, one step an epoch."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.002)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    expected = [1e-5]
    for _ in range(1, epochs):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    got = [coop_learning_rate(epoch, epochs, 0.002) for epoch in range(epochs)]
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("count", "size", "drop_last", "sizes"),
    [
        (10, 4, True, [4, 4]),
        (10, 4, False, [4, 4, 2]),
        (8, 4, True, [4, 4]),
        (3, 4, True, [3]),
        (3, 4, False, [3]),
        (4, 4, True, [4]),
        (1, 1, True, [1]),
    ],
)
def test_sizes_of_batches(count, size, drop_last, sizes):
    parts = list(batches(count, size, generator(), drop_last=drop_last))
    assert [len(part) for part in parts] == sizes
    rows = torch.cat(parts).tolist()
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(count))


def test_order_of_batches_is_that_of_the_generator():
    first, again, other = (torch.cat(list(batches(20, 5, generator(seed)))).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_every_epoch_has_an_order_of_its_own():
    stream = generator()
    epochs = [torch.cat(list(batches(20, 5, stream))).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_a_step_returns_the_loss_before_it():
    weight = torch.tensor([3.0], requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=0.1)
    assert [take_step((weight**2).sum(), optimiser).item() for _ in range(2)] == pytest.approx([9, 2.4**2])
    assert weight.item() == pytest.approx(3 * 0.8**2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_loss_of_an_epoch_that_is_not_finite_is_named(value):
    with pytest.raises(Diverged, match=f"^the loss became {value} in epoch 5$"):
        mean_loss([torch.tensor(each) for each in (1.0, value, math.nan, 2.0)], 4)


def test_the_mean_of_an_epoch_is_that_of_its_numbers_in_order():
    values = [0.1, 1e8, -3.0, 0.7]
    taken = [torch.tensor(value) for value in values]
    assert mean_loss(taken, 0) == sum(value.item() for value in taken) / 4


READS = ("__bool__", "__float__", "__int__", "item", "tolist", "numpy", "cpu")


@pytest.fixture
def reads(monkeypatch):
    """Return a list of what reads a tensor from here on, for which a GPU would have to catch up."""
    seen = []
    for name in READS:
        whole = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *a, _n=name, _w=whole, **k: (seen.append(_n), _w(*a, **k))[1])
    return seen


def test_the_loop_reads_the_losses_once_an_epoch(few_shot, reads):
    """Eleven steps an epoch, two epochs."""
    data = few_shot(shots=11, classes=3)
    features, weight = TrainingFeatures(data, "cpu"), torch.zeros(16, requires_grad=True)
    reads.clear()
    Recipe(2, 0.1, 3).descend([weight], data, features, generator(), lambda rows, x: (x @ weight - 1).square().mean())
    assert reads == ["tolist", "tolist"]


@pytest.mark.parametrize("name", ["coop", "kgcoop", "prograd", "prompt_src", "neg_prompt", "cocoop"])
def test_prompt_learners_read_as_often_whatever_the_number_of_steps(few_shot, tower, reads, name):
    counts = []
    for batch in (12, 3):
        reads.clear()
        registry.find("method", name).make(epochs=2, batch=batch).fit(few_shot(tower=tower))
        counts.append(len(reads))
    assert counts[0] == counts[1]


def test_patches_that_a_method_did_not_declare_are_refused(few_shot):
    with pytest.raises(OodgridError, match="local_features"):
        TrainingFeatures(few_shot(), "cpu").local(torch.arange(2))
