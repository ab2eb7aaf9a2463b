"""Cut the published ViT-B/32 features of Caltech-101 to the classes whose texts are published too.

Nobody publishes texts of all 100 classes, but those of ImageNet's and LVIS's names are there, by the same prompt
("a {name}"). A class whose name is one of them, letter for letter, stays; the others become a near-OOD set of the same
photographs, but for two that show a class which stays. Two caches in Tip-Adapter's format are written, for
experiments/clip-b32-caltech101.yaml:

    python tools/caltech101_with_texts.py
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

SHARED = Path(os.environ.get("OODGRID_SHARED", "../shared")) / "data"
CLIP = SHARED / "clip_vitb32_features"
SAME_AS_A_CLASS = {"flamingo head", "windsor chair"}  # of flamingo and chair, which have texts


def main() -> None:
    """Write both caches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("imports"), help="folder for both (default: %(default)s)")
    out = parser.parse_args().out
    classes, texts = class_names(), published_texts()
    chosen = [label for label, name in classes.items() if name in texts]
    others = [label for label, name in classes.items() if name not in texts and name not in SAME_AS_A_CLASS]
    cut(chosen, out / "caltech101-with-texts", ("val", "test"), shots=(1, 2, 4, 8, 16))
    cut(others, out / "caltech101-others", ("test",))
    names = [classes[label] for label in chosen]
    np.save(out / "caltech101-with-texts" / "text.npy", np.stack([texts[name] for name in names]))
    (out / "caltech101-with-texts" / "classnames.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{len(chosen)} classes with texts, {len(others)} others, in {out}")


def class_names() -> dict[int, str]:
    """Return the name of every label of CoOp's split, which the caches follow."""
    splits = json.loads((SHARED / "images" / "split_zhou_Caltech101.json").read_text(encoding="utf-8"))
    return {label: plain(name) for _, label, name in sorted(splits["test"], key=lambda row: row[1])}


def published_texts() -> dict[str, np.ndarray]:
    """Return (512,) features of "a {name}", by name; of a name in both lists, ImageNet's."""
    lvis = json.loads((CLIP / "detic_text" / "lvis_v1_train_cat_info.json").read_text(encoding="utf-8"))
    names = [category["name"].partition("(")[0] for category in sorted(lvis, key=lambda category: category["id"])]
    texts = dict(zip(map(plain, names), np.load(CLIP / "detic_text" / "lvis_v1_clip_a+cname.npy"), strict=True))
    imagenet = json.loads((CLIP / "imagenet_text" / "labels_names.json").read_text(encoding="utf-8"))
    features = load(CLIP / "imagenet_text" / "text_features.pt").numpy()
    return texts | {plain(synonyms.partition(",")[0]): features[int(row)] for row, synonyms in imagenet.items()}


def plain(name: str) -> str:
    """Return a name in lower case, its words apart."""
    return name.lower().replace("_", " ").replace("-", " ").strip()


def cut(labels: list[int], folder: Path, splits: tuple[str, ...], shots: tuple[int, ...] = ()) -> None:
    """Write a cache of some classes, numbered anew in this order, with the rows of the whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = CLIP / "tip_adapter_caches" / "caltech101"
    numbers = torch.full((100,), -1)
    numbers[labels] = torch.arange(len(labels))
    for split in splits:
        of_rows = numbers[load(whole / f"{split}_l.pt").long()]
        torch.save(load(whole / f"{split}_f.pt")[of_rows >= 0].clone(), folder / f"{split}_f.pt")
        torch.save(of_rows[of_rows >= 0], folder / f"{split}_l.pt")
    for count in shots:
        values = load(whole / f"values_{count}shots.pt")
        kept = numbers[values.argmax(1)] >= 0
        torch.save(load(whole / f"keys_{count}shots.pt")[:, kept].clone(), folder / f"keys_{count}shots.pt")
        torch.save(values[kept][:, labels].clone(), folder / f"values_{count}shots.pt")


def load(path: Path) -> torch.Tensor:
    """Read a tensor, and nothing that could run."""
    return torch.load(path, map_location="cpu", weights_only=True)


if __name__ == "__main__":
    main()
