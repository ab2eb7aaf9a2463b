"""Scores of features on published CLIP ViT-B/32 features: what is in the classes stands far above what is not."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid.evaluate.metrics import auroc, count_scores
from oodgrid.score.contract import normalise
from tests.score.feature_world import NAMES, score, world_of

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def caches(shared):
    """Features of one file of Tip-Adapter's caches, a row a sample."""
    folder = shared / "data" / "clip_vitb32_features" / "tip_adapter_caches"

    def read(name):
        return torch.load(folder / name, map_location="cpu", weights_only=True).double().numpy()

    return read


@pytest.fixture(scope="module")
def pets(caches):
    """A builder of worlds of 37 breeds with so many shots, the head their means; half of the test images."""
    samples = normalise(caches("oxford_pets/test_f.pt")[::2])

    def make(shots):
        bank = normalise(caches(f"oxford_pets/keys_{shots}shots.pt").T)
        labels = caches(f"oxford_pets/values_{shots}shots.pt").argmax(axis=1)
        prototypes = normalise(np.stack([bank[labels == breed].mean(axis=0) for breed in range(37)]))
        return world_of(samples, prototypes, bank, labels, shots)

    return make


@pytest.mark.parametrize("shots", [2, 16])
@pytest.mark.parametrize("name", NAMES)
def test_pets_against_textures_and_aircraft(name, shots, pets, caches):
    made = pets(shots)
    inside = score(name, made)
    for other in ("dtd", "fgvc"):
        far = normalise(caches(f"{other}/test_f.pt")[::2])
        outside = score(name, world_of(far, made.head.weights, made.bank.features, made.bank.labels, shots))
        assert auroc(count_scores(inside, outside)) > 0.9
