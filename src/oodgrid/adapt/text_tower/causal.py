"""The exact and fast way through a causal text tower that is read at the end token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from oodgrid.adapt.contract import Skip
from oodgrid.adapt.text_tower.tower import TextTower

if TYPE_CHECKING:
    import torch

    from oodgrid.adapt.text_tower.prompts import Layout, Prompts
    from oodgrid.backbones import LoadedBackbone

ACTIVATIONS = 2 << 30  # bytes that one pass may keep for its gradient; more is computed twice, in parts
SAVED = 16  # numbers a token, layer and unit of width that a pass keeps for its gradient (measured: 13 to 16)


class CausalTower(TextTower):
    """A frozen causal text tower, read at the end token.

    Three savings follow from that, all exact. Whatever follows the end token changes nothing, so every prompt is cut
    there: the tokens of all classes lie packed behind one another, without padding. Start token and context, which
    stand in front and are the same for all classes, have the same hidden states for all: they pass the layers once,
    and only the names' tokens attend to them. And of the last layer only the end tokens are computed.
    """

    def __init__(self, loaded: LoadedBackbone) -> None:
        super().__init__(loaded)
        for block in self.part.transformer.resblocks:
            _fold_quick_gelu(block.mlp)

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

    @cached_property
    def _room(self) -> int:
        """Tokens that may pass at once and keep what their gradient needs."""
        part = self.part
        return ACTIVATIONS // (SAVED * 4 * self.width * len(part.transformer.resblocks))

    def _plan(self, prompts: Prompts, tokens: int, specific: bool) -> Plan:
        """Return all that stays while contexts of so many tokens are learned, made once for these prompts."""
        return self._once(
            prompts, (tokens, specific, self._room), lambda: self._planned(prompts, prompts.layout(tokens, specific))
        )

    def _planned(self, prompts: Prompts, layout: Layout) -> Plan:
        torch = self._torch
        if layout.longest > self.part.context_length:
            raise Skip(
                f"with {layout.context} context tokens the longest prompt has {layout.longest} tokens, the text tower "
                f"takes {self.part.context_length}: shorten the context, or the longest class names"
            )
        ids = torch.tensor([prompts.start, *(token for row in prompts.ids for token in row)], device=self.device)
        # Classes pass by length, so that those of one length lie together and attend in one product.
        order = sorted(range(len(layout.classes)), key=lambda row: len(layout.classes[row]))
        back = sorted(range(len(order)), key=order.__getitem__)
        groups = self._groups([layout.classes[row] for row in order], len(layout.front))
        return Plan(
            self.part.token_embedding(ids), torch.tensor(layout.front, device=self.device), list(groups),
            torch.tensor(back, device=self.device), layout.mixed, sum(map(len, layout.classes)),
        )  # fmt: skip

    def _through(self, plan: Plan, vectors: torch.Tensor, again: bool = False) -> torch.Tensor:
        """Return normalised embeddings, shape (B, K, D).

        Args:
            plan: Where which tokens pass.
            vectors: Shape (B, V, W), of the context: of one for each of B passes.
            again: Whether to compute everything a second time for the gradient, because more is to come beside it.
        """
        torch = self._torch
        pool = torch.cat([plan.fixed.expand(len(vectors), -1, -1), vectors], dim=1)
        front = pool[:, plan.front] + self.part.positional_embedding[: len(plan.front)]
        again = torch.is_grad_enabled() and pool.requires_grad and (again or len(plan.groups) > 1)
        # Where the context stands in front of all names, these need no gradient before they attend to it: without the
        # detour of every name's token through the pool, the gradient of the pool is that of a few rows.
        names = pool if plan.mixed else pool.detach()

        def run(given: torch.Tensor, tokens: Tokens) -> torch.Tensor:
            x = names[:, tokens.rows] + self.part.positional_embedding[tokens.positions]
            return self._names(tokens, x, self._fronts(given))

        # A group that is computed twice keeps nothing but its input, the front: hence the fronts are made within.
        twice = partial(torch.utils.checkpoint.checkpoint, run, use_reentrant=False)
        with self.computing():
            made = [(twice if again else run)(front, group) for group in plan.groups]
        return torch.nn.functional.normalize(torch.cat(made, dim=1)[:, plan.back].float(), dim=-1)

    def _groups(self, classes: list[list[int]], front: int) -> Iterator[Tokens]:
        """Yield classes, sorted by length, in groups that fit into memory together."""
        group: list[list[int]] = []
        for rows in classes:
            if group and sum(map(len, group)) + len(rows) > self._room:
                yield Tokens.of(group, front, self.device)
                group = []
            group.append(rows)
        yield Tokens.of(group, front, self.device)

    def _fronts(self, x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return keys and values of the front, shape (B, P, W), in every layer."""
        kept = []
        blocks = self.part.transformer.resblocks
        for number, block in enumerate(blocks):
            queries, keys, values = _projected(block, x)
            kept.append((keys, values))
            if number + 1 < len(blocks):  # of the last layer nobody sees more of the front than its keys and values
                seen = self._torch.nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
                x = _finished(block, x, seen)
        return kept

    def _names(self, tokens: Tokens, x: torch.Tensor, fronts: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return text embeddings, shape (B, k, D), not normalised, of packed tokens, shape (B, T, W)."""
        blocks = list(self.part.transformer.resblocks)
        for block, front in zip(blocks[:-1], fronts, strict=False):
            queries, keys, values = _projected(block, x)
            x = _finished(block, x, self._attend(queries, keys, values, front, tokens))
        # The embedding is read at the end tokens: in the last layer they alone ask, but of all tokens.
        queries, keys, values = _projected(blocks[-1], x)
        seen = self._attend(queries[:, :, tokens.ends], keys, values, fronts[-1], tokens)
        x = self.part.ln_final(_finished(blocks[-1], x[:, tokens.ends], seen))
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
        """Return what packed tokens see of the front and of their own class, shape (B, H, Q, W / H).

        Args:
            queries: Shape (B, H, Q, W / H): of all tokens, or of one a class.
            keys: Shape (B, H, T, W / H), of all tokens.
            values: Likewise.
            front: Keys and values of the front, shape (B, H, P, W / H).
            tokens: How they are packed.
        """
        torch = self._torch
        queries = queries * queries.shape[-1] ** -0.5
        whole, shared = queries.shape[2] == keys.shape[2], front[0].shape[2]
        sizes = [count * length for count, length in tokens.buckets]
        asked = sizes if whole else [count for count, _ in tokens.buckets]
        # The front is the same for all classes: one product for all tokens, however long their names are.
        of_front = queries @ front[0].transpose(-1, -2)
        # `split` and not slices: the gradient of a slice is as large as what it was cut from
        asking = (queries.split(asked, 2), of_front.split(asked, 2))
        parts = zip(*asking, keys.split(sizes, 2), values.split(sizes, 2), strict=True)
        made = []
        for (count, _), later, each in zip(tokens.buckets, tokens.later, parts, strict=True):
            # A bucket is a batch of classes of one length, (B, H, count, tokens, W / H): no padding, and a class sees
            # no other. The softmax runs over front and own tokens together, hence their weights stand side by side.
            query, before, key, value = (tensor.unflatten(2, (count, -1)) for tensor in each)
            weights = query @ key.transpose(-1, -2)
            if whole:  # else the end token asks, to which nothing is later
                weights = weights.masked_fill(later, -torch.inf)
            weights = torch.cat([before, weights], dim=-1).softmax(dim=-1).to(value.dtype)
            of_shared, of_own = weights.split([shared, weights.shape[-1] - shared], dim=-1)
            made.append((of_own @ value).flatten(2, 3) + of_shared.flatten(2, 3) @ front[1])
        return torch.cat(made, dim=2)


@dataclass(frozen=True)
class Plan:
    """All of a pass that does not depend on the context vectors.

    Attributes:
        fixed: Shape (F, W), embeddings of the start token and of every class's own tokens; the pool to which rows
            point is these and, behind them, the context vectors.
        front: Shape (P,), rows of what stands in front of all classes alike.
        groups: The classes' tokens, in groups that fit into memory together, shorter ones first.
        back: Shape (K,), the place of every class in that order.
        mixed: Whether context vectors are among the classes' tokens.
        tokens: How many tokens the classes have.
    """

    fixed: torch.Tensor
    front: torch.Tensor
    groups: list[Tokens]
    back: torch.Tensor
    mixed: bool
    tokens: int


@dataclass(frozen=True)
class Tokens:
    """The tokens of some classes, packed behind one another; classes of equal length lie together.

    Attributes:
        rows: Shape (T,), of the pool.
        positions: Shape (T,), in the prompt.
        ends: Shape (k,), the place of every class's end token among the T.
        buckets: (classes, tokens of each) pairs, in order.
        later: For every bucket, shape (tokens, tokens), bool: whether the second token stands behind the first.
    """

    rows: torch.Tensor
    positions: torch.Tensor
    ends: torch.Tensor
    buckets: list[tuple[int, int]]
    later: list[torch.Tensor]

    @classmethod
    def of(cls, classes: list[list[int]], front: int, device: str) -> Tokens:
        """Pack classes that are sorted by length and stand behind a front of so many tokens."""
        import torch

        lengths = [len(rows) for rows in classes]
        buckets = [(count, length) for length, count in Counter(lengths).items()]
        rows = torch.tensor([row for rows in classes for row in rows], device=device)
        positions = torch.tensor([front + place for length in lengths for place in range(length)], device=device)
        ends = torch.tensor(lengths).cumsum(0).sub(1).to(device)
        later = [torch.ones(length, length, dtype=torch.bool, device=device).triu(1) for _, length in buckets]
        return cls(rows, positions, ends, buckets, later)


def _fold_quick_gelu(mlp: torch.nn.Module) -> None:
    """Write x · sigmoid(1.702 x) as silu(1.702 x) / 1.702, the factors in the weights: one kernel in place of three."""
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
    together = torch.nn.functional.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    parts = together.unflatten(-1, (3, attention.num_heads, attention.head_dim))
    return parts.permute(2, 0, 3, 1, 4).unbind()


def _finished(block: torch.nn.Module, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the block's output for x (B, tokens, W) that has seen (B, H, tokens, W / H)."""
    x = x + block.ls_1(block.attn.out_proj(seen.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
