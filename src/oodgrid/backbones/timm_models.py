"""Models of timm as image-only backbones: features are the pooled output before the classifier."""

from __future__ import annotations

from typing import Any

from oodgrid.backbones.weights import fit_state, read_state
from oodgrid.config import Backbone
from oodgrid.errors import OodgridError, unknown

PREFIX = "timm/"


def build(backbone: Backbone) -> tuple[Any, dict[str, Any]]:
    """Return a model whose call gives (N, D) and its own preprocessing.

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
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise OodgridError(
            f"backbone {backbone.name}: cannot load '{backbone.pretrained}' for {backbone.model}: {said}. "
            "Offline? Fill the Hugging Face cache on a machine with network"
        ) from error
    if file is not None:
        kept = model.state_dict().keys()
        head = model.pretrained_cfg.get("classifier") or ()
        heads = tuple(f"{part}." for part in ([head] if isinstance(head, str) else head))
        state = {k: v for k, v in read_state(file).items() if k in kept or not k.startswith(heads or ("\0",))}
        fit_state(model, state, file)
    own = _preprocessing(resolve_model_data_config(model))
    if backbone.size not in (None, own["size"]):
        raise OodgridError(
            f"backbone {backbone.name}: {backbone.model} takes {own['size']} pixels a side: leave size out"
        )
    return model, own


def _preprocessing(found: dict[str, Any]) -> dict[str, Any]:
    """Return timm's preprocessing in our words: resize the short side to size / crop_pct, then cut the centre."""
    size = found["input_size"][-1]
    squash = found.get("crop_mode") == "squash"
    return {
        "size": size,
        "mean": tuple(found["mean"]),
        "std": tuple(found["std"]),
        "interpolation": found["interpolation"],
        "resize_mode": "squash" if squash else "shortest",
        **({} if squash else {"resize": int(size / found["crop_pct"])}),
    }
