"""A few-shot draw that others published, row for row: CoOp's of Caltech-101, one shot, seed 1, training and validation.

Rows from github.com/linzhiqiu/cross_modal_adaptation (indices/caltech101/shot_1-seed_1.json, MIT), which ran CoOp's own
code; class sizes are those of CoOp's split of Caltech-101, 4,128 training and 1,649 validation images, class by class.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from oodgrid import fewshot


def test_one_shot_of_caltech101_is_the_published_draw():
    golden = json.loads((Path(__file__).parent / "caltech101_shot_1_seed_1.json").read_text())
    train, val = (np.repeat(np.arange(100), golden[name]) for name in ("train_sizes", "val_sizes"))
    assert (len(train), len(val)) == (4128, 1649)
    drawn = fewshot.draw(train, val, shots=1, seed=1)
    assert drawn.train.tolist() == golden["train"]
    assert drawn.val.tolist() == golden["val"]
    assert fewshot.draw(train, val, shots=1, seed=2).train.tolist() != golden["train"]
