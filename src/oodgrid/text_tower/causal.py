"""The fast way through a causal text tower that is read at the end token; its results are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from oodgrid.counts import counted
from oodgrid.errors import Skip
from oodgrid.text_tower.gaps import Filled, Gapped, prompts_of
from oodgrid.text_tower.prompts import Layout, Position, Prompts, end_of
from oodgrid.text_tower.tower import TextTower, plain_names

if TYPE_CHECKING:
    import torch

    from oodgrid.backbones import LoadedBackbone

ACTIVATIONS = 2 << 30  # bytes that a pass may keep for its backward pass; more is cut into parts, computed twice
SAVED = 16  # numbers per token, layer and unit of width that a pass keeps for its backward pass (measured: 13 to 16)


class CausalTower(TextTower):
    """A frozen causal text tower, read at the end token.

    Three savings follow, all exact. What follows the end token changes nothing, so every prompt is cut there, and the
    tokens of all classes are packed one after another without padding. Start token and context come first and are the
    same for all classes, so their hidden states are too: they pass the layers once, and the tokens of the names attend
    to them. And in the last layer only the end tokens are computed.
    """

    def __init__(self, loaded: LoadedBackbone) -> None:
        super().__init__(loaded)
        for block in self.part.transformer.resblocks:
            _fold_quick_gelu(block.mlp)

    def embed(self, text: str) -> torch.Tensor:
        """Return the embeddings of the tokens of a text without start and end, shape (L, W)."""
        ids = self._ids([text])[0]
        return self.embedding.weight[ids[1:-1]].float()

    def prompts(self, names: Sequence[str], position: Position = "end") -> Prompts:
        """Tokenise "name." for every class; see `TextTower.prompts`."""
        plain = plain_names(self.loaded, names)
        prompt_ids, name_ids = self._ids([f"{name}." for name in plain]), self._ids(plain)
        return Prompts([ids[1:] for ids in prompt_ids], [len(ids) - 2 for ids in name_ids], position, prompt_ids[0][0])

    @cached_property
    def _end(self) -> int | None:
        """The id of the end token where the tower finds it by that; None where it takes the highest id of a prompt."""
        pool = getattr(self.part, "pool_type", getattr(self.part, "text_pool_type", "argmax"))
        return getattr(self.part, "eos_id", getattr(self.part, "text_eos_id", None)) if pool == "eos" else None

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts, each up to its end token."""
        rows = self.loaded.tokenize(texts).tolist()
        return [row[: end_of(row, self._end) + 1] for row in rows]

    def encode(self, context: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """Return normalised text embeddings, shape (K, D); see `TextTower.encode`."""
        plan = self._plan(prompts, context.shape[-2], specific=context.ndim == 3)
        return self._through(plan, context.flatten(0, -2)[None])[0]

    def encode_each(self, contexts: torch.Tensor, prompts: Prompts) -> torch.Tensor:
        """Return normalised text embeddings, shape (B, K, D); see `TextTower.encode_each`."""
        plan = self._plan(prompts, contexts.shape[1], specific=False)
        size = max(1, self._room // plan.tokens)
        parts = [
            self._through(plan, contexts[start : start + size], size < len(contexts))
            for start in range(0, len(contexts), size)
        ]
        return self._torch.cat(parts)

    def gapped(self, template: str, words: Sequence[str]) -> Gapped:
        """Tokenise prompts whose words' last token is replaced; see `TextTower.gapped`."""
        texts, heads = prompts_of(self.loaded, template, words)
        # The last token of the word is found where the prompt ends behind it, as in the code of TINS.
        return Gapped(self._ids(texts), [len(ids) - 2 for ids in self._ids(heads)])

    def together(self, gapped: Gapped) -> int:
        """Return how many prompts may pass at once; see `TextTower.together`."""
        return max(1, self._room // max(map(len, gapped.ids), default=1))

    def filled(self, gapped: Gapped, rows: Sequence[int]) -> Filled:
        """Return unit features of prompts with vectors in their gaps; see `TextTower.filled`.

        What stands before the gap does not see it: its keys and values are computed once, here. At each call the
        vector and the tokens behind it alone pass the layers.
        """
        torch = self._torch
        parts, places = [], []
        for (before, after), members in gapped.by_shape(rows).items():
            ids = torch.tensor([gapped.ids[rows[place]] for place in members], device=self.device)
            with torch.no_grad(), self.computing():
                embedded = self.embedding.weight[ids] + self.part.positional_embedding[: ids.shape[1]]
                fronts = self._fronts(embedded[:, :before])
            tokens = Tokens.of([list(range(1 + after))], before, self.device)
            parts.append((torch.tensor(members, device=self.device), embedded[:, before + 1 :], fronts, tokens, before))
            places += members
        back = torch.tensor(places, device=self.device).argsort()

        def of(vectors: Any) -> Any:
            features = []
            with self.computing():
                for members, behind, fronts, tokens, gap in parts:
                    here = vectors[members] + self.part.positional_embedding[gap]
                    features.append(self._names(tokens, torch.cat([here[:, None], behind], dim=1), fronts)[:, 0])
            return torch.nn.functional.normalize(torch.cat(features)[back], dim=-1)

        return of

    @cached_property
    def _room(self) -> int:
        """How many tokens may pass at once and keep what the backward pass needs."""
        part = self.part
        return self._activations() // (SAVED * 4 * self.width * len(part.transformer.resblocks))

    def _activations(self) -> int:
        """Return the bytes that a pass may keep: on a GPU a quarter of its memory.

        Not of what is free: the parts, and with them the last bits of a fit, would depend on who else is there.
        """
        if self._torch.device(self.device).type != "cuda":
            return ACTIVATIONS
        return max(ACTIVATIONS, self._torch.cuda.get_device_properties(self.device).total_memory // 4)

    def _plan(self, prompts: Prompts, tokens: int, specific: bool) -> Plan:
        """Return what does not change while contexts of so many tokens are learned, computed once for these prompts."""
        return self._once(
            prompts, (tokens, specific, self._room), lambda: self._planned(prompts, prompts.layout(tokens, specific))
        )

    def _planned(self, prompts: Prompts, layout: Layout) -> Plan:
        torch = self._torch
        if layout.longest > self.part.context_length:
            raise Skip(
                f"with {counted(layout.context, 'context token')} the longest prompt has "
                f"{counted(layout.longest, 'token')}, the text tower "
                f"takes {self.part.context_length}: shorten the context, or the longest class names"
            )
        ids = torch.tensor([prompts.start, *(token for row in prompts.ids for token in row)], device=self.device)
        # Classes are sorted by length: those of one length then lie together and attend in one product.
        order = sorted(range(len(layout.classes)), key=lambda row: len(layout.classes[row]))
        back = sorted(range(len(order)), key=order.__getitem__)  # the inverse of that permutation
        groups = self._groups([layout.classes[row] for row in order], len(layout.front))
        return Plan(
            self.part.token_embedding(ids), torch.tensor(layout.front, device=self.device), list(groups),
            torch.tensor(back, device=self.device), layout.mixed, sum(map(len, layout.classes)),
        )  # fmt: skip

    def _through(self, plan: Plan, vectors: torch.Tensor, in_parts: bool = False) -> torch.Tensor:
        """Return normalised embeddings, shape (B, K, D).

        Args:
            plan: The order of all tokens.
            vectors: Shape (B, V, W): the vectors of B contexts, each of which is a pass of all classes.
            in_parts: Whether other contexts pass after these, so that the memory of all at once would be too much.
        """
        torch = self._torch
        pool = torch.cat([plan.fixed.expand(len(vectors), -1, -1), vectors], dim=1)
        front = pool[:, plan.front] + self.part.positional_embedding[: len(plan.front)]
        # Where no context vector is among the names' tokens, these need no gradient of their input. Detached, they do
        # not pass a gradient as large as all tokens back to the pool.
        names = pool if plan.mixed else pool.detach()
        through = partial(self._group, names)
        if torch.is_grad_enabled() and pool.requires_grad and (in_parts or len(plan.groups) > 1):
            # Each part keeps its input alone, and the backward pass computes it again: hence each computes the states
            # of the front for itself, instead of sharing, and so keeping, them.
            through = partial(torch.utils.checkpoint.checkpoint, through, use_reentrant=False)
        with self.computing():
            embeddings = torch.cat([through(front, group) for group in plan.groups], dim=1)
        return torch.nn.functional.normalize(embeddings[:, plan.back].float(), dim=-1)

    def _group(self, names: torch.Tensor, front: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """Return the embeddings of the classes of one group, shape (B, k, D), not normalised."""
        x = names[:, tokens.rows] + self.part.positional_embedding[tokens.positions]
        return self._names(tokens, x, self._fronts(front))

    def _groups(self, classes: list[list[int]], front: int) -> Iterator[Tokens]:
        """Yield the classes, which are sorted by length, in groups that fit into memory together."""
        group: list[list[int]] = []
        for rows in classes:
            if group and sum(map(len, group)) + len(rows) > self._room:
                yield Tokens.of(group, front, self.device)
                group = []
            group.append(rows)
        yield Tokens.of(group, front, self.device)

    def _fronts(self, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the keys and values in every layer of the front, of embeddings (B, P, W)."""
        pairs = []
        blocks = self.part.transformer.resblocks
        for number, block in enumerate(blocks):
            queries, keys, values = _projected(block, x)
            pairs.append((keys, values))
            if number + 1 < len(blocks):  # the output of the front in the last layer is read by nothing
                attended = self._torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
                x = _finished(block, x, attended)
        return pairs

    def _names(self, tokens: Tokens, x: torch.Tensor, fronts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return text embeddings, shape (B, k, D), not normalised, of packed tokens, shape (B, T, W)."""
        blocks = list(self.part.transformer.resblocks)
        for block, front in zip(blocks[:-1], fronts, strict=False):
            queries, keys, values = _projected(block, x)
            x = _finished(block, x, self._attend(queries, keys, values, front, tokens))
        # The embedding is read at the end tokens: in the last layer only they need queries, but all keys and values.
        queries, keys, values = _projected(blocks[-1], x)
        attended = self._attend(queries[:, :, tokens.ends], keys, values, fronts[-1], tokens)
        x = self.part.ln_final(_finished(blocks[-1], x[:, tokens.ends], attended))
        projection = self.part.text_projection
        if projection is None:
            return x
        return projection(x) if callable(projection) else x @ projection

    def _attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        front: tuple[torch.Tensor, torch.Tensor],
        tokens: Tokens,
    ) -> torch.Tensor:
        """Return the attention of packed tokens to the front and to their own class, shape (B, H, Q, W / H).

        Args:
            queries: Shape (B, H, Q, W / H): of all tokens, or of the end token of each class.
            keys: Shape (B, H, T, W / H), of all tokens.
            values: Shape (B, H, T, W / H), of all tokens.
            front: Keys and values of the front, shape (B, H, P, W / H).
            tokens: How the tokens are packed.
        """
        torch = self._torch
        queries = queries * queries.shape[-1] ** -0.5
        all_query, front_length = queries.shape[2] == keys.shape[2], front[0].shape[2]
        sizes = [count * length for count, length in tokens.buckets]
        query_sizes = sizes if all_query else [count for count, _ in tokens.buckets]
        # The front is the same for all classes: one product with the queries of all, whatever the length of the name.
        to_front = queries @ front[0].transpose(-1, -2)
        # `split`, because the gradient of a slice is as large as the tensor that it is cut from.
        parts = zip(
            queries.split(query_sizes, 2), to_front.split(query_sizes, 2), keys.split(sizes, 2), values.split(sizes, 2),
            strict=True,
        )  # fmt: skip
        outputs = []
        for (count, _), later, part in zip(tokens.buckets, tokens.later, parts, strict=True):
            # A bucket becomes a batch of `count` classes of one length, (B, H, count, tokens, W / H): without padding,
            # and without attention between classes. One softmax runs over the front and the class's own tokens, so
            # their weights are joined for it, and split again because the values of the front are shared.
            query, front_weights, key, value = (tensor.unflatten(2, (count, -1)) for tensor in part)
            class_weights = query @ key.transpose(-1, -2)
            if all_query:  # nothing comes after an end token
                class_weights = class_weights.masked_fill(later, -torch.inf)
            weights = torch.cat([front_weights, class_weights], dim=-1).softmax(dim=-1).to(value.dtype)
            front_weights, class_weights = weights.split([front_length, weights.shape[-1] - front_length], dim=-1)
            outputs.append((class_weights @ value).flatten(2, 3) + front_weights.flatten(2, 3) @ front[1])
        return torch.cat(outputs, dim=2)


@dataclass(frozen=True)
class Plan:
    """All of a pass that does not depend on the context vectors.

    Attributes:
        fixed: Shape (F, W), embeddings of the start token and of the names' tokens; these, and after them the context
            vectors, are the pool to which rows refer.
        front: Shape (P,), the rows with which the prompts of all classes begin.
        groups: The rest of the prompts, in groups that fit into memory together, shorter classes first.
        back: Shape (K,), the place of every class in that order.
        mixed: Whether there are context vectors in the groups.
        tokens: Number of tokens in the groups.
    """

    fixed: torch.Tensor
    front: torch.Tensor
    groups: list[Tokens]
    back: torch.Tensor
    mixed: bool
    tokens: int


@dataclass(frozen=True)
class Tokens:
    """The tokens of some classes, packed one after another; classes of equal length lie together, as a bucket.

    Attributes:
        rows: Shape (T,), rows of the pool.
        positions: Shape (T,), positions in the prompt.
        ends: Shape (k,), the place of every class's end token among the T.
        buckets: For every bucket, the number of classes and the number of tokens of each.
        later: For every bucket, shape (tokens, tokens), bool: whether the second token comes after the first.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    ends: torch.Tensor
    buckets: list[tuple[int, int]]
    later: list[torch.Tensor]

    @classmethod
    def of(cls, classes: list[list[int]], front: int, device: str) -> Tokens:
        """Pack classes that are sorted by length and follow a front of so many tokens."""
        import torch

        lengths = [len(rows) for rows in classes]
        buckets = [(count, length) for length, count in Counter(lengths).items()]
        rows = torch.tensor([row for rows in classes for row in rows], device=device)
        positions = torch.tensor([front + place for length in lengths for place in range(length)], device=device)
        ends = torch.tensor(lengths).cumsum(0).sub(1).to(device)
        later = [torch.ones(length, length, dtype=torch.bool, device=device).triu(1) for _, length in buckets]
        return cls(rows, positions, ends, buckets, later)


def _fold_quick_gelu(mlp: torch.nn.Module) -> None:
    """Replace x · sigmoid(1.702 x) by silu(1.702 x) / 1.702 with the factors in the weights: one kernel, not three."""
    import torch

    if type(mlp.gelu).__name__ == "QuickGELU":
        mlp.c_fc.weight.mul_(1.702)
        mlp.c_fc.bias.mul_(1.702)
        mlp.c_proj.weight.div_(1.702)
        mlp.gelu = torch.nn.SiLU()


def _projected(block: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return queries, keys and values, each of shape (B, H, tokens, W / H)."""
    import torch

    attention = block.attn
    projected = torch.nn.functional.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    parts = projected.unflatten(-1, (3, attention.num_heads, attention.head_dim))
    return parts.permute(2, 0, 3, 1, 4).unbind()


def _finished(block: torch.nn.Module, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """Return the block's output for x (B, tokens, W) with the result of its attention, (B, H, tokens, W / H)."""
    x = x + block.ls_1(block.attn.out_proj(attended.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
