"""Cuts texts as Xu et al. (ACL 2021) do: SST's train and test split, and 500 of each of four OOD sets.

    python tools/mdf_texts.py BERT-unsupervised-OOD/dataset/sst data/text/mdf

The first folder is of github.com/rivercold/BERT-unsupervised-OOD 9e1cd4c (MIT). Their code reads by pandas and takes
`sample(n=500, random_state=42)`, which is NumPy's `RandomState(42).choice`; the same 2,000 texts come out (compared
2026-11-27). As pandas does, quotes are read as such: one that begins a text of 20ng swallows lines up to the next, so
that its 34,852 lines are 31,190 texts.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

SETS = {"20ng": "20ng-test", "multi30k": "multi30k-val", "rte": "rte-dev", "snli": "snli-dev"}
EMPTY = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a"}  # which pandas takes for no text


def main(source: Path, target: Path) -> None:
    """Write `sst/{train,test}.csv` and a file for each OOD set."""
    (target / "sst").mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        write(target / "sst" / f"{split}.csv", read(source / f"sst-{split}.txt"), "review")
    for name, file in SETS.items():
        texts = read(source / f"{file}.txt")
        rows = np.random.RandomState(42).choice(len(texts), 500, replace=False)
        write(target / f"{name}.csv", [texts[row] for row in rows], "")


def read(file: Path) -> list[str]:
    """Return the second column of a file without its header and without empty texts."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t"))[1:]
    return [row[1] for row in rows if len(row) > 1 and row[1] not in EMPTY]


def write(file: Path, texts: list[str], label: str) -> None:
    """Write texts with one label."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([("text", "label"), *((text, label) for text in texts)])
    print(f"{file}: {len(texts)} texts")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/mdf_texts.py FOLDER/dataset/sst TARGET")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
