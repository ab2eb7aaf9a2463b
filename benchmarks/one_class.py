"""One class of CIFAR-10 against the nine others, on real CLIP features, through the library.

    python benchmarks/one_class.py

The features are OpenAI's ViT-B/32 of the first 500 test images (github.com/infinitiveaman/clip-cifar10-search); the
folder that holds them is named by OODGRID_SHARED. In each of ten tasks half of the images of a class, drawn by a seed,
are learned from; the other half is ID, and all images of the nine other classes are OOD. Prints the mean AUROC of the
ten tasks over ten draws of the halves, and its 95 % bootstrap interval: of the 500 images, within their classes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from oodgrid import scores

FOLDER = Path(os.environ.get("OODGRID_SHARED", "../shared")) / "data/clip_vitb32_features/cifar10_500_pairs"
CLASSES, SEEDS, DRAWS = 10, 10, 200


def scored(features: np.ndarray, learned: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of all images by name, shape (N,), after those that are learned from."""
    bank = features[learned], np.zeros(len(learned), dtype=int)
    mean = bank[0].mean(axis=0)
    return {
        "single_gaussian": scores.single_gaussian(features, *bank),
        "mahalanobis": scores.mahalanobis(features, *bank),
        "residual": scores.residual(features, *bank),
        "knn": scores.knn(features, *bank),
        "mood": scores.mood(features, *bank),
        "cosine with the mean": features @ mean / np.linalg.norm(mean),
    }


def auroc(of_id: np.ndarray, of_ood: np.ndarray) -> float:
    """Return the share of pairs with the ID score above the OOD score, ties half."""
    ranks = rankdata(np.concatenate([of_id, of_ood]))[: len(of_id)]
    return float((ranks.sum() - len(of_id) * (len(of_id) + 1) / 2) / (len(of_id) * len(of_ood)))


def main() -> None:
    """Print a line for each score."""
    features = torch.load(FOLDER / "image_embeddings.pt", map_location="cpu", weights_only=True).double().numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = np.load(FOLDER / "image_labels.npy")
    rows = [np.flatnonzero(labels == label) for label in range(CLASSES)]
    print(f"{len(features)} images; of a class {min(map(len, rows))} to {max(map(len, rows))}")
    tasks: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []  # ID rows, OOD rows, scores
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        for label, of_class in enumerate(rows):
            order = rng.permutation(of_class)
            learned, tested = order[: len(order) // 2], order[len(order) // 2 :]
            tasks.append((tested, np.flatnonzero(labels != label), scored(features, learned)))
    rng = np.random.default_rng(0)
    draws = [np.concatenate([rng.choice(of_class, len(of_class)) for of_class in rows]) for _ in range(DRAWS)]
    weights = [np.bincount(draw, minlength=len(features)) for draw in draws]
    for name in tasks[0][2]:
        every = [auroc(of[name][id_rows], of[name][ood_rows]) for id_rows, ood_rows, of in tasks]
        drawn = [
            np.mean(
                [
                    auroc(
                        np.repeat(of[name][id_rows], weight[id_rows]), np.repeat(of[name][ood_rows], weight[ood_rows])
                    )
                    for id_rows, ood_rows, of in tasks[:CLASSES]
                ]
            )
            for weight in weights
        ]
        half = np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn)
        by_class = np.reshape(every, (SEEDS, CLASSES)).mean(axis=0)
        mean = np.mean(every)
        print(
            f"{name:22s} {100 * mean:.1f} [{100 * (mean + half[0]):.1f}, {100 * (mean + half[1]):.1f}]; hardest class "
            f"{100 * by_class.min():.1f}, easiest {100 * by_class.max():.1f}; deviation over halves "
            f"{100 * np.reshape(every, (SEEDS, CLASSES)).mean(axis=1).std(ddof=1):.1f}"
        )


if __name__ == "__main__":
    main()
