"""oodgrid: out-of-distribution detection with fine-tuned vision-language models, on cached features.

>>> import oodgrid
>>> from oodgrid import metrics, scores
>>> metrics.auroc(scores.mcm([[0.31, 0.2], [0.3, 0.2]]), scores.mcm([[0.25, 0.24]]))
1.0

`scores`, `metrics`, `estimates`, `methods` and `cache` are the library (docs/api.md), imported when they are first
used. The rest of the package is the command line `oodgrid` and what the Snakefile runs.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# What may be imported from here, each with the module that has it; a module itself has none.
_PLACES = {
    **dict.fromkeys(("cache", "estimates", "methods", "metrics", "scores"), ""),
    **dict.fromkeys(("read_features", "read_table", "read_texts"), "cache"),
    "Detector": "detector",
    "OodgridError": "errors",
}
__all__ = ["Detector", "OodgridError", "__version__", "cache", "estimates", "methods", "metrics", "read_features",
           "read_table", "read_texts", "scores"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'oodgrid' has no attribute '{name}'")
    module = importlib.import_module(f"oodgrid.{_PLACES[name] or name}")
    return getattr(module, name) if _PLACES[name] else module


def __dir__() -> list[str]:
    return sorted(__all__)
