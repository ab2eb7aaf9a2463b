"""Fine-tuning methods on arrays of features, by their names: NumPy in, a fitted classifier out.

>>> import numpy as np
>>> from oodgrid import methods, scores
>>> rng = np.random.default_rng(0)
>>> text_features = np.eye(3, 8) + 0.3 * rng.normal(size=(3, 8))  # of three classes; (T, K, D) under T templates
>>> train_labels = np.arange(12) % 3
>>> train_features = np.eye(3, 8)[train_labels] + 0.1 * rng.normal(size=(12, 8))
>>> tip = methods.tip_adapter(train_features, train_labels, text_features, alpha=1.0, beta=5.5)
>>> features = np.vstack([train_features[:2] + 0.05, rng.normal(size=(2, 8))])
>>> tip.predict(features[:2])
array([0, 1])
>>> scores.mcm(tip.logits(features)).round(3)  # logits are on the cosine scale, as every score wants them
array([0.587, 0.442, 0.429, 0.367])

What was fitted goes to `scores.all_scores` whole, with the samples that it learned from:

>>> values, skipped = scores.all_scores(features, method=tip, names=["msp", "knn", "vim"])
>>> sorted(values), skipped["vim"]
(['knn', 'msp'], 'it needs head: give weights')

A method that is trained needs torch: `pip install 'oodgrid[encode]'`. Prompt learners need `classnames` and a
`backbone` of the catalogue, or an entry as a configuration has it, whose text tower they train through. `dir(methods)`
lists the methods; `help(methods.tip_adapter)` describes the arguments of one. They are those of the stage `adapt`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Any

from oodgrid import registry
from oodgrid.adapt.contract import Diverged, check_finite
from oodgrid.edge import attribute, bound
from oodgrid.errors import OodgridError, Skip, brief, lacking
from oodgrid.methods.arguments import ARGUMENTS, fit_data
from oodgrid.methods.fitted import Fitted

__all__ = ["Fitted", "fit"]
TEXT = {"text", "text_tower", "prototypes"}
PSEUDO = ("pseudo_features", "pseudo_rows")  # needed by methods that look at such texts with the parameters they have


def __getattr__(name: str) -> Callable[..., Fitted]:
    """Return the method of that name as a function of arrays."""
    return attribute(_function, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *registry.entries("method")])


def fit(name: str, *arrays: Any, **options: Any) -> Fitted:
    """Fit a method by its name: `fit("tip_adapter", …)` is `tip_adapter(…)`.

    Raises:
        OodgridError: There is none of that name; or as the method itself.
    """
    if not isinstance(name, str):
        raise OodgridError(f"a method is given by its name, not by {brief(name)}")
    return _function(name)(*arrays, **options)


@functools.cache
def _function(name: str) -> Callable[..., Fitted]:
    """Return a registered method as a function of arrays.

    Raises:
        OodgridError: There is none of that name.
    """
    entry = registry.find("method", name)
    signature = _signature(entry)

    def method(*positional: Any, **named: Any) -> Fitted:
        arguments = bound(signature, f"method {name}", positional, named)
        arrays = {key: value for key, value in arguments.items() if key in ARGUMENTS and value is not None}
        params = {key: value for key, value in arguments.items() if key not in ARGUMENTS}
        checked = registry.check_params("method", name, params)
        needed = [key for key, parameter in signature.parameters.items() if parameter.default is Parameter.empty]
        if "pseudo_ood" in entry.needs and entry.make(**checked).pseudo_ood is not None:
            needed += PSEUDO
        for key in needed:
            if key not in arrays:
                raise OodgridError(f"method {name}: {key} is None, and it is needed: {ARGUMENTS[key]}")
        return _fitted(entry, arrays, checked)

    method.__name__ = method.__qualname__ = name
    args = "\n".join(f"    {each}: {ARGUMENTS[each]}" for each in signature.parameters if each in ARGUMENTS)
    method.__doc__ = f"{inspect.getdoc(entry.make)}\n\nArgs:\n{args}\n\nSee {entry.paper}."
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method


def _signature(entry: registry.Entry) -> Signature:
    needs = set(entry.needs)
    positional = [
        *(("head_weights",) if "own_head" in needs else ()),
        *(("train_features", "train_labels") if "shots" in needs else ()),
        *(("text_features",) if TEXT & needs else ()),
    ]
    required = [
        *(("classnames", "backbone") if "text_tower" in needs else ()),
        *(("train_local",) if "local_features" in needs else ()),
        *(("train_texts",) if "pairs" in needs else ()),
        *(("outlier_features", "outlier_texts") if "outliers" in needs else ()),
    ]
    optional: dict[str, Any] = dict.fromkeys(("val_features", "val_labels", "shots") if entry.learns else ())
    optional |= {"head_bias": None} if "own_head" in needs else {}
    optional |= dict.fromkeys(PSEUDO if "pseudo_ood" in needs else ())
    optional |= {"train_views": None} if "views" in entry.params else {}
    files = ("views", "pseudo_ood")  # parameters that name what is cached: here it comes as arrays
    optional |= {"seed": 1} | {name: default for name, default in entry.params.items() if name not in files}
    parameters = [
        *(Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in positional),
        *(Parameter(name, Parameter.KEYWORD_ONLY) for name in required),
        *(Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in optional.items()),
    ]
    return Signature(parameters, return_annotation=Fitted)


def _fitted(entry: registry.Entry, arrays: Mapping[str, Any], params: Mapping[str, Any]) -> Fitted:
    what = f"method {entry.name}"
    try:
        data, method = fit_data(what, arrays), entry.make(**params)
        if data.classes == 1 and not entry.makes_of_one:
            raise OodgridError(f"{what}: one class only, where two or more are needed")
        learned = method.fit(data)
        check_finite(learned.arrays, "that training left")
        classifier = method.classifier(learned.arrays, data.text)
    except (Skip, Diverged) as reason:
        raise OodgridError(f"{what}: {reason}") from None
    except ModuleNotFoundError as error:
        if message := lacking(error):
            raise OodgridError(f"{what}: {message}") from None
        raise
    return Fitted(entry.name, entry.leaves, learned, data, classifier, entry.text_cosines)
