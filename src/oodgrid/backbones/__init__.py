"""Loading a backbone: architecture, weights, preprocessing and tokenizer, and the identity of all these."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from oodgrid import devices
from oodgrid.backbones import open_clip_models, timm_models, weights
from oodgrid.backbones.words import never_saw, unseen_words
from oodgrid.config import Backbone
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, printable
from oodgrid.identity import digest

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from oodgrid.config.backbone import Conse

__all__ = ["LoadedBackbone", "load"]

PURE = {"fp16": "float16", "bf16": "bfloat16"}  # weights and arithmetic
MIXED = {"amp_fp16": "float16", "amp_bf16": "bfloat16"}  # torch.autocast: weights stay fp32


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone ready to encode.

    Attributes:
        name: Its name in the configuration.
        model: The open_clip or timm model in eval mode, on `device`, without gradients.
        preprocess: Image to tensor (3, H, W).
        tokenizer: Texts to token ids; None for an image-only model.
        device: "cpu", or a GPU as "cuda:0".
        identity: Everything that decides its numbers, as JSON-able values.
        vocabulary: Token ids whose embeddings were trained; None where all were.
        reference: The same model in fp32, where `model` computes in less; else None.
    """

    name: str
    model: torch.nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor] | None
    device: str
    identity: dict[str, Any]
    vocabulary: frozenset[int] | None = None
    reference: torch.nn.Module | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a preprocessed image."""
        size = self.identity["preprocessing"]["size"]
        return (3, size, size) if isinstance(size, int) else (3, *size)

    @cached_property
    def width(self) -> int:
        """Numbers D of an image feature."""
        import torch

        with torch.inference_mode():
            return self.encode_image(torch.zeros(1, *self.input_shape, device=self.device)).shape[1]

    @property
    def exact(self) -> LoadedBackbone:
        """The same backbone in fp32."""
        identity = {**self.identity, "precision": "fp32"}
        return replace(self, model=self.reference or self.model, identity=identity, reference=None)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return image features, shape (N, D), float32, not normalised, of preprocessed images, shape (N, 3, H, W)."""
        return self._run(_encode_image, pixels).float()

    def encode_with(
        self, function: Callable[..., tuple[torch.Tensor, ...]], pixels: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return what a function of model and preprocessed images returns in this backbone's precision, as float32."""
        return tuple(values.float() for values in self._run(function, pixels))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return text features, shape (N, D), float32, not normalised, of token ids, shape (N, L).

        Raises:
            OodgridError: It is an image-only model.
        """
        if self.tokenizer is None:
            raise self._no_text_tower()
        return self._run(_encode_text, tokens).float()

    @property
    def text_tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            OodgridError: It is an image-only model.
        """
        if self.tokenizer is None:
            raise self._no_text_tower()
        return self.tokenizer

    def _no_text_tower(self) -> OodgridError:
        return OodgridError(
            f"backbone {self.name} has no text tower: write text: visual_prototypes for the ID datasets"
        )

    def parity(self, pixels: torch.Tensor, exact_pixels: torch.Tensor | None = None) -> dict[str, float] | None:
        """Return how far the features of some images are from those in fp32; None where they are these.

        Args:
            pixels: Preprocessed images, shape (N, 3, H, W).
            exact_pixels: The same images by the reference, where `pixels` were decoded in another way.
        """
        if self.reference is None and exact_pixels is None:
            return None
        features = self.encode_image(pixels)
        with devices.tf32(False):
            exact = _encode_image(self.reference or self.model, pixels if exact_pixels is None else exact_pixels)
        return {"images": len(features), **_cosines(features, exact)}

    def text_parity(self, texts: list[str]) -> dict[str, float] | None:
        """Return how far the features of some texts are from those in fp32; None where they are these."""
        import torch

        if self.reference is None:
            return None
        tokens = self.tokenize(texts).to(self.device)
        with torch.inference_mode():
            features = self.encode_text(tokens)
            with devices.tf32(False):
                exact = _encode_text(self.reference, tokens)
        return {"texts": len(texts), **_cosines(features, exact)}

    def tokenize(self, texts: list[str], names: Sequence[str] | None = None) -> torch.Tensor:
        """Return token ids, shape (N, context length).

        Args:
            texts: N texts.
            names: What messages call them. Default: as they begin.

        Raises:
            OodgridError: A text has no token, or needs one that this backbone never saw in training, or it takes no
                text.
        """
        tokenizer = self.text_tokenizer
        if broken := next((text for text in texts if not _is_unicode(text)), None):
            raise OodgridError(f"the text {broken!a} is no Unicode, which tokenizers need: rename the class or text")
        tokens = tokenizer(texts)
        if len(empty := (tokens < 0).all(dim=1).nonzero()):  # negative stands for no token
            name = (names or [repr(printable(text, 60)) for text in texts])[int(empty[0])]
            raise OodgridError(f"{name}: the text has no token for the tokenizer of {self.name}: take it out")
        if self.vocabulary is not None and not self.vocabulary.issuperset(set(tokens.flatten().tolist()) - {0}):
            words = unseen_words(texts, self.vocabulary, tokens.shape[1])
            first, *others = (text for text in texts if unseen_words([text], self.vocabulary, tokens.shape[1]))
            raise never_saw(self.name, words, f"{first!r}{' and other texts' * bool(others)}")
        return tokens

    def _run(self, function: Callable, inputs: torch.Tensor) -> Any:
        import torch

        precision = self.identity["precision"]
        if precision in PURE and inputs.is_floating_point():
            inputs = inputs.to(getattr(torch, PURE[precision]))
        mixed = getattr(torch, MIXED.get(precision, "bfloat16"))
        with (
            devices.tf32(precision == "tf32"),
            torch.autocast(self.device.split(":")[0], mixed, enabled=precision in MIXED),
        ):
            return function(self.model, inputs)


def _cosines(features: torch.Tensor, exact: torch.Tensor) -> dict[str, float]:
    import torch

    cosine = torch.nn.functional.cosine_similarity(features.double(), exact.double())
    return {"cosine_min": float(cosine.min()), "cosine_mean": float(cosine.mean())}


def _is_unicode(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text


def _encode_image(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    return model.encode_image(pixels, normalize=False) if hasattr(model, "encode_image") else model(pixels)


def _encode_text(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return model.encode_text(tokens, normalize=False)


def load(backbone: Backbone, device: str | None = None) -> LoadedBackbone:
    """Load a backbone on a device; default: the best one at hand.

    Raises:
        OodgridError: The architecture or the weights are unknown, missing or do not fit, or have another hash than
            the configuration says.
    """
    import torch

    if backbone.conse is not None:
        return _of_both(backbone, backbone.conse, device)
    device = device or devices.device()
    if device == "cpu" and ("fp16" in backbone.precision or backbone.precision == "tf32"):
        raise OodgridError(f"backbone {backbone.name}: precision {backbone.precision} needs a GPU: write bf16 or fp32")
    weights.check_hash(backbone)
    torch.manual_seed(backbone.seed)  # decides weights that are `random`, and nothing else
    tokenizer, vocabulary = None, None
    if not backbone.takes_images:
        return _of_texts(backbone, device)
    if backbone.model.startswith(timm_models.PREFIX):
        model, defaults = timm_models.build(backbone)
        architecture = {"timm": dict(model.pretrained_cfg).get("architecture", backbone.model)}
    else:
        model, tokenizer, defaults, vocabulary = open_clip_models.build(backbone)
        architecture = open_clip_models.architecture(backbone)
    model = model.to(device).eval().requires_grad_(False)
    preprocessing = _preprocessing(backbone, defaults)
    identity = {
        **backbone.identity,
        "architecture_sha256": digest(architecture),
        "activation": "QuickGELU" if architecture.get("quick_gelu") else "as the architecture says",
        "preprocessing": preprocessing,
        "weights_sha256": weights.state_sha256(model),
    }
    reference = None
    if backbone.precision != "fp32":
        reference, model = model, _in(backbone.precision, model)
    preprocess = _transform(preprocessing)
    return LoadedBackbone(backbone.name, model, preprocess, tokenizer, device, identity, vocabulary, reference)


def _of_texts(backbone: Backbone, device: str) -> LoadedBackbone:
    """Return a backbone of texts alone."""
    from oodgrid.backbones import text_models

    model, tokenizer, settings = text_models.build(backbone)
    model = model.to(device).eval().requires_grad_(False)
    identity = {**backbone.identity, **settings, "weights_sha256": weights.state_sha256(model)}
    reference = None
    if backbone.precision != "fp32":
        reference, model = model, _in(backbone.precision, model)
    preprocess = _no_image(backbone)
    return LoadedBackbone(backbone.name, model, preprocess, tokenizer, device, identity, reference=reference)


def _of_both(backbone: Backbone, conse: Conse, device: str | None) -> LoadedBackbone:
    """Return the joint space of a classifier and an encoder of texts."""
    import torch

    from oodgrid.backbones import heads
    from oodgrid.backbones.conse import ConseModel

    of_space = {"precision": backbone.precision}
    classifier, text = (load(each.model_copy(update=of_space), device) for each in (conse.classifier, conse.text))
    weights, bias = heads.read(conse.classifier, classifier)
    if classifier.width != weights.shape[1]:
        raise OodgridError(
            f"backbone {backbone.name}: the head of {classifier.name} is for features of {weights.shape[1]} numbers, "
            f"and its network has {classifier.width}: name the head of this network"
        )
    head = tuple(torch.from_numpy(part).to(classifier.device) for part in (weights, bias))
    model, *references = (
        ConseModel(conse, *encoders, head).eval()
        for encoders in ((classifier, text), (classifier.exact, text.exact))[: 1 if backbone.precision == "fp32" else 2]
    )
    parts = {"classifier": classifier.identity, "text": text.identity}
    of_head = hashlib.sha256(weights.tobytes() + bias.tobytes()).hexdigest()
    identity = {
        **backbone.identity,
        "decode": conse.classifier.decode,
        "preprocessing": classifier.identity["preprocessing"],
        "encoders": parts,
        "weights_sha256": digest([each["weights_sha256"] for each in parts.values()] + [of_head]),
    }
    return LoadedBackbone(
        backbone.name, model, classifier.preprocess, text.tokenizer, classifier.device, identity, text.vocabulary,
        *references,
    )  # fmt: skip


def _in(precision: str, model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a model in fp32 whose weights are of a precision."""
    import torch

    return copy.deepcopy(model).to(getattr(torch, PURE.get(precision, "float32")))


def _no_image(backbone: Backbone) -> Callable[[Image.Image], torch.Tensor]:
    def refuse(image: Image.Image) -> torch.Tensor:
        raise OodgridError(f"backbone {backbone.name} takes texts alone, and no image")

    return refuse


def _preprocessing(backbone: Backbone, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the preprocessing of the weights, changed as the configuration says."""
    preprocessing = {**defaults, **backbone.preprocessing}
    mode, size = preprocessing["resize_mode"], preprocessing["size"]
    if mode != "shortest":
        if backbone.resize:
            raise OodgridError(
                f"backbone {backbone.name}: resize is for resize_mode: shortest, and that of its weights is "
                f"{mode}: write resize_mode: shortest too"
            )
        preprocessing.pop("resize", None)  # which timm gives for the short side
    largest = size if isinstance(size, int) else max(size)
    if preprocessing.get("resize", largest) < largest:
        raise OodgridError(
            f"backbone {backbone.name}: resize {preprocessing['resize']} is less than the "
            f"{counted(largest, 'pixel')} to be cut"
        )
    return preprocessing


def _transform(preprocessing: dict[str, Any]) -> Callable[[Image.Image], torch.Tensor]:
    """Return open_clip's transform; with `resize`, the short side becomes that before the centre of `size` is cut."""
    open_clip = open_clip_models.import_open_clip()
    config = dict(preprocessing)
    size, resize = config.pop("size"), config.pop("resize", None)
    if resize is None:
        return open_clip.image_transform(is_train=False, image_size=size, **config)
    from torchvision import transforms

    mode = transforms.InterpolationMode(config["interpolation"])
    return transforms.Compose(
        [
            transforms.Resize(resize, interpolation=mode),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )
