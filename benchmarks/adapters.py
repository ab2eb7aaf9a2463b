"""Adapters at ImageNet's size beside plain torch: the formula as one writes it down, with all arrays whole.

Features and texts are made up, such that texts classify about as well as CLIP's. Both sides get the same numbers, one
thread, and each runs once. What is linear in a number (validation images, epochs, iterations) is timed on few of them:

* Tip-Adapter's search over 576 + 49 pairs of alpha and beta, on one validation image a class; and its logits. torch's
  affinity is the authors' product with one-hot labels, but made once for each beta: they make it for each pair.
* LP++: the start and some of its 300 epochs, by autograd on the authors' three-part logits.
* CLAP: some of its 300 epochs of SGD, which is torch on both sides.
* The linear probe: a few iterations of scikit-learn's L-BFGS (ours) on one C, and torch's until it is as low.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from made import SMALL, Sizes
from timing import forget_peak, peak_mb, timed

from oodgrid import registry
from oodgrid.adapt.contract import FitData, TextSide, accuracy, normalise
from oodgrid.adapt.methods.linear_probe import TOLERANCE
from oodgrid.adapt.methods.lp_plus_plus import _Descent
from oodgrid.adapt.methods.tip_adapter import LOWEST, STEPS
from oodgrid.adapt.search import around, scale

TEST, C, ITERATIONS = 2, 250.0, 4  # test images a class; of the probe

Pair = tuple[Callable[[], Any], Callable[[], Any], Callable[[Any, Any], str]]


def measured(sizes: Sizes, only: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each part, or for some methods: CPU seconds and MB of both sides, and how far both are apart."""
    rows = []
    for ours, plain, _ in parts(*few_shot(SMALL), SMALL).values():  # imports, and what libraries do the first time
        ours(), plain()
    for what, (ours, plain, compare) in parts(*few_shot(sizes), sizes).items():
        if only and what.split(":")[0] not in only:
            continue
        figures, results = {}, []
        for side, way in (("ours", ours), ("torch", plain)):
            forget_peak()
            before = peak_mb()
            seconds, made = timed(way)
            results.append(made)
            figures |= {side: seconds, f"{side}_mb": peak_mb() - before}
        rows.append({"what": what, **figures, "apart": compare(*results)})
        say(f"{what}: {rows[-1]['ours']:.2f} CPU s, torch {rows[-1]['torch']:.2f}")
    return rows


def parts(data: FitData, test: np.ndarray, sizes: Sizes) -> dict[str, Pair]:
    """Return by its name ours, plain torch, and what compares their results."""
    tip = registry.find("method", "tip_adapter").make()
    clap = registry.find("method", "clap").make(epochs=sizes.epochs, batch=min(256, len(data.train)))
    learned = tip.fit(data)
    beta, alpha = (learned.info[name] for name in ("beta", "alpha"))
    reached: list[float] = []  # by ours, which torch's is to reach, too

    def search() -> tuple[float, float]:
        info = tip.fit(data).info
        return info["beta"], info["alpha"]

    return {
        "tip_adapter: search": (search, lambda: tip_search(data), lambda a, b: f"{a} and {b}"),
        f"tip_adapter: logits of {len(test):,} images, float64": (
            lambda: tip.classifier(learned.arrays, data.text).logits(test),
            lambda: tip_logits(data, test, beta, alpha),
            farthest,
        ),
        f"lp_plus_plus: start and {sizes.epochs} epochs": (
            lambda: lp_ours(data, sizes.epochs),
            lambda: lp_torch(data, sizes.epochs),
            farthest,
        ),
        f"clap: {sizes.epochs} epochs": (
            lambda: clap.fit(data).info["losses"][-1],
            lambda: clap_torch(data, clap.pull(data), sizes.epochs, clap.lr, clap.batch),
            lambda a, b: f"losses {a:.4f} and {b:.4f}, in other orders of samples",
        ),
        f"linear_probe: {ITERATIONS} iterations, C = {C:g}": (
            lambda: reached.append(probe_ours(data)),
            lambda: probe_torch(data, reached[-1]),
            lambda _, b: f"objective {reached[-1]:.4f} and {b:.4f}",
        ),
    }


def farthest(one: np.ndarray, other: np.ndarray) -> str:
    """Return how far two results are apart."""
    return f"{np.abs(one - other).max():.1e} apart, of up to {np.abs(other).max():.1f}"


def few_shot(sizes: Sizes) -> tuple[FitData, np.ndarray]:
    """Return what a method is given, and test features (N, D)."""
    rng, classes = np.random.default_rng(0), sizes.classes
    common, centres = rng.normal(size=sizes.width), rng.normal(size=(classes, sizes.width))

    def images(each: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(classes), each)
        values = 2 * common + centres[labels] + 4.0 * rng.normal(size=(len(labels), sizes.width))
        return values.astype(np.float32), labels.astype(np.int32)

    (train, train_labels), (val, val_labels), (test, _) = images(sizes.shots), images(1), images(TEST)
    texts = rng.normal(size=sizes.width) + centres + rng.normal(size=centres.shape)
    embeddings = (10 * normalise(texts)).astype(np.float32)[None]
    text = TextSide(normalise(texts).astype(np.float32), None, lambda: None, embeddings)
    return FitData(text, classes, train, train_labels, val, val_labels, sizes.shots, 1), test


# ---------------------------------------------------------------------------------------------------- Tip-Adapter


def tip_search(data: FitData) -> tuple[float, float]:
    """Return the pair of beta and alpha that classifies most validation images right."""
    keys, val, texts = (torch.from_numpy(normalise(a)) for a in (data.train, data.val, data.text.prototypes))
    labels, ones = torch.from_numpy(data.val_labels), one_hot(data).float()
    cosines, similarity = val @ texts.T, val @ keys.T
    betas, alphas, best = scale(LOWEST, 50.0, STEPS), scale(LOWEST, 200.0, STEPS), (0.0, 0.0, -1)
    for _ in ("coarse", "fine"):
        for beta in betas.tolist():
            affinity = (-beta * (1 - similarity)).exp() @ ones
            for alpha in alphas.tolist():
                right = int(((cosines + alpha / 100 * affinity).argmax(dim=1) == labels).sum())
                best = (beta, alpha, right) if right > best[2] else best
        betas, alphas = around(betas, best[0]), around(alphas, best[1])
    return best[:2]


def tip_logits(data: FitData, test: np.ndarray, beta: float, alpha: float) -> np.ndarray:
    """Return the logits of test images."""
    arrays = (normalise(data.train), test, data.text.prototypes)
    keys, x, texts = (torch.from_numpy(a.astype(np.float64)) for a in arrays)
    x = torch.nn.functional.normalize(x, dim=1)
    return (x @ texts.T + alpha / 100 * ((-beta * (1 - x @ keys.T)).exp() @ one_hot(data).double())).numpy()


def one_hot(data: FitData) -> torch.Tensor:
    """Return the labels of the shots, shape (M, K)."""
    return torch.nn.functional.one_hot(torch.from_numpy(data.train_labels.astype(np.int64)), data.classes)


# ---------------------------------------------------------------------------------------------------------- LP++


def lp_ours(data: FitData, epochs: int) -> np.ndarray:
    """Return the weights after some epochs, with the accuracy on validation after each."""
    x, text = normalise(data.train.astype(np.float64)), data.text.prototypes.astype(np.float64)
    descent, val = _Descent(x, data.train_labels, text, np.random.default_rng(data.seed)), normalise(data.val)
    for epoch in range(epochs):
        descent.step(epoch)
        descent.accuracy(val, data.val_labels)
    return descent.state[0]


def lp_torch(data: FitData, epochs: int) -> np.ndarray:
    """Return the same, in float32; alpha takes its first step after the tenth epoch."""
    x, val, text = (torch.from_numpy(normalise(a)) for a in (data.train, data.val, data.text.prototypes))
    labels, ones = torch.from_numpy(data.train_labels.astype(np.int64)), one_hot(data).float()
    bound, classes = x.shape[1] ** -0.5, data.classes
    start = np.random.default_rng(data.seed).uniform(-bound, bound, classes)
    cosines = x @ text.T
    own = (ones * cosines).sum(dim=0) / ones.sum(dim=0)
    w, b = (ones.T @ x).requires_grad_(), torch.from_numpy(start).float().requires_grad_()
    alpha = torch.full((classes,), 250 * float(own.mean()), requires_grad=True)
    rate = 4 * len(x) / float(torch.linalg.eigvalsh(x.T @ x)[-1])
    optimiser = torch.optim.SGD([w, b], lr=rate, momentum=0.9)
    for _ in range(epochs):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(x @ w.T + b + alpha * cosines, labels).backward()
        optimiser.step()
        with torch.no_grad():
            accuracy((val @ w.T + b + alpha * (val @ text.T)).numpy(), data.val_labels)
    return (w + alpha[:, None] * text).detach().numpy().astype(np.float64)


# ---------------------------------------------------------------------------------------------------------- CLAP


def clap_torch(data: FitData, pull: np.ndarray, epochs: int, lr: float, batch: int) -> float:
    """Return the mean loss of the last epoch: cross entropy of 100 cos, and the squared distance to the texts."""
    x, labels = torch.from_numpy(normalise(data.train)), torch.from_numpy(data.train_labels.astype(np.int64))
    start, multipliers = torch.from_numpy(data.text.embeddings[0]), torch.from_numpy(pull)
    weights, losses = start.clone().requires_grad_(), []
    optimiser = torch.optim.SGD([weights], lr=lr, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        rate = 1e-5 if epoch == 0 else lr * 0.5 * (1 + np.cos(np.pi * (epoch - 1) / epochs))
        optimiser.param_groups[0]["lr"] = rate
        losses = []
        for rows in torch.randperm(len(x), generator=generator).split(batch):
            if len(rows) == batch:
                logits = 100 * x[rows] @ torch.nn.functional.normalize(weights, dim=1).T
                distance = (multipliers * (weights - start).square().sum(dim=1)).mean()
                loss = torch.nn.functional.cross_entropy(logits, labels[rows]) + distance
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
    return float(np.mean(losses))


# ---------------------------------------------------------------------------------------------------------- probe


def probe_ours(data: FitData) -> float:
    """Return the objective after some iterations of the solver that the method uses."""
    from sklearn.linear_model import LogisticRegression

    model, x = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, C=C), normalise(data.train).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        model.fit(x, data.train_labels)
    weights, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    return float(objective(torch.from_numpy(x), torch.from_numpy(data.train_labels.astype(np.int64)), weights, bias))


def probe_torch(data: FitData, target: float) -> float:
    """Return the objective once it is no higher than a target, in float64."""
    x = torch.from_numpy(normalise(data.train).astype(np.float64))
    labels = torch.from_numpy(data.train_labels.astype(np.int64))
    weights = torch.zeros((data.classes, x.shape[1]), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(data.classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights, bias], max_iter=2, max_eval=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = objective(x, labels, weights, bias)
        loss.backward()
        return loss

    steps = (solver.step(closure).item() for _ in range(50))  # each is the objective before it
    return next((loss for loss in steps if loss <= target), float("nan"))


def objective(x: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return the mean cross entropy with the penalty of C."""
    penalty = weights.square().sum() / (2 * C * len(x))
    return torch.nn.functional.cross_entropy(x @ weights.T + bias, labels) + penalty
