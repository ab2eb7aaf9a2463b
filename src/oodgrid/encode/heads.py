"""The classification head of a network: weights and biases of an ID set's classes, in a file like those of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oodgrid import backbones, paths, store
from oodgrid.backbones import timm_models
from oodgrid.config import Backbone, Dataset
from oodgrid.config.backbone import BESIDE
from oodgrid.counts import counted, plural
from oodgrid.encode.importing.reading import read_checkpoint, read_npz, read_safetensors
from oodgrid.encode.sources import class_names
from oodgrid.errors import OodgridError, brief
from oodgrid.labels import plain_name
from oodgrid.plan import ENCODE_VERSION
from oodgrid.texts import HEAD

WEIGHTS, BIASES = ("weight", "weights", "w"), ("bias", "b")  # the last word of their names
CLOSE = 1e-3  # relative, to which the network's logits must be features · weights + bias


def encode_head(results: Path, backbone: Backbone, dataset: Dataset) -> Path:
    """Write the outputs of a backbone's head that stand for the classes of an ID set, and return the file.

    Raises:
        OodgridError: There is no head, it is no linear layer on the features, or a class of the set is none of its
            outputs.
    """
    if backbone.head is None:
        raise OodgridError(f"backbone {backbone.name} has no head: write head: {{classes: …}} under it")
    weights, bias, encoder = _own(backbone) if backbone.head.file is None else _in_file(backbone)
    outputs = backbone.head.classes
    if outputs != "by_order" and len(outputs) != len(weights):
        raise OodgridError(
            f"backbone {backbone.name}, head: {counted(len(outputs), 'class', 'classes')} named for "
            f"{counted(len(weights), 'output')}: name each, in their order"
        )
    names = _classes(results, backbone, dataset)
    rows = _by_order(backbone, dataset, names, len(weights)) if outputs == "by_order" else None
    if rows is None:
        rows = chosen_outputs(names, list(outputs), f"backbone {backbone.name}, head")
    if (left := len(weights) - len(rows)) > 0:
        print(
            f"oodgrid: {dataset.name} has {len(rows):,} of the {counted(len(weights), 'class', 'classes')} of the head "
            f"of {backbone.name}: the other {counted(left, 'output')} count nowhere"
        )
    provenance = {
        "encode_version": ENCODE_VERSION,
        "backbone": encoder,
        "head": backbone.head.identity,
        "text": {"own_head": True, "classnames": names, "outputs": len(weights)},
        "normalised": False,
    }
    path = HEAD.path(results, backbone.name, dataset.name)
    store.write_texts(path, store.NewTexts(weights[rows][None], names, ["{}"], provenance, bias=bias[rows]))
    return path


def chosen_outputs(names: list[str], outputs: list[str], what: str) -> np.ndarray:
    """Return which output of a head stands for each class of a set, shape (K,).

    Args:
        names: Of the K classes.
        outputs: What each output is called; its folder and its name where both are known.
        what: The head, for messages.

    Raises:
        OodgridError: A class is none of the outputs, or could be several; or two classes are one output.
    """
    words = [{plain_name(word) for word in output.split(BESIDE)} for output in outputs]
    plain = [plain_name(name) for name in names]
    if len(plain) == len(words) and all(name in of_output for name, of_output in zip(plain, words, strict=True)):
        return np.arange(len(words))  # also where a name stands twice in both, as in older lists of ImageNet's classes
    places: dict[str, list[int]] = {}
    for row, of_output in enumerate(words):
        for word in of_output:
            places.setdefault(word, []).append(row)
    if missing := [name for name, word in zip(names, plain, strict=True) if word not in places]:
        raise OodgridError(
            f"{what}: {len(missing):,} of {counted(len(names), 'class', 'classes')} "
            f"{plural(len(missing), 'is', 'are')} none of its outputs, the first: {brief(missing[0])}: give the set "
            "classnames as the head has them, or choose classes that it has"
        )
    if double := next((name for name, word in zip(names, plain, strict=True) if len(places[word]) > 1), None):
        raise OodgridError(f"{what}: several outputs are called {brief(double)}: call them by other words")
    rows = [places[word][0] for word in plain]
    if len(set(rows)) < len(rows):
        again = next(name for name, row in zip(names, rows, strict=True) if rows.count(row) > 1)
        raise OodgridError(f"{what}: two classes are one output, that of {brief(again)}: join them, or rename one")
    return np.asarray(rows)


def _by_order(backbone: Backbone, dataset: Dataset, names: list[str], outputs: int) -> np.ndarray:
    if len(names) != outputs:
        raise OodgridError(
            f"backbone {backbone.name}, head: classes: by_order is for sets with as many classes as it has outputs, "
            f"{outputs}, and {dataset.name} has {len(names)}: name the outputs"
        )
    return np.arange(outputs)


def _classes(results: Path, backbone: Backbone, dataset: Dataset) -> list[str]:
    """Return the class names of a set; of an imported one as its files have them."""
    if not dataset.imported or dataset.classnames:
        return class_names(dataset)
    names = store.read_provenance(paths.features(results, backbone.name, dataset.name, "test")).get("classnames")
    if not names:
        raise OodgridError(f"dataset {dataset.name} was imported without class names: give it classnames")
    return list(names)


def _own(backbone: Backbone) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the weights (K, D) and the bias (K,) that a network of timm brings, and the identity of its encoder."""
    import torch

    loaded = backbones.load(backbone)
    torch.manual_seed(backbone.seed)  # as for `random` weights that were loaded above
    network = timm_models.with_head(backbone).eval()
    if backbone.pretrained == "random":  # a seed draws the layers before a head otherwise than those without one
        network.load_state_dict((loaded.reference or loaded.model).state_dict(), strict=False)
    layer = network.get_classifier()
    if not isinstance(layer, torch.nn.Linear):
        raise _no_linear(backbone)
    weights = layer.weight.detach().double().numpy()
    bias = np.zeros(len(weights)) if layer.bias is None else layer.bias.detach().double().numpy()
    with torch.inference_mode():
        pixels = torch.rand(1, *loaded.input_shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        logits = network(pixels).double().numpy()[0]
        features = (loaded.reference or loaded.model)(pixels.to(loaded.device)).double().cpu().numpy()[0]
    if features.shape != weights.shape[1:] or np.abs(weights @ features + bias - logits).max() > CLOSE * max(
        1, np.abs(logits).max()
    ):
        raise _no_linear(backbone)
    return weights, bias, loaded.identity


def _no_linear(backbone: Backbone) -> OodgridError:
    return OodgridError(
        f"backbone {backbone.name}: the head of {backbone.model} is no linear layer on the features that are cached: "
        "own_head is for networks that end in one (leave pooling as it is)"
    )


def _in_file(backbone: Backbone) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return weights (K, D) and bias (K,) of a file, and what the configuration says of the encoder."""
    head = backbone.head
    assert head is not None and head.file is not None
    file, what = head.file, f"backbone {backbone.name}, head: weights"
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {".npz": read_npz, ".safetensors": read_safetensors}
    readers |= dict.fromkeys((".pt", ".pth", ".bin"), read_checkpoint)
    if file.suffix not in readers:
        raise OodgridError(f"{what}: {file} is no .npz, .safetensors or .pt file")
    arrays = readers[file.suffix](file)
    name, there = _weight_name(arrays), ", ".join(sorted(arrays))[:100]
    weights = None if name is None else _numbers(arrays[name])
    if name is None or weights is None or weights.ndim != 2:
        raise OodgridError(f"{what}: {file} holds no weight (K, D): it holds {there}")
    of_bias = _bias_names(arrays, name, len(weights))
    if len(of_bias) > 1 or (of_bias and not _is_named(of_bias[0], BIASES)):
        raise OodgridError(
            f"{what}: {file}: {', '.join(of_bias)[:100]} may be the bias of {name}: it holds {there}: "
            "call the head's weight and bias so, and take out what is neither"
        )
    bias = _numbers(arrays[of_bias[0]]) if of_bias else np.zeros(len(weights))
    if bias is None:
        raise OodgridError(f"{what}: {file}: {of_bias[0]} holds no real numbers")
    if bias.shape != weights.shape[:1]:
        raise OodgridError(f"{what}: bias: shape {bias.shape} beside weight of shape {weights.shape} in {file}")
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise OodgridError(f"{what}: numbers in {file} are not finite")
    return weights, bias, backbone.identity


def _weight_name(arrays: dict[str, Any]) -> str | None:
    """Return the array that is called weight, or the only one whose name ends so."""
    ends = [name for name in arrays if _is_named(name, WEIGHTS)]
    return next((name for name in WEIGHTS if name in arrays), ends[0] if len(ends) == 1 else None)


def _bias_names(arrays: dict[str, Any], weight: str, outputs: int) -> list[str]:
    """Return which arrays may be the bias: none of a layer without one, and several where it would be a guess.

    It is the one beside the weight, as `head.bias` beside `head.weight`, else what is called so; where nothing is, any
    other array of K numbers may be it.
    """
    ends = [name for name in arrays if _is_named(name, BIASES)]
    beside = [name for name in ends if name.rpartition(".")[0] == weight.rpartition(".")[0]]
    others = [name for name in arrays if name != weight and _numbers(arrays[name], (outputs,)) is not None]
    return beside or ends or others


def _is_named(name: str, words: tuple[str, ...]) -> bool:
    return name.lower().rpartition(".")[2] in words


def _numbers(array: Any, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
    """Return real numbers as float64; None where they are none, or of another shape than the one asked for."""
    is_real = isinstance(array, np.ndarray) and array.dtype.kind in "fiu" and shape in (None, array.shape)
    return array.astype(np.float64) if is_real else None
