"""The text side of encode: one class list under its templates through one backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oodgrid import backbones, paths, store
from oodgrid.config import Backbone, Dataset
from oodgrid.encode.sources import class_names
from oodgrid.plan import ENCODE_VERSION


def encode_texts(results: Path, backbone: Backbone, dataset: Dataset) -> Path:
    """Encode every class name in every template, not averaged and not normalised, and return the file.

    Raises:
        OodgridError: The dataset has no class names, or the backbone does not know a word.
    """
    import torch

    names = class_names(dataset)
    loaded = backbones.load(backbone)
    embedded = []
    with torch.inference_mode():
        for template in dataset.templates:
            tokens = loaded.tokenize([template.replace("{}", name) for name in names]).to(loaded.device)
            embedded.append(loaded.encode_text(tokens).cpu().numpy())
    provenance = {
        "encode_version": ENCODE_VERSION,
        "backbone": loaded.identity,
        "text": {**dataset.text_identity, "classnames": names},
        "normalised": False,
    }
    path = paths.texts(results, backbone.name, dataset.name)
    store.write_texts(path, store.Texts(np.stack(embedded), names, dataset.templates, provenance))
    return path
