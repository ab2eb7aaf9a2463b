"""From an experiment to a detector: what was fitted is taken as it is, the threshold is chosen on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oodgrid import manifests, paths, plan, registry, store
from oodgrid.adapt.contract import text_prototypes
from oodgrid.config import ANY, Experiment, IdDataset
from oodgrid.detector import threshold
from oodgrid.detector.choosing import Chosen, not_run
from oodgrid.detector.core import Detector
from oodgrid.errors import OodgridError
from oodgrid.fewshot import FewShot
from oodgrid.manifests import Applied, AppliedFit, DetectorRecord, Fitted, Threshold
from oodgrid.registry.banks import bank_of
from oodgrid.score.compute import needed, needs_of
from oodgrid.score.inputs import FitInputs, read_fits
from oodgrid.score.references import References
from oodgrid.score.texts import read_texts
from oodgrid.texts import CLASSES, HEAD

ROWS = 2048  # validation images at a time
LOCAL_ROWS = 256  # with the features of their patches
UNDECIDED = Threshold(value=0, keep=1, kept=1, expected=(0, 1), images=0, chosen_on="")  # until it is chosen


class HeldOut(NamedTuple):
    """ID images from which nothing was learned.

    Attributes:
        file: Of their features.
        features: Of the whole split.
        rows: Which of its rows they are.
        description: The same for people.
    """

    file: Path
    features: store.Features
    rows: np.ndarray
    description: str


def from_experiment(results: Path, experiment: Experiment, chosen: Chosen, keep: float = threshold.KEEP) -> Detector:
    """Return the detector of one method and score of an experiment that was run.

    Args:
        results: The results folder.
        experiment: The experiment.
        chosen: Which detector.
        keep: The share of ID images that is to be kept.

    Raises:
        OodgridError: The fit is not there or failed, the score was skipped, a file is not what the experiment means, or
            no ID image is left to choose the threshold on.
    """
    backbone, dataset = experiment.backbone(chosen.backbone), experiment.id_dataset(chosen.id_dataset)
    applied = paths.applied(results, experiment.experiment, backbone.name, dataset.name, chosen.method)
    if chosen.method != ANY and not applied.exists():
        raise not_run(results, experiment.experiment)
    needs = needed([chosen.score])
    _refuse_what_is_no_image(experiment, chosen, needs)
    plan.check_inputs(results, experiment, backbone.name, dataset.name)
    draws = "bank" in needs_of(chosen.score)
    of_method, few_shot = read_fits(results, experiment, backbone.name, dataset.name, chosen.method, draws)
    fit = _fit(of_method, chosen)
    lists = [labels.name for labels in experiment.wanted_lists([chosen.score])]
    texts = read_texts(results, backbone, dataset, needs, lists)
    inputs = FitInputs(results, fit, of_method, few_shot, texts, experiment.score_precision)
    references = inputs.references(needs)
    held_out = _held_out(few_shot, chosen, needs)
    record = _record(results, experiment, chosen, of_method, fit, references, held_out)
    arrays = _arrays(references, needs) | _learned(results, experiment, chosen, of_method.leaves)
    validation = _validated(Detector(record, arrays, inputs.lacking), held_out)
    decided = threshold.choose(validation, keep, held_out.description)
    record = record.model_copy(update={"threshold": decided})
    return Detector(record, {**arrays, "validation": validation}, inputs.lacking)


def _refuse_what_is_no_image(experiment: Experiment, chosen: Chosen, needs: set[str]) -> None:
    """Refuse what looks at pairs or at layers, neither of which a detector is given, and what combines methods."""
    method = () if chosen.method == ANY else registry.find("method", experiment.method(chosen.method).name).needs
    if "pairs" in method or {"pair_texts", "pair_logits"} & needs:
        raise OodgridError(f"{chosen} looks at pairs, and a detector is given images alone: take another")
    if "layer_features" in needs:
        raise OodgridError(f"{chosen} looks at all layers of texts, and a detector is given images alone: take another")
    if "parts" in method:
        raise OodgridError(f"{chosen} combines what other methods left of each set: take one of these, or another")


def _record(
    results: Path, experiment: Experiment, chosen: Chosen, of_method: Applied, fit: AppliedFit, references: References,
    held_out: HeldOut,
) -> DetectorRecord:  # fmt: skip
    """Return what the detector says of itself, but for its threshold."""
    backbone, dataset = experiment.backbone(chosen.backbone), experiment.id_dataset(chosen.id_dataset)
    needs = needed([chosen.score])
    encoder = held_out.features.provenance.get("backbone") if not dataset.imported else None
    run = {name: value for name, value in store.run_record().items() if name != "host"}  # a detector travels
    return DetectorRecord(
        experiment=experiment.experiment, id_dataset=dataset.name, shots=chosen.shots, seed=chosen.seed,
        backbone=backbone.model_dump(mode="json", exclude_none=True), encoder=encoder,
        exif_rotation=dataset.exif_rotation, classnames=_classnames(results, backbone.name, dataset, held_out),
        method=chosen.method, base_method=of_method.method,
        method_params={} if chosen.method == ANY else experiment.method(chosen.method).params,
        leaves=of_method.leaves, normalises=of_method.normalises,
        text_cosines=fit.text_cosines, precision=experiment.score_precision,
        score=chosen.score.listed("score"),
        base_score=chosen.score.name, score_params=chosen.score.params,
        lists={n: manifests.Texts(names=list(w.names), kinds=list(w.kinds)) for n, w in references.texts.lists.items()},
        bank_shots={need: bank.shots for need, bank in references.banks.items() if need in needs},
        width=held_out.features.image_features.shape[1], threshold=UNDECIDED, chosen=chosen.why,
        remarks=_remarks(experiment, chosen, fit), run=run,
    )  # fmt: skip


def _fit(of_method: Applied, chosen: Chosen) -> AppliedFit:
    for fit in of_method.fits:
        if (fit.shots, fit.seed) == (chosen.shots, chosen.seed):
            if fit.status != "ok":
                raise OodgridError(f"{chosen} is {fit.status}: {fit.reason}")
            return fit
    raise OodgridError(f"{chosen} is not among the finished fits of the experiment: run snakemake again")


def _arrays(references: References, needs: set[str]) -> dict[str, np.ndarray]:
    """Return by name what method and score need, as the stage score has it."""
    arrays: dict[str, np.ndarray] = {}
    if references.head is not None:
        arrays |= {"head.weights": references.head.weights, "head.bias": references.head.bias}
    if references.negatives is not None and "negative_logits" in needs:
        arrays["negatives"] = references.negatives
    for need, bank in references.banks.items():
        if need in needs:
            arrays |= {f"{need}.features": bank.features, f"{need}.labels": bank.labels}
            arrays |= {} if bank.logits is None else {f"{need}.logits": bank.logits}
    arrays |= {f"texts.{need}": values for need, values in references.texts.by_need.items()}
    for name, words in references.texts.lists.items():
        arrays[f"list.{name}"] = words.features
        arrays |= {} if words.by_template is None else {f"templates.{name}": words.by_template}
    return arrays


def _learned(results: Path, experiment: Experiment, chosen: Chosen, leaves: str) -> dict[str, np.ndarray]:
    """Return what the fit left, where applying it takes more than prototypes; never fitted anew."""
    if leaves == "prototypes":
        return {}
    names = (results, experiment.experiment, chosen.backbone, chosen.id_dataset)
    fits = manifests.read(paths.fitted(*names, chosen.method), Fitted).fits
    file = next(fit.file for fit in fits if (fit.shots, fit.seed) == (chosen.shots, chosen.seed))
    learned = {f"learned.{name}": value for name, value in store.read_arrays(results / str(file))[0].items()}
    text = paths.texts(results, chosen.backbone, chosen.id_dataset)
    method = registry.find("method", experiment.method(chosen.method).name)
    if ("text_tower" in method.needs or method.plugin) and text.exists():
        learned["text.prototypes"] = text_prototypes(store.read_texts(text).text_features)
    return learned


def _classnames(results: Path, backbone: str, dataset: IdDataset, held_out: HeldOut) -> list[str] | None:
    """Return the names of the classes: as the texts have them, else as the images do."""
    for source in (CLASSES, HEAD):
        text = source.path(results, backbone, dataset.name)
        if dataset.text_under(backbone) == source.stands and text.exists():
            return list(store.read_texts(text).classnames)
    names = held_out.features.classnames
    return None if names is None else list(names)


def _held_out(few_shot: FewShot, chosen: Chosen, needs: set[str]) -> HeldOut:
    """Return the ID images that choose the threshold: the val split, else training images beside the shots, else test.

    Raises:
        OodgridError: There are none.
    """
    drawn, name = few_shot.draw(chosen.shots, chosen.seed), few_shot.dataset.name
    named = next(filter(None, map(bank_of, needs)), None)  # the draw that the score names for itself
    its = few_shot.draw(*named) if named else drawn
    looks_at_val = "val" in {need.partition("@")[0] for need in needs}
    used = _used(chosen, len(drawn.val), len(its.val) * looks_at_val)
    if few_shot.val is not None:
        rows = np.arange(len(few_shot.val.labels))
        return HeldOut(few_shot.file("val"), few_shot.val, rows, f"the val split of {name}{used}")
    train = few_shot.train
    if train is not None and train.draws is None and "train" not in needs:
        rows = np.setdiff1d(np.arange(len(train.labels)), np.concatenate([drawn.bank.rows, its.bank.rows]))
        if len(rows):
            description = f"training images of {name}, which has no val split, that are none of the shots{used}"
            return HeldOut(few_shot.file("train"), train, rows, description)
    file = few_shot.file("test")
    test = store.read_features(file)
    description = f"the test split of {name}, which has no other held-out images"
    return HeldOut(file, test, np.arange(len(test.labels)), description)


def _used(chosen: Chosen, fitted: int, scored: int) -> str:
    """Return who may have seen some of the held-out images, as the rest of a sentence; "" where nobody has.

    Args:
        chosen: The detector.
        fitted: How many of them the fit had to select by.
        scored: How many the score looks at.
    """
    is_fitted = chosen.method != ANY and chosen.shots > 0
    users = [f"the fit may have used {fitted} to choose its parameters"] * (is_fitted and fitted > 0)
    users += [f"the score uses {scored}"] * (scored > 0)
    return f", of which {' and '.join(users)}" if users else ""


def _validated(detector: Detector, held_out: HeldOut) -> np.ndarray:
    """Return the scores of the held-out images, shape (n,)."""
    size = LOCAL_ROWS if detector.wants_local else ROWS
    scores = []
    for start in range(0, len(held_out.rows), size):
        rows = held_out.rows[start : start + size]
        local: Any = None
        if detector.wants_local and (local := store.read_local_rows(held_out.file, rows)) is None:
            raise OodgridError(f"{held_out.file} has no local features: write local_features: true for the backbone")
        scores.append(detector.score(held_out.features.image_features[rows], local))
    return np.concatenate(scores)


def _remarks(experiment: Experiment, chosen: Chosen, fit: AppliedFit) -> list[str]:
    remarks = [fit.reason] if fit.reason else []
    if experiment.id_dataset(chosen.id_dataset).imported:
        remarks.append(
            f"the features of {chosen.id_dataset} were imported: that backbone {chosen.backbone}, as it is here, made "
            "them is not known"
        )
    if chosen.method == ANY:
        remarks.append(f"{chosen.score.listed('score')} depends on no method, so it predicts no class")
    return remarks
