"""Every OOD score of arrays, by its name: NumPy in, float64 out, higher = more in-distribution.

>>> import numpy as np
>>> from oodgrid import scores
>>> cosines = np.array([[0.30, 0.20, 0.21], [0.22, 0.21, 0.22]])  # of two images with the texts of three classes
>>> scores.mcm(cosines).round(4)
array([0.3548, 0.3344])
>>> scores.mcm(cosines, T=0.01).round(4)  # temperatures are on cosines: this is MSP of CLIP's 100 cos
array([0.9998, 0.4223])

Scores of features take them as the encoder gives them, and what they compare with as scikit-learn has it:

>>> rng = np.random.default_rng(0)
>>> train_labels = np.arange(12) % 3
>>> train_features = np.eye(3, 8)[train_labels] + 0.1 * rng.normal(size=(12, 8))
>>> features = np.vstack([train_features[:2] + 0.05, rng.normal(size=(2, 8))])
>>> scores.knn(features, train_features, train_labels, k=2).round(2)
array([-0.26, -0.27, -1.35, -1.18])

`all_scores` computes all that can be computed of what there is, and says why it cannot compute the rest:

>>> found, skipped = scores.all_scores(features, train_features=train_features, train_labels=train_labels)
>>> sorted(found)
['knn', 'mahalanobis', 'mood', 'relative_mahalanobis', 'residual', 'single_gaussian']
>>> skipped["mcm"]
'it needs logits: give logits, or features and weights'

A mistake is one line, an `oodgrid.OodgridError`, that prints the shape:

>>> scores.gen([0.3, 0.2, 0.1])
Traceback (most recent call last):
oodgrid.errors.OodgridError: score gen: logits: shape (3,) where (N, K) is needed

`dir(scores)` lists the scores; `help(scores.vim)` says what each takes. They are the functions of the stage `score`,
looked up in the registry, so that a plugin's are here too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from oodgrid import edge, registry
from oodgrid.config import Choice
from oodgrid.errors import OodgridError, brief, unknown
from oodgrid.scores import arguments, documentation
from oodgrid.scores.blocks import compute_all
from oodgrid.signatures import STATE

if TYPE_CHECKING:
    from oodgrid.methods import Fitted

__all__ = ["AllScores", "all_scores"]


def __getattr__(name: str) -> Callable[..., np.ndarray]:
    """Return the score of that name as a function of arrays."""
    return edge.attribute(_function, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *registry.entries("score")])


class AllScores(NamedTuple):
    """What `all_scores` returns.

    Attributes:
        values: Of each score, by the name under which results list it, as `mcm@T=0.5`: shape (N,), float64.
        skipped: Why there is no other score, by its name.
    """

    values: dict[str, np.ndarray]
    skipped: dict[str, str]


def all_scores(
    features: Any = None,
    *,
    names: Iterable[str | Mapping[str, Any]] | None = None,
    method: Fitted | None = None,
    logits: Any = None,
    weights: Any = None,
    bias: Any = None,
    train_features: Any = None,
    train_labels: Any = None,
    train_logits: Any = None,
    val_features: Any = None,
    val_labels: Any = None,
    val_logits: Any = None,
    negative_logits: Any = None,
    local_logits: Any = None,
    local_negative_logits: Any = None,
    class_texts: Any = None,
    prompt_variants: Any = None,
    layer_features: Any = None,
    train_layer_features: Any = None,
    pair_texts: Any = None,
    pair_logits: Any = None,
    backbone: Any = None,
    corrupted_logits: Any = None,
    corrupted_features: Any = None,
    shots: int | None = None,
    **lists: Any,
) -> AllScores:
    """Return every score of some samples that can be computed of what is given.

    Args:
        features: Shape (N, D), not normalised; or a feature file, read or by its path.
        names: Which scores, as a configuration writes them: `["mcm", {"name": "mcm", "T": 0.5}]`; default: all.
        method: What `oodgrid.methods` fitted, in place of weights, logits and labelled samples.
        logits: Shape (N, K), on the cosine scale, where no weights make them.
        weights: Shape (K, D): logits are normalised features · weights + bias.
        bias: Shape (K,).
        train_features: Shape (M, D): labelled samples to compare with.
        train_labels: Shape (M,): their classes, or -1.
        train_logits: Shape (M, K), where no weights make them.
        val_features: Shape (V, D): validation samples, for `react` and `kl_matching`.
        val_labels: Shape (V,).
        val_logits: Shape (V, K), where no weights make them.
        negative_logits: Shape (N, K, n), of negative prompts.
        local_logits: Shape (N, P, K), of patches; made of a file with local features and weights.
        local_negative_logits: Shape (N, P, K, n), of patches with negative prompts.
        class_texts: Shape (K, D), or (T, K, D) under templates; or a text file that was read.
        prompt_variants: Shape (V, K, D): prompts with shuffled words; or a text file that was read.
        layer_features: Shape (N, 1 + layers, D): of texts, what every layer of the encoder gives, for `mdf`.
        train_layer_features: Shape (M, 1 + layers, D): the same of the labelled samples.
        pair_texts: Shape (N, D): of pairs, the features of the text of each sample.
        pair_logits: Shape (N,): of pairs, the logits of a classifier.
        backbone: What encoded the texts, for `tins`: a name of the catalogue, or an entry as a mapping.
        corrupted_logits: Shape (N, V, K): of V corrupted versions of each image.
        corrupted_features: Shape (N, V, D): likewise.
        shots: Samples per class of the labelled samples; default: the fewest that a class has.
        **lists: Lists of texts beside the classes, for the scores that have a parameter of that name (`labels`,
            `agents`): shape (L, D), or a text file that was read.

    Raises:
        OodgridError: An array is none or does not fit another, or a name is none of a score.
    """
    arrays = {name: value for name, value in locals().items() if name in arguments.EVERY and value is not None}
    _check_lists(lists)
    if method is not None:
        if not hasattr(method, "arrays"):
            raise OodgridError(f"all_scores: method is what oodgrid.methods has fitted, not {brief(method)}")
        arrays = arrays | method.arrays(arrays.pop("features", None))
        arrays["shots"] = arrays.get("shots") or None  # 0 of a method that was fitted without shots
    if "features" not in arrays and "logits" not in arrays:
        raise OodgridError("all_scores: give features or logits of the samples")
    file = features if isinstance(features, str | PathLike) else None
    return AllScores(*compute_all(list(_choices(names)), arrays, lists, "all_scores", file))


def _choices(names: Iterable[str | Mapping[str, Any]] | None) -> Iterator[Choice]:
    if isinstance(names, str | Mapping) or not isinstance(names, Iterable | None):
        raise OodgridError(f"all_scores: names is a list, as names=['mcm'], not {brief(names)}")
    for written in registry.entries("score") if names is None else names:
        params = {"name": written} if isinstance(written, str) else written
        if not isinstance(params, Mapping) or not all(isinstance(each, str) for each in (*params, params.get("name"))):
            raise OodgridError(f"all_scores: a score is written as its name or as {{'name': …}}, not {brief(written)}")
        name, params = params["name"], {key: value for key, value in params.items() if key != "name"}
        choice = Choice(name=name, **registry.check_params("score", name, params))
        if named := [each for each in registry.find("score", choice.name).label_lists if each in choice.params]:
            raise OodgridError(f"score {name}: {named[0]} is a list of texts: give it as {named[0]}=, an array (L, D)")
        yield choice


def _check_lists(lists: Iterable[str]) -> None:
    known = {name for entry in registry.entries("score").values() for name in entry.label_lists}
    for name in lists:
        if name not in known:
            raise unknown("argument of all_scores", name, {*known, *arguments.EVERY, "names", "method"})


@functools.cache
def _function(name: str) -> Callable[..., np.ndarray]:
    """Return a registered score as a function of arrays.

    Raises:
        OodgridError: There is none of that name.
    """
    entry = registry.find("score", name)
    signature, texts = documentation.signature(entry), entry.label_lists

    def score(*positional: Any, **named: Any) -> np.ndarray:
        bound = edge.bound(signature, f"score {name}", positional, named)
        arrays = {key: value for key, value in bound.items() if key in arguments.EVERY}
        lists = {key: value for key, value in bound.items() if key in texts}
        state = bound.pop(STATE, None)
        if not isinstance(state, dict | None):
            raise OodgridError(f"score {name}: state is a dict that the score may change, as {{}}, not {brief(state)}")
        params = {key: value for key, value in bound.items() if key not in arrays and key not in lists}
        choice = Choice(name=name, **registry.check_params("score", name, params))
        values, skipped = compute_all([choice], arrays, lists, f"score {name}", state=state)
        if skipped:
            reason = skipped.popitem()[1]
            lacks = "logits" in reason and "train_logits" in set(signature.parameters) - set(arrays)
            raise OodgridError(f"score {name}: {reason}{'; give train_logits' * lacks}")
        return values.popitem()[1]

    score.__name__ = score.__qualname__ = name
    score.__doc__ = documentation.docstring(entry)
    score.__signature__ = signature  # type: ignore[attr-defined]
    return score
