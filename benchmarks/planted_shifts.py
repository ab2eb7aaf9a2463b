"""Do LAID's axes rank shifts that are planted in synthetic features? Spearman's correlations, through the library.

    python benchmarks/planted_shifts.py

Texts are the sum of a word's direction, a prompt's and noise, of two subspaces that are no axes; images of a class are
that of its word under the first prompt. A semantic shift moves an image towards a word of no class (the share `meaning`
of the way), a covariate shift adds a direction of looks (`look` times a word's length). Every image has both, drawn
evenly. Means over four seeds; prints a table: each axis against each planted shift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import spearmanr

from oodgrid import scores

WORDS, CLASSES, PROMPTS, IMAGES, SEEDS = 20, 8, 6, 600, 4
AXES = {"semantic": scores.laid_semantic, "covariate": scores.laid_covariate}


@dataclass(frozen=True)
class World:
    """What is planted.

    Attributes:
        name: Of the row.
        dimensions: Of the joint space.
        meaning, look: The largest shifts.
        noise: Of images, its length beside a word's.
        gap: Length of a direction that all images have and no text.
        overlap: How much of each look is one of the meanings' directions, beside its own of length 1.
        shots: Images a class to learn from.
        known_look: Whether the look is that of a prompt.
    """

    name: str
    dimensions: int = 128
    meaning: float = 0.5
    look: float = 0.8
    noise: float = 0.3
    gap: float = 0.0
    overlap: float = 0.0
    shots: int = 16
    known_look: bool = True


BASE = World("as above: 128 dimensions, meaning to .5, look to .8, noise .3")
ROWS = (
    BASE,
    replace(BASE, name="32 dimensions", dimensions=32),
    replace(BASE, name="512 dimensions", dimensions=512),
    replace(BASE, name="1 shot", shots=1),
    replace(BASE, name="a look that is no prompt", known_look=False),
    replace(BASE, name="modality gap 1.5", gap=1.5),
    replace(BASE, name="noise .6", noise=0.6),
    replace(BASE, name="noise 1", noise=1.0),
    replace(BASE, name="meaning to .1", meaning=0.1),
    replace(BASE, name="look to .3", look=0.3),
    replace(BASE, name="look to .1", look=0.1),
    replace(BASE, name="looks that are half a meaning", overlap=1.0),
)


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def correlations(world: World, seed: int) -> dict[str, tuple[float, float]]:
    """Return by axis Spearman's correlations of its shift with the planted shift of meaning and of look."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(world.dimensions, world.dimensions)))[0]
    of_meaning, of_look = min(world.dimensions // 3, 24), min(world.dimensions // 4, 10)
    meanings, looks = turned[:, :of_meaning], turned[:, of_meaning : of_meaning + of_look]
    looks = unit((looks + world.overlap * meanings[:, :1]).T).T
    words = unit(rng.normal(size=(WORDS, of_meaning))) @ meanings.T
    drawn = unit(rng.normal(size=(PROMPTS, of_look)))
    prompts = 0.4 * drawn @ looks.T
    prompts[0] *= 0.3
    texts = prompts[:, None] + words + 0.2 / np.sqrt(world.dimensions) * rng.normal(size=(PROMPTS, WORDS, len(turned)))
    look = (drawn[3] if world.known_look else unit(rng.normal(size=of_look))) @ looks.T
    gap = world.gap * unit(rng.normal(size=len(turned)))

    def images(means: np.ndarray) -> np.ndarray:
        noise = world.noise / np.sqrt(world.dimensions) * rng.normal(size=means.shape)
        return unit(means + prompts[0] + gap + noise)

    labels = np.repeat(np.arange(CLASSES), world.shots)
    bank = images(words[labels])
    of_class, other = rng.integers(0, CLASSES, IMAGES), rng.integers(CLASSES, WORDS, IMAGES)
    meaning, strength = rng.uniform(0, world.meaning, IMAGES), rng.uniform(0, world.look, IMAGES)
    moved = words[of_class] + meaning[:, None] * (words[other] - words[of_class]) + strength[:, None] * look
    features = images(moved)
    shifts = {name: -axis(features, bank, labels, texts=texts) for name, axis in AXES.items()}
    return {
        name: (float(spearmanr(shift, meaning)[0]), float(spearmanr(shift, strength)[0]))
        for name, shift in shifts.items()
    }


def main() -> None:
    """Print the table."""
    print("| planted | semantic axis: meaning, look | covariate axis: meaning, look |\n|---|---|---|")
    for world in ROWS:
        each = [correlations(world, seed) for seed in range(SEEDS)]
        cells = (", ".join(f"{value:.2f}" for value in np.mean([one[axis] for one in each], axis=0)) for axis in AXES)
        print(f"| {world.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
