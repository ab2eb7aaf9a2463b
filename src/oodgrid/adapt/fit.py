"""The first rule of adapt: learn every (shots, seed) of one method from shots, validation and text."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from oodgrid import grid, manifests, paths, registry, store
from oodgrid.adapt.combining import fitted_parts, matching
from oodgrid.adapt.contract import Diverged, FitData, Method, Skip, check_finite
from oodgrid.adapt.data import FitFiles
from oodgrid.config import Experiment
from oodgrid.kept import Kept
from oodgrid.manifests import LearnedFit
from oodgrid.plan import outlier_files, pseudo_ood_files, view_files
from oodgrid.progress import progress

IN_PLACE = {
    "visual_prototypes": ": visual prototypes stand in place of text (method prototype)",
    "own_head": ": the network's head stands in place of text (method own_head)",
}


def fit(results: Path, experiment: Experiment, backbone_name: str, id_dataset: str, variant: str) -> Path:
    """Fit every (shots, seed) of a variant of a method that is not there yet, write the manifest and return its path.

    Raises:
        OodgridError: A file that is needed is missing or damaged; finished fits stay.
    """
    choice = experiment.method(variant)
    entry = registry.find("method", choice.name)
    method = entry.make(**choice.params)
    views = view_files(results, experiment, backbone_name, id_dataset, variant)
    # views of a method that lacks something else are not made: it is then skipped for what it lacks
    asked = views or experiment.id_dataset(id_dataset).imported
    made = pseudo_ood_files(results, experiment, backbone_name, id_dataset, variant)
    files = FitFiles(
        results, experiment.backbone(backbone_name), experiment.id_dataset(id_dataset),
        getattr(method, "views", None) if asked else None, views[0] if views else None, "local_features" in entry.needs,
        tuple(outlier_files(results, experiment, backbone_name, id_dataset, variant)), made[0] if made else None,
    )  # fmt: skip
    manifests_of_parts = fitted_parts(results, experiment, backbone_name, id_dataset, variant)
    parts = {name: part.fits for name, part in manifests_of_parts.items()}
    kept = Kept(results, "fit")
    identity = {
        "method": choice.name,
        "params": {**entry.params, **choice.params},
        "backbone": files.backbone.identity if "text_tower" in entry.needs else None,
        "text": files.dataset.text_under(backbone_name),
        "code": registry.fit_code(choice.name),
    }
    title = f"fit {variant} on {id_dataset} ({backbone_name})"
    fits = [
        _remarked(_fit_one(method, entry, files, fit, kept, identity, parts), files, experiment.seeds, parts)
        for fit in progress(grid.fits(experiment, variant), desc=title, unit="fit")
    ]
    path = paths.fitted(results, experiment.experiment, backbone_name, id_dataset, variant)
    manifests.write(path, manifests.Fitted(method=choice.name, params=choice.params, fits=fits))
    print(f"{title}: {_summary(fits)}")
    return path


def _remarked(fit: LearnedFit, files: FitFiles, seeds: list[int], parts: dict[str, list[LearnedFit]]) -> LearnedFit:
    """Return a fit with the remarks that tables show beside it, where it worked: of its parts, too."""
    if fit.status != "ok":
        return fit
    of_parts = matching(parts, fit.shots, fit.seed)
    remarks = files.few_shot.remarks(fit.shots, seeds) + fit.info.get("remarks", [])
    remarks += [f"{remark} ({name})" for name, part in of_parts.items() for remark in part.info.get("remarks", [])]
    return fit.model_copy(update={"reason": "; ".join(remarks) or None})


def _summary(fits: list[LearnedFit]) -> str:
    """Return how many fits went how, how many validation labels were used to choose anything, and the remarks."""
    states = Counter(fit.status for fit in fits)
    labels = [fit.info.get("val_labels_used", 0) for fit in fits if fit.status == "ok"]
    remarks = dict.fromkeys(fit.reason for fit in fits if fit.status == "ok" and fit.reason)
    counts = ", ".join(f"{n} {state}" for state, n in states.items())
    return "; ".join([counts, f"validation labels used: {max(labels, default=0)}", *remarks])


def _fit_one(
    method: Method, entry: registry.Entry, files: FitFiles, fit: grid.Fit, kept: Kept, identity: dict[str, Any],
    parts: dict[str, list[LearnedFit]],
) -> LearnedFit:  # fmt: skip
    """Return one fit's line in the manifest, learning it if it is not kept; `parts` are what the method combines."""
    outcome = partial(LearnedFit, shots=fit.shots, seed=fit.seed)

    def learn(path: Path) -> None:
        data = replace(files.data(fit), parts=tuple(parts))
        _check_needs(entry, data, files)
        learned = method.fit(data)
        check_finite(learned.arrays, "that training left")
        remarks = {"remarks": learned.remarks} if learned.remarks else {}
        store.write_arrays(path, learned.arrays, learned.info | remarks)

    try:
        key = {
            **identity,
            "data": files.identity(fit),
            "views": files.views_identity(fit),
            **({"outliers": files.outliers_identity()} if "outliers" in entry.needs else {}),
            **({"parts": _files_of(parts, fit)} if parts else {}),
            **({"pseudo_ood": files.pseudo_ood_identity(fit)} if files.pseudo_ood_file else {}),
            "shots": fit.shots,
            "seed": fit.seed,
        }
        path = kept.get(key, ".safetensors", learn)
    except Skip as skip:
        return outcome(status="skipped", reason=str(skip))
    except Diverged as failure:
        return outcome(status="failed", reason=str(failure))
    return outcome(status="ok", reason=None, file=kept.name(path), info=store.read_arrays(path)[1])


def _files_of(parts: dict[str, list[LearnedFit]], fit: grid.Fit) -> dict[str, str | None]:
    """Return the files of what the parts have learned for one fit."""
    return {name: part.file for name, part in matching(parts, fit.shots, fit.seed).items()}


def _check_needs(entry: registry.Entry, data: FitData, files: FitFiles) -> None:
    """Raise Skip, with the reason, where something is missing that a method needs."""
    name = files.dataset.name
    if data.classes == 1 and not entry.makes_of_one:
        raise Skip(f"{name} has one class: there are no classes to tell apart")
    if "own_head" in entry.needs and data.head is None:
        raise Skip(f"no head stands for the classes of {name}: write text: own_head, and head: under the backbone")
    if {"text", "text_tower"} & set(entry.needs) and not data.text.classnames:
        why = IN_PLACE.get(files.dataset.text_under(files.backbone.name), "")
        raise Skip(f"there are no text features of {name}{why}")
    if "text_tower" in entry.needs and files.dataset.imported:
        raise Skip(f"the features of {name} are imported: no text tower stands behind them")
    if "pairs" in entry.needs and data.train_texts is None:
        raise Skip(f"the samples of {name} are no pairs of an image and a text")
    if "outliers" in entry.needs and not data.outliers:
        raise Skip(f"no OOD set of {name} has a training split of pairs, from which to learn what is OOD")
    if "prototypes" in entry.needs and not len(data.text.prototypes):
        raise Skip(f"there are neither text features of {name} nor text: visual_prototypes")
