"""Plain ways that the tests compare with: whole prompts through open_clip's own layers, one loop of SGD."""

from __future__ import annotations

import math

import numpy as np
import torch


def whole_prompts(tower, context, names, position="end"):
    """Return normalised embeddings of prompts at all 77 positions, put together as CoOp's code does.

    `context` is (M, W) or (K, M, W); gradients flow to it.
    """
    model, table = tower.loaded.model, tower.loaded.model.token_embedding
    tokens = context.shape[-2]
    rows, ends = [], []
    for number, name in enumerate(names):
        name = name.replace("_", " ")
        ids = tower.loaded.tokenizer([f"{name}."])[0]
        named = tower.loaded.tokenizer([name])[0].argmax().item() - 1
        vectors = context[number] if context.ndim == 3 else context
        own, rest = table(ids[1 : 1 + named]), table(ids[1 + named :])
        half = {"end": tokens, "middle": tokens // 2, "front": 0}[position]
        row = torch.cat([table(ids[:1]), vectors[:half], own, vectors[half:], rest])[:77]
        rows.append(row)
        ends.append(ids.argmax().item() + tokens)
    x = torch.stack(rows) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    x = x[torch.arange(len(names)), ends] @ model.text_projection
    return x / x.norm(dim=-1, keepdim=True)


def unit(values):
    values = np.asarray(values, dtype=np.float64)
    return torch.from_numpy(values / np.linalg.norm(values, axis=-1, keepdims=True))


def descend(data, parameters, gradients, epochs, lr, batch, generator, momentum=0.9, decay=5e-4, warm_up=True):
    """SGD written out: velocity and weight decay by hand, CoOp's rates, Dassl's batches; returns mean losses.

    `gradients(rows, views)` returns a loss and one gradient a parameter, for rows of the shots in the views that the
    epoch drew.
    """
    count = len(data.train_labels)
    views = 1 if data.train_views is None else data.train_views.shape[1]
    velocities, losses = [None] * len(parameters), []
    for epoch in range(epochs):
        late = epoch - 1 if warm_up else epoch
        rate = 1e-5 if late < 0 else lr * (1 + math.cos(math.pi * late / epochs)) / 2
        chosen = torch.randint(views, (count,), generator=generator) if views > 1 else torch.zeros(count).long()
        order = torch.randperm(count, generator=generator)
        stop = count if count < batch else count - count % batch
        found = []
        for start in range(0, stop, batch):
            rows = order[start : start + batch]
            loss, made = gradients(rows, chosen)
            found.append(loss)
            for place, (parameter, gradient) in enumerate(zip(parameters, made, strict=True)):
                gradient = gradient + decay * parameter.detach()
                old = velocities[place]
                velocities[place] = gradient if old is None else momentum * old + gradient
                parameter.data -= rate * velocities[place]
        losses.append(sum(found) / len(found))
    return losses


def of_loss(loss, parameters):
    """Return the `gradients` of `descend` for a loss of rows and views."""

    def gradients(rows, chosen):
        value = loss(rows, chosen)
        return value.item(), torch.autograd.grad(value, parameters)

    return gradients


def entropy_of(chances, smallest=1e-5):
    return -sum(p * torch.log(p + smallest) for p in chances)
