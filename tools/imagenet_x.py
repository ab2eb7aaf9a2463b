"""Cut the published ViT-B/32 features of ImageNet's training images to ImageNet-X, and its OOD half to five levels.

ImageNet-X (github.com/hoshi23/OOD-X-Banchmarks) parts ImageNet's classes in two halves, so that siblings below one node
of WordNet stand on both sides. Test images are the draw of four a class; training images are those of the draw of two
that are none of these (imagenet_pairs.py says how that is known). A level has 100 OOD classes; level 0 has those whose
text has the largest cosine with that of an ID class. Levels depend on texts alone, and on no image. Caches in
Tip-Adapter's format are written, for experiments/clip-b32-imagenet-x.yaml:

    python tools/imagenet_x.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from imagenet_pairs import CLIP, apart, keys

LISTS = CLIP.parent / "labels" / "imagenet_x"
LEVELS = 5


def main() -> None:
    """Write the caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("imports"), help="folder for them (default: %(default)s)")
    out = parser.parse_args().out
    of_id, of_ood = (np.loadtxt(LISTS / f"{half}_data.txt", dtype=int) for half in ("id", "ood"))
    texts = torch.load(CLIP / "imagenet_text" / "text_features2.pt", map_location="cpu", weights_only=True).float()
    names = json.loads((CLIP / "imagenet_text" / "labels_names.json").read_text(encoding="utf-8"))
    of_id = np.sort(of_id)
    write(out / "imagenet-x-id", of_id, with_training=True)
    np.save(out / "imagenet-x-id" / "text.npy", texts[of_id].numpy())
    listed = [names[i] if isinstance(names, list) else names[str(i)] for i in of_id]
    (out / "imagenet-x-id" / "classnames.txt").write_text("\n".join(listed) + "\n", encoding="utf-8")
    normed = torch.nn.functional.normalize(texts, dim=1).numpy()
    nearness = (normed[of_ood] @ normed[of_id].T).max(axis=1)
    for level, classes in enumerate(np.array_split(of_ood[np.argsort(-nearness, kind="stable")], LEVELS)):
        write(out / f"imagenet-x-cov-0-sem-{level}", np.sort(classes))
    print(f"{len(of_id)} ID classes and {LEVELS} levels of {len(of_ood) // LEVELS} OOD classes, in {out}")


def write(folder: Path, classes: np.ndarray, with_training: bool = False) -> None:
    """Write the images of some classes, which are numbered in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    (train, train_labels), (test, test_labels) = keys(2), keys(4)
    number = {int(of): place for place, of in enumerate(classes)}
    taken = torch.isin(test_labels, torch.from_numpy(classes))
    torch.save(test[taken].clone(), folder / "test_f.pt")
    torch.save(torch.tensor([number[int(label)] for label in test_labels[taken]]), folder / "test_l.pt")
    if with_training:
        kept = apart(train, train_labels, test, test_labels) & torch.isin(train_labels, torch.from_numpy(classes))
        labels = torch.tensor([number[int(label)] for label in train_labels[kept]])
        torch.save(train[kept].T.clone(), folder / "keys_2shots.pt")
        one_hot = torch.nn.functional.one_hot(labels, len(classes)).to(torch.uint8)
        torch.save(one_hot, folder / "values_2shots.pt")


if __name__ == "__main__":
    main()
