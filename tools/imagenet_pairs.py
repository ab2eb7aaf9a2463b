"""Cut the published ViT-B/32 features of ImageNet's training images to a training and a test split that share none.

The two draws of two and four images a class become training and test; an image of which both draws have a mean of ten
augmented views (a cosine above .97; those of two images stay below in 99.9 %) is taken out of training. One cache in
Tip-Adapter's format is written, for experiments/clip-b32-pairs.yaml:

    python tools/imagenet_pairs.py
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

CLIP = Path(os.environ.get("OODGRID_SHARED", "../shared")) / "data" / "clip_vitb32_features"
CACHE = CLIP / "tip_adapter_caches" / "imagenet"
CLASSES, SAME = 1000, 0.97


def main() -> None:
    """Write the cache."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("imports"), help="folder for it (default: %(default)s)")
    out = parser.parse_args().out / "imagenet-pairs"
    (train, train_labels), (test, test_labels) = keys(2), keys(4)
    kept = apart(train, train_labels, test, test_labels)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(test.clone(), out / "test_f.pt")
    torch.save(test_labels, out / "test_l.pt")
    torch.save(train[kept].T.clone(), out / "keys_2shots.pt")
    torch.save(torch.nn.functional.one_hot(train_labels[kept], CLASSES).to(torch.uint8), out / "values_2shots.pt")
    print(f"{int(kept.sum())} training and {len(test)} test images; {int((~kept).sum())} of both taken out, in {out}")


def keys(shots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features (n, 512) of a draw and their labels, class by class as Tip-Adapter's code lists them."""
    features = torch.load(CACHE / f"keys_{shots}shots.pt", map_location="cpu", weights_only=True).T
    return features, torch.arange(CLASSES).repeat_interleave(shots)


def apart(
    train: torch.Tensor, train_labels: torch.Tensor, test: torch.Tensor, test_labels: torch.Tensor
) -> torch.Tensor:
    """Return which images of the first draw are none of the second, (n,)."""
    of_class = train_labels[:, None] == test_labels
    return torch.where(of_class, train.float() @ test.float().T, -torch.ones(1)).max(dim=1).values <= SAME


if __name__ == "__main__":
    main()
