"""Models of open_clip: every architecture and tag, checkpoints of the user, and the weights that oodgrid ships."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid import catalogue
from oodgrid.backbones.weights import OFFLINE, fit_state, read_state
from oodgrid.config import Backbone, expand
from oodgrid.errors import OodgridError, first_line, unknown

if TYPE_CHECKING:
    import torch


def build(backbone: Backbone) -> tuple[torch.nn.Module, Any, dict[str, Any], frozenset[int] | None]:
    """Return the model, its tokenizer, the preprocessing of its weights, and its vocabulary where that is limited.

    Raises:
        OodgridError: The architecture or the weights are unknown, missing or do not fit.
    """
    open_clip = import_open_clip(_needs_transformers(backbone))
    if backbone.model_config_file:
        _add_architecture(open_clip, backbone, backbone.model_config_file)
    if backbone.model not in open_clip.list_models():
        raise unknown("open_clip model", backbone.model, open_clip.list_models())
    refuse_the_quickgelu_trap(open_clip, backbone)
    model, vocabulary = _build(open_clip, backbone)
    keys = ("size", "mean", "std", "interpolation", "resize_mode")
    preprocessing = {key: model.visual.preprocess_cfg[key] for key in keys}
    return model, _tokenizer(open_clip, backbone), preprocessing, vocabulary


def architecture(backbone: Backbone) -> dict[str, Any]:
    """Return open_clip's description of an architecture that `build` has built."""
    return import_open_clip().get_model_config(backbone.model)


def import_open_clip(with_transformers: bool = False) -> Any:
    """Return the module open_clip.

    It would import transformers wherever that is installed, which takes seconds, for the few models whose text tower
    comes from there.

    Args:
        with_transformers: Such a model is to be built.

    Raises:
        OodgridError: torch and torchvision are builds that do not fit each other.
    """
    imported_without = getattr(sys.modules.get("open_clip.hf_model"), "transformers", ...) is None
    if with_transformers and imported_without:
        for name in [name for name in sys.modules if name.split(".")[0] == "open_clip"]:
            del sys.modules[name]
    try:
        with nullcontext() if with_transformers else _hidden("transformers"):
            import open_clip
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        raise OodgridError(
            "torch and torchvision are builds that do not fit each other (operator torchvision::nms does not exist): "
            "install both from one index, as with pip install -c constraints.txt torch torchvision"
        ) from error
    return open_clip


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let imports not find a module, unless it is imported already."""
    hides = module not in sys.modules
    if hides:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hides:
            del sys.modules[module]


def _needs_transformers(backbone: Backbone) -> bool:
    """Return whether the text tower of a model of open_clip is one of transformers, without importing either.

    What cannot be read here is refused when the model is built.
    """
    spec = find_spec("open_clip")
    config = Path((spec and spec.origin) or "").parent / "model_configs" / f"{backbone.model.replace('/', '-')}.json"
    if backbone.model_config_file:
        config = _config_file(backbone.model_config_file)
    try:
        return b'"hf_model_name"' in config.read_bytes()
    except OSError:
        return False


def refuse_the_quickgelu_trap(open_clip: Any, backbone: Backbone) -> None:
    """Refuse what open_clip only warns about: weights trained with another activation than the architecture has.

    open_clip knows the activation of its tags; that of a user's checkpoint cannot be known.

    Raises:
        OodgridError: The activations differ.
    """
    tag = open_clip.get_pretrained_cfg(backbone.model, backbone.pretrained)
    has = open_clip.get_model_config(backbone.model).get("quick_gelu", False)
    if tag and tag.get("quick_gelu", False) != has:
        plain = backbone.model.removesuffix("-quickgelu")
        raise OodgridError(
            f"backbone {backbone.name}: '{backbone.pretrained}' was trained {'without' if has else 'with'} QuickGELU: "
            f"write model: {plain if has else plain + '-quickgelu'}"
        )


def _build(open_clip: Any, backbone: Backbone) -> tuple[torch.nn.Module, frozenset[int] | None]:
    file = backbone.weights_file
    tag = backbone.pretrained if file is None and backbone.pretrained != "random" else None
    try:
        if tag is None:
            logging.disable(logging.WARNING)  # open_clip warns that no weights were loaded, which happens just below
        elif tag not in open_clip.list_pretrained_tags_by_model(backbone.model) and not tag.startswith("hf-hub:"):
            raise unknown(f"tag of {backbone.model}", tag, open_clip.list_pretrained_tags_by_model(backbone.model))
        # for another size open_clip resizes positional embeddings, those of a tag as it loads them
        model = open_clip.create_model(backbone.model, pretrained=tag, force_image_size=backbone.size)
        if file is not None:
            if backbone.pretrained.startswith(catalogue.PACKAGE):
                return model, _load_packed(model, file)
            if not file.is_file():
                raise OodgridError(f"{file} does not exist")
            state = open_clip.factory.convert_state_dict(model, read_state(file))
            if backbone.size:
                open_clip.model.resize_pos_embed(state, model)
            fit_state(model, state, file)
        return model, None
    except MemoryError:  # the weights are sound
        raise
    except Exception as error:  # open_clip, torch, safetensors and the Hugging Face client fail in many ways
        hint = "" if tag is None else f". {OFFLINE}"
        what = f"cannot load '{backbone.pretrained}' for {backbone.model}: {first_line(error)}{hint}"
        raise OodgridError(f"backbone {backbone.name}: {what}") from error
    finally:
        logging.disable(logging.NOTSET)


def _tokenizer(open_clip: Any, backbone: Backbone) -> Any:
    try:
        return open_clip.get_tokenizer(backbone.model)
    except Exception as error:  # some live on the hub beside their weights
        what = f"cannot load the tokenizer of {backbone.model}: {first_line(error)}. {OFFLINE}"
        raise OodgridError(f"backbone {backbone.name}: {what}") from error


def _load_packed(model: torch.nn.Module, path: Path) -> frozenset[int]:
    """Load weights whose token table has only the rows that were trained, and return the ids of those rows."""
    import torch

    state = {
        name: values.float() if values.is_floating_point() else values for name, values in read_state(path).items()
    }
    ids, rows = state.pop("token_embedding.ids").long(), state.pop("token_embedding.rows")
    table = torch.zeros_like(model.token_embedding.weight)
    table[ids] = rows
    model.load_state_dict({**state, "token_embedding.weight": table})
    return frozenset(ids.tolist())


def _config_file(name: str) -> Path:
    return catalogue.packaged(name) if name.startswith(catalogue.PACKAGE) else expand(name)


def _add_architecture(open_clip: Any, backbone: Backbone, config_file: str) -> None:
    file = _config_file(config_file)
    if file.stem != backbone.model:
        raise OodgridError(
            f"backbone {backbone.name}: open_clip calls the architecture in {file.name} '{file.stem}': "
            f"write model: {file.stem}"
        )
    try:
        keys = set(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OodgridError(f"backbone {backbone.name}: cannot read {file}: {error}") from error
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - keys:
        raise OodgridError(f"backbone {backbone.name}: {file} lacks {min(missing)}: it is no open_clip architecture")
    open_clip.add_model_config(file)
