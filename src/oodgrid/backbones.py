"""Loading a backbone: architecture, weights, preprocessing and tokenizer, with the identity that they make."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid import catalogue
from oodgrid.config import Backbone, expand
from oodgrid.errors import OodgridError, unknown

if TYPE_CHECKING:
    import torch
    from PIL import Image


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone ready to encode.

    Attributes:
        name: Its name in the configuration.
        model: The open_clip model in eval mode, on `device`, without gradients.
        preprocess: Image to tensor (3, H, W).
        device: "cuda" where there is one, else "cpu".
        identity: Everything that decides its numbers, as JSON-able values.
        vocabulary: Token ids whose embeddings were trained; None where all were.
    """

    name: str
    model: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]
    device: str
    identity: dict[str, Any]
    vocabulary: frozenset[int] | None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a preprocessed image."""
        size = self.identity["preprocessing"]["size"]
        return (3, size, size) if isinstance(size, int) else (3, *size)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return image features, shape (N, D), not normalised, of preprocessed images, shape (N, 3, H, W)."""
        return self.model.encode_image(pixels, normalize=False).float()

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """Return token ids, shape (N, context length).

        Raises:
            OodgridError: A text needs a token that this backbone never saw in training.
        """
        tokens = self.tokenizer(texts)
        if self.vocabulary is not None:
            for text, row in zip(texts, tokens.tolist(), strict=True):
                strange = [token for token in row if token and token not in self.vocabulary]
                if strange:
                    words = self.tokenizer.decode(strange).strip()
                    raise OodgridError(
                        f"backbone {self.name} never saw the word '{words}' of {text!r} in training: use another "
                        f"backbone, or text: visual_prototypes for this dataset"
                    )
        return tokens


def load(backbone: Backbone) -> LoadedBackbone:
    """Load a backbone on the best device at hand.

    Raises:
        OodgridError: The architecture or the weights are unknown, missing or do not fit.
    """
    import torch

    open_clip = _import_open_clip()
    if backbone.model_config_file:
        _add_architecture(open_clip, backbone)
    if backbone.model not in open_clip.list_models():
        raise unknown("open_clip model", backbone.model, open_clip.list_models())
    _refuse_the_quickgelu_trap(open_clip, backbone)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, vocabulary, preprocessing = _build(open_clip, backbone)
    model = model.to(device).eval().requires_grad_(False)
    config = {**preprocessing, **_given(backbone)}
    preprocess = open_clip.image_transform(is_train=False, image_size=config.pop("size"), **config)
    identity = {
        **backbone.identity,
        "preprocessing": {"size": model.visual.preprocess_cfg["size"], **config},
        "weights_sha256": _weights_sha256(model),
    }
    tokenizer = open_clip.get_tokenizer(backbone.model)
    return LoadedBackbone(backbone.name, model, preprocess, tokenizer, device, identity, vocabulary)


def _import_open_clip() -> Any:
    try:
        import open_clip
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        raise OodgridError(
            "torch and torchvision are builds that do not fit each other (operator torchvision::nms does not exist): "
            "install both from one index, as with pip install -c constraints.txt torch torchvision"
        ) from error
    return open_clip


def _add_architecture(open_clip: Any, backbone: Backbone) -> None:
    file = _path(backbone.model_config_file)
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


def _refuse_the_quickgelu_trap(open_clip: Any, backbone: Backbone) -> None:
    """Refuse what open_clip only warns of: weights trained with another activation than the architecture has."""
    tag = open_clip.get_pretrained_cfg(backbone.model, backbone.pretrained)
    has = open_clip.get_model_config(backbone.model).get("quick_gelu", False)
    if tag and tag.get("quick_gelu", False) != has:
        plain = backbone.model.removesuffix("-quickgelu")
        raise OodgridError(
            f"backbone {backbone.name}: '{backbone.pretrained}' was trained {'without' if has else 'with'} QuickGELU: "
            f"write model: {plain if has else plain + '-quickgelu'}"
        )


def _build(open_clip: Any, backbone: Backbone) -> tuple[torch.nn.Module, frozenset[int] | None, dict]:
    """Return the model, its vocabulary where it is limited, and its own preprocessing."""
    packed = backbone.pretrained.startswith(catalogue.PACKAGE)
    try:
        file = expand(backbone.pretrained)
        weights = str(file) if file.is_file() else backbone.pretrained
        if packed:
            logging.disable(logging.WARNING)  # open_clip warns that no weights were loaded: they are, just below
        model = open_clip.create_model(backbone.model, pretrained=None if packed else weights)
        vocabulary = _load_packed(model, _path(backbone.pretrained)) if packed else None
    except Exception as error:  # open_clip, torch, safetensors and the Hugging Face client fail in many ways
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise OodgridError(
            f"backbone {backbone.name}: cannot load '{backbone.pretrained}' for {backbone.model}: {said}. "
            "Offline? Fill the Hugging Face cache on a machine with network"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    wanted = ("size", "mean", "std", "interpolation", "resize_mode")
    preprocessing = {key: model.visual.preprocess_cfg[key] for key in wanted}
    return model, vocabulary, preprocessing


def _given(backbone: Backbone) -> dict[str, Any]:
    given = {"interpolation": backbone.interpolation, "resize_mode": backbone.resize_mode}
    return {key: value for key, value in given.items() if value is not None}


def _load_packed(model: torch.nn.Module, path: Path) -> frozenset[int]:
    """Load weights whose token table holds the trained rows only, and return the ids of those rows."""
    import torch
    from safetensors.torch import load_file

    state = {name: values.float() if values.is_floating_point() else values for name, values in load_file(path).items()}
    ids, rows = state.pop("token_embedding.ids").long(), state.pop("token_embedding.rows")
    table = torch.zeros_like(model.token_embedding.weight)
    table[ids] = rows
    model.load_state_dict({**state, "token_embedding.weight": table})
    return frozenset(ids.tolist())


def _weights_sha256(model: torch.nn.Module) -> str:
    hasher = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        hasher.update(name.encode() + json.dumps([str(values.dtype), list(values.shape)]).encode())
        hasher.update(values.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()


def _path(name: str) -> Path:
    return catalogue.packaged(name) if name.startswith(catalogue.PACKAGE) else expand(name)
