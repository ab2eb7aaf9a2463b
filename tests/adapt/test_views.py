"""Methods that learn from augmented views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oodgrid import store
from oodgrid.adapt import training
from oodgrid.adapt.contract import normalise
from oodgrid.adapt.training import TrainingFeatures, mean_view
from oodgrid.registry import find

torch = pytest.importorskip("torch")


@pytest.fixture
def data(few_shot):
    return few_shot()


def with_views(data, count, spread=0.0, seed=0):
    noise = np.random.default_rng(seed).normal(scale=spread, size=(len(data.train), count, data.train.shape[1]))
    return replace(data, train_views=(data.train[:, None] + noise).astype(np.float32))


@pytest.mark.parametrize("name", ["clip_adapter", "tip_adapter_f", "tip_adapter"])
def test_one_view_that_is_the_image_itself_changes_nothing(data, name):
    method = find("method", name).make(**({} if name == "tip_adapter" else {"epochs": 3}))
    plain, viewed = method.fit(data), method.fit(with_views(data, 1))
    for key in plain.arrays:
        np.testing.assert_array_equal(plain.arrays[key], viewed.arrays[key])


@pytest.mark.parametrize("name", ["clip_adapter", "tip_adapter_f"])
def test_other_views_are_learned_from_and_the_seed_decides_which(data, name):
    method = find("method", name).make(epochs=3)
    viewed = with_views(data, 5, spread=0.3)
    one, again = method.fit(viewed), method.fit(viewed)
    other = method.fit(with_views(data, 5, spread=0.3, seed=1))
    same = [np.array_equal(one.arrays[key], again.arrays[key]) for key in one.arrays]
    assert all(same)
    assert any(not np.array_equal(one.arrays[key], other.arrays[key]) for key in one.arrays)


def test_every_image_and_epoch_draws_a_view_uniformly(data):
    views = np.zeros((40, 4, 2), np.float32)
    views[..., 0] = np.arange(40)[:, None]
    views[..., 1] = np.arange(4)
    features = TrainingFeatures(replace(data, train_views=views), "cpu")
    generator = torch.Generator().manual_seed(0)
    epochs = np.stack([features.epoch(generator).numpy() for _ in range(500)])
    assert (epochs[..., 0] == np.arange(40)).all()  # an image stays in its row
    counts = np.stack([(epochs[..., 1] == view).sum(axis=0) for view in range(4)])
    assert (abs(counts - 125) < 5 * np.sqrt(500 * 3 / 16)).all()
    assert not np.array_equal(epochs[0], epochs[1])


def test_without_views_nothing_is_drawn(data):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    features = TrainingFeatures(data, "cpu", normalise)
    np.testing.assert_array_equal(features.epoch(generator).numpy(), normalise(data.train))
    assert torch.equal(generator.get_state(), before)


def test_tip_adapters_keys_are_the_mean_of_the_views_normalised_after(data):
    viewed = with_views(data, 10, spread=0.5)
    keys = find("method", "tip_adapter").make(alpha=1.0, beta=1.0).fit(viewed).arrays["keys"]
    expected = np.stack([np.mean([view.astype(np.float64) for view in image], axis=0) for image in viewed.train_views])
    np.testing.assert_allclose(keys, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(mean_view(data), data.train)


@pytest.mark.parametrize("views", [1, 4])
def test_local_features_read_by_batch_are_those_in_memory_and_no_others_are_read(data, tmp_path, monkeypatch, views):
    rows, width = data.train.shape
    local = np.random.default_rng(0).normal(size=(rows, views, 6, width)).astype(np.float32)
    centre = np.zeros((rows, views, width), np.float32)
    store.write_views(tmp_path / "v.h5", store.NewViews(np.arange(rows), centre, {}, local))
    stored = store.read_views(tmp_path / "v.h5").local_features
    data = replace(data, train_views=None if views == 1 else centre)
    monkeypatch.setattr(training, "RESIDENT", 0)
    read, items = store.StoredRows._read, []
    monkeypatch.setattr(
        store.StoredRows, "_read", lambda self, places, shape: (items.append(len(places)), read(self, places, shape))[1]
    )
    held, by_batch = (TrainingFeatures(replace(data, train_local=each), "cpu") for each in (local, stored))
    drawn = [torch.Generator().manual_seed(3) for _ in range(2)]
    for _ in range(3):
        for features, generator in zip((held, by_batch), drawn, strict=True):
            features.epoch(generator)
        for batch in torch.randperm(rows, generator=drawn[0]).split(5):
            assert torch.equal(held.local(batch), by_batch.local(batch))
            assert items.pop() == len(batch)  # one view of each image of the batch, once
        torch.randperm(rows, generator=drawn[1])
    assert not items
    monkeypatch.setattr(training, "RESIDENT", stored.nbytes)
    TrainingFeatures(replace(data, train_local=stored), "cpu").local(torch.arange(5))
    assert items == [rows]  # small enough: all, once
