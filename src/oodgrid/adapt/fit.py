"""The first rule of adapt: learn every (shots, seed) of one method from shots, validation and text."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from oodgrid import grid, manifests, paths, registry, store
from oodgrid.adapt.contract import Diverged, FitData, Method, Skip, check_finite
from oodgrid.adapt.data import FitFiles
from oodgrid.config import Experiment
from oodgrid.kept import Kept
from oodgrid.manifests import LearnedFit
from oodgrid.plan import view_files
from oodgrid.progress import progress


def fit(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> Path:
    """Fit every (shots, seed) that is not there yet, then write the manifest and return its path.

    Raises:
        OodgridError: A file that is needed is missing or damaged; finished fits stay.
    """
    choice = experiment.method(method)
    entry = registry.find("method", choice.name)
    made = entry.make(**choice.params)
    views = view_files(results, experiment, backbone, id_dataset, method)
    files = FitFiles(
        results, experiment.backbone(backbone), experiment.id_dataset(id_dataset), getattr(made, "views", None),
        views[0] if views else None, "local_features" in entry.needs,
    )  # fmt: skip
    kept = Kept(results, "fit")
    identity = {
        "method": choice.name,
        "params": {**entry.params, **choice.params},
        "backbone": files.backbone.identity if "text_tower" in entry.needs else None,
        "data": files.identity,
        "text": files.dataset.text,
        "code": registry.fit_code(choice.name),
    }
    title = f"fit {method} on {id_dataset} ({backbone})"
    wanted = progress(grid.fits(experiment, method), desc=title, unit="fit")
    fits = [_remarked(_fit_one(made, entry, files, fit, kept, identity), files, experiment.seeds) for fit in wanted]
    path = paths.fitted(results, experiment.experiment, backbone, id_dataset, method)
    manifests.write(path, manifests.Fitted(method=choice.name, params=choice.params, fits=fits))
    print(f"{title}: {_summary(fits)}")
    return path


def _remarked(fit: LearnedFit, files: FitFiles, seeds: list[int]) -> LearnedFit:
    """Return a fit with what tables must say of it, where it worked."""
    if fit.status != "ok":
        return fit
    remarks = files.few_shot.remarks(fit.shots, seeds) + fit.info.get("remarks", [])
    return fit.model_copy(update={"reason": "; ".join(remarks) or None})


def _summary(fits: list[LearnedFit]) -> str:
    """Return how many fits there are, how they went, how many validation labels chose anything, and the remarks."""
    states = Counter(fit.status for fit in fits)
    labels = [fit.info.get("val_labels_used", 0) for fit in fits if fit.status == "ok"]
    said = dict.fromkeys(fit.reason for fit in fits if fit.status == "ok" and fit.reason)
    counts = ", ".join(f"{n} {state}" for state, n in states.items())
    return "; ".join([counts, f"validation labels used: {max(labels, default=0)}", *said])


def _fit_one(
    method: Method, entry: registry.Entry, files: FitFiles, fit: grid.Fit, kept: Kept, identity: dict[str, Any]
) -> LearnedFit:
    outcome = partial(LearnedFit, shots=fit.shots, seed=fit.seed)

    def learn(path: Path) -> None:
        data = files.data(fit)
        _check_needs(entry, data, files)
        learned = method.fit(data)
        check_finite(learned.arrays, "that training left")
        said = {"remarks": learned.remarks} if learned.remarks else {}
        store.write_arrays(path, learned.arrays, learned.info | said)

    try:
        key = {**identity, "views": files.views_identity(fit), "shots": fit.shots, "seed": fit.seed}
        path = kept.get(key, ".safetensors", learn)
    except Skip as skip:
        return outcome(status="skipped", reason=str(skip))
    except Diverged as failure:
        return outcome(status="failed", reason=str(failure))
    return outcome(status="ok", reason=None, file=kept.name(path), info=store.read_arrays(path)[1])


def _check_needs(entry: registry.Entry, data: FitData, files: FitFiles) -> None:
    """Raise Skip, with the reason, where a method cannot do with what there is."""
    name = files.dataset.name
    if {"text", "text_tower"} & set(entry.needs) and data.text.classnames is None:
        stands_in = files.dataset.text == "visual_prototypes"
        why = ": visual prototypes stand in place of text (method prototype)" if stands_in else ""
        raise Skip(f"there are no text features of {name}{why}")
    if "text_tower" in entry.needs and files.dataset.imported:
        raise Skip(f"the features of {name} are imported: no text tower stands behind them")
    if "prototypes" in entry.needs and data.text.prototypes is None:
        raise Skip(f"there are neither text features of {name} nor text: visual_prototypes")
