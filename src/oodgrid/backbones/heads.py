"""The classification head of a network: weights and biases, of the network itself or of a file of the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oodgrid.backbones import timm_models
from oodgrid.backbones.array_files import read_checkpoint, read_npz, read_safetensors
from oodgrid.config import Backbone
from oodgrid.counts import counted
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.backbones import LoadedBackbone

WEIGHTS, BIASES = ("weight", "weights", "w"), ("bias", "b")  # the last word of their names
CLOSE = 1e-3  # relative, to which the network's logits must be features · weights + bias


def read(backbone: Backbone, loaded: LoadedBackbone | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (K, D) and the bias (K,) of the head of a backbone, float64.

    Args:
        backbone: One that has a head.
        loaded: It, loaded; not needed where its head is in a file of its own.

    Raises:
        OodgridError: There is no head, it is no linear layer on the features, or it has another number of outputs than
            the configuration names.
    """
    head = backbone.head
    assert head is not None
    if head.file is None:
        assert loaded is not None
        weights, bias = _own(backbone, loaded)
    else:
        weights, bias = _in_file(backbone, head.file)
    if head.classes != "by_order" and len(head.classes) != len(weights):
        raise OodgridError(
            f"backbone {backbone.name}, head: {counted(len(head.classes), 'class', 'classes')} named for "
            f"{counted(len(weights), 'output')}: name each, in their order"
        )
    return weights, bias


def _own(backbone: Backbone, loaded: LoadedBackbone) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (K, D) and the bias (K,) that a network of timm brings."""
    import torch

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
    return weights, bias


def _no_linear(backbone: Backbone) -> OodgridError:
    return OodgridError(
        f"backbone {backbone.name}: the head of {backbone.model} is no linear layer on the features that are cached: "
        "own_head is for networks that end in one (leave pooling as it is)"
    )


def _in_file(backbone: Backbone, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (K, D) and the bias (K,) in a file."""
    what = f"backbone {backbone.name}, head: weights"
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
    return weights, bias


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
