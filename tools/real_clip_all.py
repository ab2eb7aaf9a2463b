"""Cut the published ViT-B/32 features into four ID sets whose class texts are published too, each with a near OOD set.

For experiments/real-clip-all.yaml and -x. ID classes are those whose texts are published, by one prompt, "a {name}",
and near OOD the others of the same dataset. No text of ID classes or of LVIS is one of theirs, but on ImageNet-X.

    caltech101-named   as caltech101_with_texts.py has it
    pets-named         breeds that are one of ImageNet's synonyms, letter for letter, with the text of the first synonym
    sun397-named       scenes whose names have a text; of the others those without a word in common with one of them.
                       Test images are those of the validation split, as the test split is not published
    imagenet-x-4shot   ImageNet-X (imagenet_x.py); the draw of four images a class trains, those of two and one test

The first three train on all images of the published draws of 1 to 16 shots, more than 16 a class, so that drawing 16 of
them is chance. No image is there twice: two means of augmented views of one image are known by their cosine
(imagenet_pairs.py says how). What was written is brought in by `oodgrid import npz`, split by split:

    python tools/real_clip_all.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from caltech101_with_texts import CLIP, SAME_AS_A_CLASS, class_names, load, plain, published_texts
from imagenet_pairs import SAME, keys

from oodgrid.catalogue import real

DRAWS = (16, 8, 4, 2, 1)
Rows = tuple[torch.Tensor, torch.Tensor]  # features (n, 512) and labels (n,)


def main() -> None:
    """Write the sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("imports/real-clip-all"), help="default: %(default)s")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    texts = published_texts()
    part(out, "caltech101", class_names(), texts, SAME_AS_A_CLASS)
    part(out, "pets", numbered("oxford_pets"), by_synonym(), cache="oxford_pets")
    scenes = numbered("sun397")
    words = {word for name in scenes.values() if name in texts for word in name.split()}
    part(out, "sun397", scenes, texts, {name for name in scenes.values() if words & {*name.split()}}, test="val")
    imagenet_x(out)


def numbered(dataset: str) -> dict[int, str]:
    """Return the name of every label of CoOp's split, which the caches follow."""
    return dict(enumerate(map(plain, real.class_keys(dataset).values())))


def by_synonym() -> dict[str, np.ndarray]:
    """Return (512,) features of "a {first synonym}" by every synonym of ImageNet's classes."""
    names = json.loads((CLIP / "imagenet_text" / "labels_names.json").read_text(encoding="utf-8"))
    features = load(CLIP / "imagenet_text" / "text_features.pt").numpy()
    return {plain(name): features[int(row)] for row, synonyms in names.items() for name in synonyms.split(",")}


def part(
    out: Path,
    name: str,
    names: dict[int, str],
    texts: dict[str, np.ndarray],
    unlike: Collection[str] = (),
    cache: str | None = None,
    test: str = "test",
) -> None:
    """Write a dataset in two: the classes with texts, and the others but those that are `unlike` no ID class."""
    folder = CLIP / "tip_adapter_caches" / (cache or name)
    named = [label for label, own in names.items() if own in texts]
    others = [label for label, own in names.items() if own not in texts and own not in unlike]
    of_test = load(folder / f"{test}_f.pt"), load(folder / f"{test}_l.pt").long()
    splits = {"train": pooled(folder), "test": of_test}
    if test != "val" and (folder / "val_f.pt").exists():
        splits["val"] = load(folder / "val_f.pt"), load(folder / "val_l.pt").long()
    for split, rows in splits.items():
        write(out / f"{name}-named.{split}.npz", chosen(rows, named))
    write(out / f"{name}-unnamed.test.npz", chosen(of_test, others))
    write_texts(out / f"{name}-named", [names[label] for label in named], [texts[names[label]] for label in named])


def pooled(folder: Path) -> Rows:
    """Return the training images of all published draws, each once."""
    kept: Rows = torch.empty(0, 512), torch.empty(0, dtype=torch.long)
    for shots in DRAWS:
        file = folder / f"keys_{shots}shots.pt"
        if file.exists():
            kept = joined(kept, (load(file).T.float(), labels_of(folder, shots, load(file).shape[1])))
    return kept


def labels_of(folder: Path, shots: int, count: int) -> torch.Tensor:
    """Return the labels of a draw; where no values are published, keys stand class by class."""
    values = folder / f"values_{shots}shots.pt"
    return load(values).argmax(1) if values.exists() else torch.arange(count) // shots


def joined(kept: Rows, more: Rows) -> Rows:
    """Return the rows of both, without those of the second that show an image of the first, or one before them."""
    for feature, label in zip(*more, strict=True):
        own = kept[0][kept[1] == label]
        if not len(own) or float((own @ feature).max()) <= SAME:
            kept = torch.cat([kept[0], feature[None]]), torch.cat([kept[1], label[None]])
    return kept


def chosen(rows: Rows, labels: list[int]) -> Rows:
    """Return the rows of some classes, numbered anew in this order."""
    place = torch.full((int(rows[1].max()) + 1,), -1)
    place[labels] = torch.arange(len(labels))
    of_rows = place[rows[1]]
    return rows[0][of_rows >= 0], of_rows[of_rows >= 0]


def imagenet_x(out: Path) -> None:
    """Write both halves of ImageNet-X."""
    of_id, of_ood = (
        np.sort(np.loadtxt(CLIP.parent / "labels" / "imagenet_x" / f"{h}_data.txt", dtype=int)) for h in ("id", "ood")
    )
    train, *others = ((features.float(), labels) for features, labels in map(keys, (4, 2, 1)))
    test = joined(joined(train, others[0]), others[1])
    test = test[0][len(train[0]) :], test[1][len(train[0]) :]
    # one fixed draw: 16 shots are not there, and seeds change the training alone
    write(out / "imagenet-x-4shot.train.npz", chosen(train, of_id.tolist()), draw=4)
    write(out / "imagenet-x-4shot.test.npz", chosen(test, of_id.tolist()))
    write(out / "imagenet-x-siblings.test.npz", chosen(test, of_ood.tolist()))
    names = json.loads((CLIP / "imagenet_text" / "labels_names.json").read_text(encoding="utf-8"))
    features = load(CLIP / "imagenet_text" / "text_features.pt").numpy()
    write_texts(out / "imagenet-x-4shot", [names[str(label)] for label in of_id], list(features[of_id]))


def write(file: Path, rows: Rows, draw: int | None = None) -> None:
    """Write one split, and say how large it is."""
    features, labels = rows[0].half().numpy(), rows[1].numpy()
    fixed = {} if draw is None else {"draws": np.full(len(labels), draw)}
    np.savez(file, image_features=features, labels=labels, **fixed)
    print(f"{file}: {len(labels)} images of {len(np.unique(labels))} classes")


def write_texts(stem: Path, names: list[str], features: list[np.ndarray]) -> None:
    """Write text features and class names."""
    np.save(f"{stem}.text.npy", np.stack(features))
    Path(f"{stem}.classnames.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
