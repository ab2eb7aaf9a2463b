"""What prompt learners need of a text tower, whatever kind it is."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from oodgrid.adapt.contract import Skip
from oodgrid.adapt.text_tower.prompts import Position, Prompts, end_of
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import types

    import torch

    from oodgrid.backbones import LoadedBackbone

Precision = Literal["fp32", "bf16", "fp16"]
Constant = TypeVar("Constant")


def see_apart(loaded: LoadedBackbone, names: list[str]) -> None:
    """Raise Skip where the text tower does not see all of every "name.", or sees no difference between two."""
    from oodgrid.backbones.tokens import refuse_classes

    try:
        refuse_classes(loaded, names, [f"{name}." for name in names])
    except OodgridError as error:
        raise Skip(str(error)) from error


class TextTower:
    """The frozen text tower of one backbone, on embeddings in place of tokens.

    Attributes:
        loaded: The backbone.
        part: The module that holds the text tower's layers.
        device: Where it computes.
        precision: In which the layers compute.
        note: What a user should know of the way it computes; None where there is nothing to say.
    """

    precision: Precision = "fp32"
    note: str | None = None

    def __init__(self, loaded: LoadedBackbone) -> None:
        import torch

        self.loaded, self.device = loaded, loaded.device
        self.part = getattr(loaded.model, "text", loaded.model)
        self._torch: types.ModuleType = torch
        self._constants: WeakKeyDictionary[Any, dict[Hashable, Any]] = WeakKeyDictionary()  # of prompts that live

    @property
    def embedding(self) -> torch.nn.Module:
        """The table of token embeddings."""
        found = getattr(self.part, "token_embedding", None)
        return found if found is not None else self.part.transformer.get_input_embeddings()

    @property
    def width(self) -> int:
        """Width W of the token embeddings."""
        return self.embedding.weight.shape[1]

    @cached_property
    def logit_scale(self) -> float:
        """The learned logit scale (100 for OpenAI's weights)."""
        return float(self.loaded.model.logit_scale.exp())

    def embed(self, text: str) -> torch.Tensor:
        """Return the embeddings of the tokens of a text without start and end, shape (L, W)."""
        ids = self._ids([text])[0]
        return self.embedding.weight[ids[1:-1]].float()

    def prompts(self, names: list[str], position: Position = "end") -> Prompts:
        """Tokenise "name." for every class; underscores are spaces."""
        plain = [name.replace("_", " ") for name in names]
        see_apart(self.loaded, plain)
        whole, named = self._ids([f"{name}." for name in plain]), self._ids(plain)
        return Prompts([ids[1:] for ids in whole], [len(ids) - 2 for ids in named], position, whole[0][0])

    def at(self, precision: Precision) -> TextTower:
        """Return this tower computing in another precision; its weights and what it returns stay float32."""
        other = copy.copy(self)
        other.precision = precision
        return other

    def computing(self) -> contextlib.AbstractContextManager:
        """Return the context under which the layers run: torch's autocast, where the precision is not fp32."""
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

    def _once(self, prompts: Any, key: Hashable, make: Callable[[], Constant]) -> Constant:
        """Return what `make` gives, made at the first call with these prompts: the steps of a training share it."""
        known = self._constants.setdefault(prompts, {})
        if key not in known:
            # Where it is made first, there may be no gradients at all; later steps want to go through it.
            with self._torch.inference_mode(False), self._torch.no_grad():
                known[key] = make()
        return known[key]

    @cached_property
    def _end(self) -> int | None:
        """The id of the end token where the tower is read there by its id; None where by the highest id."""
        pool = getattr(self.part, "pool_type", getattr(self.part, "text_pool_type", "argmax"))
        return getattr(self.part, "eos_id", getattr(self.part, "text_eos_id", None)) if pool == "eos" else None

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts, each up to its end token."""
        rows = self.loaded.tokenize(texts).tolist()
        return [row[: end_of(row, self._end) + 1] for row in rows]
