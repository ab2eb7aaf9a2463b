"""Images of noise through a backbone, as TANL begins with them; they lie in a file like those of texts.

Five kinds: Gaussian noise, noise of a Poisson (mean 5) and of a gamma distribution (shape 2, scale 1), each stretched
to [0, 1] over the images of a kind; uniform noise; and salt and pepper, 0 or 1. As in the code of record they have the
size that the network takes, and go into it as they are: nothing is subtracted from their channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from oodgrid import backbones, paths, store
from oodgrid.config import Backbone, LabelList
from oodgrid.errors import OodgridError
from oodgrid.plan import ENCODE_VERSION

SEED = 0
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "gaussian": lambda rng, shape: _stretched(rng.standard_normal(shape)),
    "uniform": lambda rng, shape: rng.random(shape),
    "poisson": lambda rng, shape: _stretched(rng.poisson(5.0, shape)),
    "gamma": lambda rng, shape: _stretched(rng.gamma(2.0, 1.0, shape)),
    "salt and pepper": lambda rng, shape: (rng.random(shape) >= 0.5).astype(np.float64),
}


def noise_images(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Return `count` images of each kind, shape (5 count, 3, H, W), float32 in [0, 1]; of a shape always the same."""
    rng = np.random.default_rng(SEED)
    return np.concatenate([draw(rng, (count, *shape)) for draw in DRAWS.values()]).astype(np.float32)


def encode_noise(results: Path, backbone: Backbone, entry: LabelList) -> Path:
    """Encode images of noise, not normalised, and return the file.

    Raises:
        OodgridError: The backbone takes no images.
    """
    import torch

    if not backbone.takes_images:
        raise OodgridError(f"label list {entry.name} is of images, and backbone {backbone.name} takes texts alone")
    loaded, count = backbones.load(backbone), entry.noise_images or 0
    images = torch.from_numpy(noise_images(count, loaded.input_shape))
    with torch.inference_mode():
        parts = [loaded.encode_image(images[row : row + 1].to(loaded.device)).cpu() for row in range(len(images))]
    features = torch.cat(parts).numpy()
    names = [f"{kind} {number}" for kind in DRAWS for number in range(1, count + 1)]
    store.check_finite(features, "encoding", names)
    text = {**entry.identity, "label_list": entry.name, "count": len(names)}
    provenance = {"encode_version": ENCODE_VERSION, "backbone": loaded.identity, "text": text, "normalised": False}
    path = paths.label_texts(results, backbone.name, entry.name)
    store.write_texts(path, store.NewTexts(features[None], names, ["{}"], provenance, kinds=[""] * len(names)))
    return path


def _stretched(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())
