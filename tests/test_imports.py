"""What a stage imports before it computes: each of a run's many small jobs pays for it anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "open_clip", "timm", "transformers")
IMPORT_ALL = """
import importlib, pkgutil, sys

for room in sys.argv[1:]:
    package = importlib.import_module(f"oodgrid.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(*sys.modules)
"""
TRAIN = """
import sys
import numpy as np
from oodgrid import methods

methods.clip_adapter(np.eye(4, 8), [0, 1, 2, 3], np.eye(4, 8), epochs=1)
print(*sys.modules)
"""
SCORE = """
import sys
import numpy as np
from oodgrid.registry import find
from oodgrid.score.contract import Bank, Head

head = Head(np.eye(4, 8), np.zeros(4))
bank = Bank(np.eye(4, 8), np.arange(4), 1, None, head)
find("score", "knn").make(np.eye(4, 8), bank)
find("score", "relation").make(np.eye(4, 8), head.logits(np.eye(4, 8)), bank)
print(*sys.modules)
"""


def imported(*command):
    return set(subprocess.check_output([sys.executable, "-c", *command], text=True).split())


@pytest.mark.parametrize("rooms", [["adapt"], ["score", "evaluate", "report"]])
def test_no_room_but_encode_imports_a_network_to_start(rooms):
    assert not imported(IMPORT_ALL, *rooms).intersection(HEAVY)


def test_scores_take_torch_on_a_gpu_alone():
    assert not imported(SCORE).intersection(HEAVY)


def test_training_on_cached_features_takes_torch_and_no_model():
    pytest.importorskip("torch")
    modules = imported(TRAIN)
    assert "torch" in modules
    assert not modules.intersection(HEAVY[1:])
