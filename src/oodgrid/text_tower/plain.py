"""The plain way through any text tower: whole prompts, all their tokens, for every class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oodgrid.counts import counted
from oodgrid.errors import Skip
from oodgrid.text_tower.gaps import Filled, Gapped, prompts_of
from oodgrid.text_tower.prompts import Position, context_before
from oodgrid.text_tower.tower import TextTower, plain_names

if TYPE_CHECKING:
    import torch

PLACEHOLDERS = ("X", "~", "@", "&", "q")  # words to try; the first that is in no class name marks the context
NO_TOKEN = -2  # is none of any tokenizer
CLASSES = 32  # per pass; the backward pass computes each again, to keep the memory of one


@dataclass(frozen=True, eq=False)
class PlainPrompts:
    """Class names, and their position among the context vectors."""

    names: list[str]
    position: Position

    def __len__(self) -> int:
        """Return the number of classes K."""
        return len(self.names)

    def texts(self, tokens: int, placeholder: str) -> list[str]:
        """Return whole prompts with a placeholder for each context vector."""
        before = context_before(self.position, tokens)
        fronts, backs = [placeholder] * before, [placeholder] * (tokens - before)
        return [" ".join([*fronts, name, *backs]) + "." for name in self.names]


class PlainTower(TextTower):
    """A frozen text tower of any kind that embeds tokens: SigLIP's, Hugging Face's, bidirectional ones.

    The tower's own code runs, with the embeddings of placeholder words replaced by the context. As slow as the
    methods' official code, which always goes this way. Where a name that ends in punctuation stands before the
    context, the full stop is a token of its own here; CoOp's code keeps the two together.
    """

    note = "the plain text tower: it is not causal and read at the end token, so nothing can be left out"

    def embed(self, text: str) -> torch.Tensor:
        """Return the embeddings of the tokens of a text, without those that the tokenizer adds, shape (L, W)."""
        self.loaded.tokenize([text])  # refuses words that were never trained
        for word in PLACEHOLDERS:  # between two of them stand the tokens of the text alone
            ids = self.loaded.text_tokenizer([f"{word} {text} {word}"])[0]
            places = (ids == self._id(word)).nonzero().flatten().tolist()
            if len(places) == 2:
                return self.embedding.weight[ids[places[0] + 1 : places[1]]].float()
        raise Skip(f"the tokenizer of {self.loaded.name} cannot embed {text!r} alone")

    def prompts(self, names: Sequence[str], position: Position = "end") -> PlainPrompts:
        """Return the names and their position; see `TextTower.prompts`."""
        return PlainPrompts(plain_names(self.loaded, names), position)

    def encode(self, context: torch.Tensor, prompts: PlainPrompts) -> torch.Tensor:
        """Return normalised text embeddings, shape (K, D); see `TextTower.encode`."""
        checkpoint = self._torch.utils.checkpoint.checkpoint
        count = context.shape[-2]
        tokens, marked = self._once(prompts, count, lambda: self._tokens(prompts, count))
        contexts = context.expand(len(prompts), -1, -1)
        parts = zip(tokens.split(CLASSES), marked.split(CLASSES), contexts.split(CLASSES), strict=True)
        with self.computing():
            embeddings = [checkpoint(self._whole, *part, use_reentrant=False) for part in parts]
        return self._torch.nn.functional.normalize(self._torch.cat(embeddings).float(), dim=-1)

    def encode_each(self, contexts: torch.Tensor, prompts: PlainPrompts) -> torch.Tensor:
        """Return normalised text embeddings, shape (B, K, D); see `TextTower.encode_each`."""
        return self._torch.stack([self.encode(context, prompts) for context in contexts])

    def gapped(self, template: str, words: Sequence[str]) -> Gapped:
        """Tokenise prompts whose words' last token is replaced; see `TextTower.gapped`."""
        texts, heads = prompts_of(self.loaded, template, words)
        tokens, shorter = (self.loaded.text_tokenizer(each) for each in (texts, heads))
        shorter = self._torch.nn.functional.pad(shorter, (0, tokens.shape[1] - shorter.shape[1]), value=NO_TOKEN)
        behind = (tokens != shorter).to(self._torch.uint8).argmax(dim=1)  # the first token that is not the word's
        return Gapped(self._padded(tokens).tolist(), [place - 1 for place in behind.tolist()])

    def together(self, gapped: Gapped) -> int:
        """Return how many prompts may pass at once."""
        return CLASSES

    def filled(self, gapped: Gapped, rows: Sequence[int]) -> Filled:
        """Return unit features of prompts with vectors in their gaps, whole prompts at each call."""
        torch = self._torch
        tokens = torch.tensor([gapped.ids[row] for row in rows], device=self.device)
        places = torch.tensor([gapped.gaps[row] for row in rows], device=self.device)
        marked = torch.arange(tokens.shape[1], device=self.device) == places[:, None]

        def of(vectors: Any) -> Any:
            with self.computing():
                return torch.nn.functional.normalize(self._whole(tokens, marked, vectors), dim=-1)

        return of

    def _padded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return token ids (M, L) as the tower takes them."""
        return tokens

    def _tokens(self, prompts: PlainPrompts, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids, shape (K, L), and which of them are placeholders of context vectors, shape (K, L)."""
        from oodgrid.backbones.tokens import cut_rows

        for word in PLACEHOLDERS:
            tokens = self.loaded.text_tokenizer(prompts.texts(count, word)).to(self.device)
            marked = tokens == self._id(word)
            if bool((marked.sum(dim=1) == count).all()) and not cut_rows(self.loaded, prompts.texts(count, word)):
                return tokens, marked
        raise Skip(f"prompts of {counted(count, 'context token')} and the class names do not fit the text tower")

    def _whole(self, tokens: torch.Tensor, marked: torch.Tensor, contexts: torch.Tensor) -> torch.Tensor:
        """Return embeddings, shape (k, D), not normalised, of token ids (k, L) with contexts (k, M, W) where marked."""

        def put(module: torch.nn.Module, inputs: tuple, embedded: torch.Tensor) -> torch.Tensor:
            return embedded.masked_scatter(marked[..., None], contexts.to(embedded.dtype))

        hook = self.embedding.register_forward_hook(put)
        try:
            return self._embeddings(tokens)
        finally:
            hook.remove()

    def _embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return text embeddings (k, D), not normalised, of token ids (k, L)."""
        return self.loaded.model.encode_text(tokens, normalize=False)

    def _id(self, word: str) -> int:
        """Return the one token of a word; `NO_TOKEN` where the tokenizer makes several of it, or joins neighbours."""
        # The token that occurs as often as the word does is neither padding nor a mark of start or end.
        twice, thrice = (self.loaded.text_tokenizer([" ".join([word] * count)])[0].tolist() for count in (2, 3))
        tokens = [token for token in set(thrice) if twice.count(token) == 2 and thrice.count(token) == 3]
        return tokens[0] if len(tokens) == 1 else NO_TOKEN


class EncoderTower(PlainTower):
    """A frozen encoder or decoder of Hugging Face's library transformers, of texts alone or of a joint space."""

    note = "the plain text tower, of an encoder of texts: every token may see every other, so nothing can be left out"

    @property
    def embedding(self) -> torch.nn.Module:
        """The table of token embeddings."""
        return self.part.network.get_input_embeddings()

    def _id(self, word: str) -> int:
        """Return the one token of a word, likewise, but for the padding's, which has no place in RoBERTa."""
        token = super()._id(word)
        return NO_TOKEN if token == getattr(self.part.network.config, "pad_token_id", None) else token

    def _tokens(self, prompts: PlainPrompts, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids and which are placeholders, likewise, padded as far as the longest would be by itself."""
        tokens, marked = super()._tokens(prompts, count)
        tokens = self._padded(tokens)
        return tokens, self._torch.nn.functional.pad(marked, (0, tokens.shape[1] - marked.shape[1]))

    def _padded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return token ids padded as far as the longest would be by itself."""
        from oodgrid.backbones.text_network import to_length

        return to_length(tokens, self.part.padded(tokens.shape[1]))

    def _embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return text embeddings (k, D), not normalised, of token ids (k, L)."""
        return self.part.pooled(tokens)
