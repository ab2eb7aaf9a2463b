"""Models of timm as image-only backbones: features are the pooled output before the classifier."""

from __future__ import annotations

from typing import Any

from oodgrid.backbones.weights import OFFLINE, fit_state, read_state
from oodgrid.config import Backbone
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, first_line, unknown

PREFIX = "timm/"


def build(backbone: Backbone) -> tuple[Any, dict[str, Any]]:
    """Return a model whose call returns features (N, D), and the preprocessing of its weights.

    Raises:
        OodgridError: The model or the weights are unknown or not there.
    """
    import timm
    from timm.data import resolve_model_data_config

    name = backbone.model.removeprefix(PREFIX)
    if name not in timm.list_models(include_tags=False):
        raise unknown("timm model", name, timm.list_models())
    file = backbone.weights_file
    if file is not None and not file.is_file():
        raise OodgridError(f"backbone {backbone.name}: {file} does not exist: mend the path of pretrained")
    tagged = file is None and backbone.pretrained != "random"
    try:
        model = timm.create_model(
            name if not tagged or backbone.pretrained == "true" else f"{name}.{backbone.pretrained}",
            pretrained=tagged,
            num_classes=0,
        )
    except MemoryError:  # the weights are sound
        raise
    except Exception as error:  # timm and the Hugging Face client fail in many ways
        what = f"cannot load '{backbone.pretrained}' for {backbone.model}: {first_line(error)}. {OFFLINE}"
        raise OodgridError(f"backbone {backbone.name}: {what}") from error
    if file is not None:
        names = model.state_dict().keys()
        head = model.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{part}." for part in ([head] if isinstance(head, str) else head))
        state = {k: v for k, v in read_state(file).items() if k in names or not k.startswith(heads or ("\0",))}
        fit_state(model, state, file)
    preprocessing = _preprocessing(resolve_model_data_config(model))
    if backbone.size not in (None, preprocessing["size"]):
        raise OodgridError(
            f"backbone {backbone.name}: {backbone.model} takes {counted(preprocessing['size'], 'pixel')} a "
            "side: leave size out"
        )
    return model, preprocessing


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
