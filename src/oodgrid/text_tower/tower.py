"""A text tower as prompt learners use it, of whatever kind it is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from oodgrid.errors import OodgridError, Skip
from oodgrid.text_tower.gaps import Filled, Gapped
from oodgrid.text_tower.prompts import Position

if TYPE_CHECKING:
    import types

    import torch

    from oodgrid.backbones import LoadedBackbone

Precision = Literal["fp32", "bf16", "fp16"]
Constant = TypeVar("Constant")
SCALE = 100.0  # by which all training logits here are divided on their way to the cosine scale


def plain_names(loaded: LoadedBackbone, names: Sequence[str]) -> list[str]:
    """Return class names with spaces for underscores.

    Raises:
        Skip: The text tower cuts a "name.", or sees no difference between two.
    """
    from oodgrid.backbones.tokens import refuse_classes

    plain = [name.replace("_", " ") for name in names]
    try:
        # a name that stands twice was taken when texts were encoded
        refuse_classes(loaded, names, [f"{name}." for name in plain], twice=True)
    except OodgridError as error:
        raise Skip(str(error)) from error
    return plain


class TextTower:
    """The frozen text tower of one backbone, which takes embeddings in place of tokens.

    Attributes:
        loaded: The backbone.
        part: The module that holds the text tower's layers.
        device: Where it computes.
        precision: The precision in which the layers compute.
        note: What a user should know about the way it computes; None where there is nothing to say.
    """

    precision: Precision = "fp32"
    note: str | None = None

    def __init__(self, loaded: LoadedBackbone) -> None:
        import torch

        self.loaded, self.device = loaded, loaded.device
        self.part = getattr(loaded.model, "text", loaded.model)
        self._torch: types.ModuleType = torch
        # For each prompts object that is still in use: what does not change while contexts are learned.
        self._constants: WeakKeyDictionary[Any, dict[Hashable, Any]] = WeakKeyDictionary()

    @property
    def embedding(self) -> torch.nn.Module:
        """The table of token embeddings."""
        table = getattr(self.part, "token_embedding", None)
        return self.part.transformer.get_input_embeddings() if table is None else table

    @property
    def width(self) -> int:
        """Width W of the token embeddings."""
        return self.embedding.weight.shape[1]

    @cached_property
    def logit_scale(self) -> float:
        """The learned logit scale (100 for OpenAI's weights); 100 of a space that has learned none."""
        scale = getattr(self.loaded.model, "logit_scale", None)
        return SCALE if scale is None else float(scale.exp())

    def embed(self, text: str) -> torch.Tensor:
        """Return the embeddings of the tokens of a text without start and end, shape (L, W)."""
        raise NotImplementedError

    def prompts(self, names: Sequence[str], position: Position = "end") -> Any:
        """Prepare a "name." for every class, for `encode` and `encode_each`; underscores are spaces.

        Raises:
            Skip: The text tower cuts one, or sees no difference between two.
        """
        raise NotImplementedError

    def at(self, precision: Precision) -> TextTower:
        """Return this tower, computing in another precision; its weights and results stay float32."""
        other = copy.copy(self)
        other.precision = precision
        return other

    def computing(self) -> contextlib.AbstractContextManager:
        """Return the context manager under which the layers run: torch's autocast, unless the precision is fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        kind = {"bf16": self._torch.bfloat16, "fp16": self._torch.float16}[self.precision]
        return self._torch.autocast(self.device.split(":")[0], kind)

    def encode(self, context: torch.Tensor, prompts: Any) -> torch.Tensor:
        """Return normalised text embeddings, shape (K, D), float32.

        Args:
            context: Shape (M, W), shared by all classes, or (K, M, W), one for every class; gradients flow to it.
            prompts: From `prompts`.

        Raises:
            Skip: A prompt is longer than the tower takes.
        """
        raise NotImplementedError

    def encode_each(self, contexts: torch.Tensor, prompts: Any) -> torch.Tensor:
        """Return normalised text embeddings of all classes under each of B contexts, shape (B, K, D), float32.

        Args:
            contexts: Shape (B, M, W), each shared by all classes.
            prompts: From `prompts`.
        """
        raise NotImplementedError

    def gapped(self, template: str, words: Sequence[str]) -> Gapped:
        """Prepare a template with each word, whose last token `filled` replaces; underscores are spaces.

        Raises:
            Skip: The text tower cuts one, or never saw it.
        """
        raise NotImplementedError

    def at_gaps(self, gapped: Gapped) -> torch.Tensor:
        """Return the embeddings of the tokens that are to be replaced, shape (M, W)."""
        tokens = [ids[gap] for ids, gap in zip(gapped.ids, gapped.gaps, strict=True)]
        return self.embedding.weight[self._torch.tensor(tokens, device=self.device)]

    def filled(self, gapped: Gapped, rows: Sequence[int]) -> Filled:
        """Return a function of B vectors, shape (B, W): the normalised embeddings (B, D) of prompts that have them.

        Args:
            gapped: From `gapped`.
            rows: Which B of its prompts, of which each may occur several times.
        """
        raise NotImplementedError

    def together(self, gapped: Gapped) -> int:
        """Return how many of such prompts may pass at once and keep what the backward pass needs."""
        raise NotImplementedError

    def _once(self, prompts: Any, key: Hashable, make: Callable[[], Constant]) -> Constant:
        """Return the result of `make`, which is called once for these prompts and this key, and not at every step."""
        constants = self._constants.setdefault(prompts, {})
        if key not in constants:
            # The first call may be one under inference mode, whose tensors no later training step could use.
            with self._torch.inference_mode(False), self._torch.no_grad():
                constants[key] = make()
        return constants[key]
