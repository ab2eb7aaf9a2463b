"""Which rows an experiment never gets, whatever the data: known from the configuration, before anything runs.

A row is a score under a method, of an ID set and an OOD set under a backbone. What no row uses is not encoded either
(`used`). Known is what methods leave, what stands for the classes, and what is made of samples that are encoded here;
what an import holds, and what numbers decide, is not.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import NamedTuple

from oodgrid import grid, registry
from oodgrid.config import ANY, Backbone, Choice, Dataset, Experiment, IdDataset
from oodgrid.registry import Entry
from oodgrid.registry.banks import TRAIN, bank_of

NOT_NAMES = {  # what else `text` of an ID set may say than class names, as reasons have it
    "visual_prototypes": "visual prototypes stand in their place",
    "own_head": "the network's own head stands in their place",
}
NO_TOWER = "they need the text tower, and the features are imported"
NO_PAIRS = "they need pairs of an image and a text, and the samples are none"
NO_LOCAL = "they need local features, and there are none (local_features: true for the backbone)"
LOCAL, LAYERS, PAIRS, IMAGES = "local features", "features of layers", "pairs", "images"
Triple = tuple[str, str, str]  # backbone, ID set, OOD set


class Place(NamedTuple):
    """What the configuration says of an ID set and an OOD set under a backbone.

    Attributes:
        stands: What stands for the classes: classnames, visual_prototypes or own_head.
        imported: Whether the ID set is imported, so that no encoder stands behind its texts.
        train: Whether there may be a training split.
        one_class: Whether the ID set is known to have one class.
        own: What there may be of the samples of the ID set, of LOCAL, LAYERS, PAIRS and IMAGES.
        has: The same of both sets.
        every: The same of the ID set and all its OOD sets.
        labelled: Whether some OOD set may have a training split of pairs.
    """

    stands: str
    imported: bool
    train: bool
    one_class: bool
    own: frozenset[str]
    has: frozenset[str]
    every: frozenset[str]
    labelled: bool


class Skipped(NamedTuple):
    """What is skipped, by the names that list it, and why.

    Attributes:
        scores: The scores; none where the methods are skipped as a whole.
        methods: The methods under which they are.
        reason: Why.
        where: For which of the backbones, ID sets and OOD sets, as far as not for all.
    """

    scores: list[str]
    methods: list[str]
    reason: str
    where: str = ""


def skipped(experiment: Experiment) -> list[Skipped]:
    """Return what is sure to be skipped, the scores of one reason and the same methods together.

    More may be skipped in the run: where an import lacks what is needed, numbers forbid it, or a method fails.
    """
    triples = _triples(experiment)
    found: dict[tuple[str, str, str], list[Place]] = {}
    for method in grid.methods(experiment):
        for place in triples:
            if reason := of_method(experiment, method, place):
                found.setdefault(("", reason, method), []).append(place)
                continue
            for score in grid.scores(experiment, method):
                if reason := of_score(experiment, method, score, place):
                    found.setdefault((score.listed("score"), reason, method), []).append(place)
    methods: dict[tuple[str, str, frozenset[Place]], list[str]] = {}
    for (score_name, reason, method), places in found.items():
        methods.setdefault((score_name, reason, frozenset(places)), []).append(method)
    scores: dict[tuple[str, frozenset[Place], tuple[str, ...]], list[str]] = {}
    for (score_name, reason, at), of_score_ in methods.items():
        scores.setdefault((reason, at, tuple(of_score_)), []).extend([score_name] if score_name else [])
    return [
        Skipped(names, list(under), reason, where)
        for (reason, at, under), names in scores.items()
        for where in _described(experiment, [triple for place in at for triple in triples[place]])
    ]


def used(experiment: Experiment, backbone: str, id_dataset: str, method: str | None = None) -> dict[str, list[Choice]]:
    """Return by OOD set the scores that may have a row under a method, or under any, of an ID set and a backbone.

    What none of these asks for need not be made. Scores of which the configuration cannot say it are among them.
    """
    of, dataset = experiment.backbone(backbone), experiment.id_dataset(id_dataset)
    methods = grid.methods(experiment) if method is None else [method]
    kept: dict[Place, list[Choice]] = {}
    found = {}
    for _, ood in dataset.pairs():
        place = _place(of, dataset, ood)
        if place not in kept:
            working = [each for each in methods if not of_method(experiment, each, place)]
            rows = [(each, score) for each in working for score in grid.scores(experiment, each)]
            wanted = {score.listed("score") for each, score in rows if not of_score(experiment, each, score, place)}
            kept[place] = [score for score in experiment.scores if score.listed("score") in wanted]
        found[ood.name] = kept[place]
    return found


def used_anywhere(
    experiment: Experiment, backbone: str, datasets: Iterable[IdDataset], method: str | None = None
) -> list[Choice]:
    """Return the scores that may have a row of some ID sets under a backbone, in the order of the configuration."""
    names = {
        score.listed("score")
        for dataset in datasets
        for scores in used(experiment, backbone, dataset.name, method).values()
        for score in scores
    }
    return [score for score in experiment.scores if score.listed("score") in names]


def method_is_skipped(experiment: Experiment, backbone: str, id_dataset: str, method: str) -> bool:
    """Return whether a method is sure to be skipped for an ID set under a backbone."""
    of, dataset = experiment.backbone(backbone), experiment.id_dataset(id_dataset)
    return any(of_method(experiment, method, _place(of, dataset, ood)) for _, ood in dataset.pairs())


def of_method(experiment: Experiment, method: str, place: Place) -> str | None:
    """Return why a method cannot be fitted or applied, or None."""
    if method == ANY:
        return None
    choice = experiment.method(method)
    of = registry.find("method", choice.name)
    needs, texts = set(of.needs), NOT_NAMES.get(place.stands)
    patches = place.own if of.leaves == "prototypes" else place.every  # else the method is applied to patches, too
    reasons = {
        "they tell classes apart, and there is one": place.one_class and not of.makes_of_one,
        "they need a head of the network's own (text: own_head)": "own_head" in needs and place.stands != "own_head",
        _no_names(texts): texts and {"text", "text_tower"} & needs,
        NO_TOWER: "text_tower" in needs and place.imported,
        NO_PAIRS: "pairs" in needs and PAIRS not in place.every,
        "they learn from training pairs of an OOD set, and there are none": "outliers" in needs and not place.labelled,
        "they need texts or visual prototypes": "prototypes" in needs and place.stands == "own_head",
        NO_LOCAL: "local_features" in needs and LOCAL not in patches,
        "they learn from views, and the features are imported": place.imported and choice.params.get("views"),
        "they learn from shots, and there is no training split": "shots" in needs and not place.train,
    }
    if own := next((reason for reason, holds in reasons.items() if holds), None):
        return own
    parts = {part: of_method(experiment, part, place) for part in grid.parts(experiment, method)}
    return next((f"they combine {part}, and {why.removeprefix('they ')}" for part, why in parts.items() if why), None)


def of_score(experiment: Experiment, method: str, score: Choice, place: Place) -> str | None:
    """Return why a method that works never gets a score, or None."""
    entry = registry.find("score", score.name)
    of = None if method == ANY else registry.find("method", experiment.method(method).name)
    learns, tells_pairs = grid.learns(experiment, method), False
    if of and "pairs" in of.needs:  # with some of its parameters alone
        tells_pairs = getattr(of.make(**experiment.method(method).params), "tells_pairs", True)
    if place.one_class and not entry.makes_of_one:
        return "they compare classes, and the ID set has one"
    for alternatives in entry.needs_with(score.params):
        reasons = [_lacking(need, of, place, learns, tells_pairs) for need in alternatives.split("|")]
        if all(reasons):
            return reasons[-1]
    if of and entry.label_lists and "logits" in entry.needs and not _compares(of, place):
        return "they compare logits with cosines to texts, and these logits are none"
    if of and entry.bank_logits and of.leaves == "logits":
        return "they need logits of the labelled samples, and the method leaves none"
    return None


def _lacking(need: str, of: Entry | None, place: Place, learns: bool, tells_pairs: bool) -> str | None:
    """Return why there is never what a score needs, or None; `of` is the method, None for `any`."""
    leaves, texts = of.leaves if of else "", NOT_NAMES.get(place.stands)
    own = of is not None and of.plugin is not None  # what a plugin's method leaves is seen when it has run
    if need == TRAIN or bank_of(need):
        return _no_train(leaves, place)
    match need:
        case "bank" | "val":
            return None if learns and place.train else "they need shots or validation samples, and there are none"
        case "head" if leaves == "logits":
            return "they need a linear head on the features, and there are logits only"
        case "negative_logits" if not (own or (of and of.negatives)):
            return "they need negative prompts, and there are none"
        case "local_logits" | "local_negative_logits":
            return _no_patches(of, place)
        case "corrupted_logits" | "corrupted_features":
            return _no_corrupted(leaves, place)
        case "layer_features":
            return _no_layers(leaves, place)
        case "pair_texts" if PAIRS not in place.has:
            return NO_PAIRS
        case "pair_logits" if not (own or tells_pairs):
            return "they need a classifier of pairs, and there is none"
        case "class_texts" | "prompt_variants" | "text_tower" if texts:
            return _no_names(texts)
        case "prompt_variants" if place.imported:
            return "they need shuffled prompts of the class names, and the features are imported"
        case "text_tower" if place.imported:
            return NO_TOWER
    return None


def _no_names(instead: str | None) -> str:
    return f"they need texts of the class names, and {instead}"


def _no_train(leaves: str, place: Place) -> str | None:
    if leaves == "features":
        return "they need the training split as cached, and the features are changed"
    return None if place.train else "they need the training split, and there is none"


def _no_patches(of: Entry | None, place: Place) -> str | None:
    if of is None or of.leaves != "prototypes":
        return "they need logits of patches, and there are none without prototypes"
    if not of.normalises:
        return "they need logits of patches, and these logits are of features by their own norm"
    return None if LOCAL in place.has else NO_LOCAL


def _no_corrupted(leaves: str, place: Place) -> str | None:
    if leaves != "prototypes":
        return "they need corrupted images, and there are none without prototypes"
    return None if IMAGES in place.has else "they need corrupted images, which are made of images that are encoded here"


def _no_layers(leaves: str, place: Place) -> str | None:
    if leaves == "features":
        return "they need what every layer gives, and the features are changed"
    return None if LAYERS in place.has else "they need what every layer gives of texts (layer_features: true)"


def _compares(of: Entry, place: Place) -> bool:
    """Return whether the logits of a method are cosines with texts."""
    return of.text_cosines and place.stands == "classnames"


def _triples(experiment: Experiment) -> dict[Place, list[Triple]]:
    """Return every backbone, ID set and OOD set, those together of which the same is known."""
    triples: dict[Place, list[Triple]] = {}
    for backbone in experiment.backbones:
        for dataset in experiment.id_datasets:
            for _, ood in dataset.pairs():
                place = _place(backbone, dataset, ood)
                triples.setdefault(place, []).append((backbone.name, dataset.name, ood.name))
    return triples


def _place(backbone: Backbone, dataset: IdDataset, ood: Dataset) -> Place:
    own, oods = _has(backbone, dataset), [each for _, each in dataset.pairs()]
    return Place(
        dataset.text_under(backbone.name),
        bool(dataset.imported),
        bool(dataset.imported) or "train" in dataset.split_names,
        len(dataset.known_classes) == 1,
        own,
        own & _has(backbone, ood),
        own.intersection(*(_has(backbone, each) for each in oods)),
        any(each.imported or ("train" in each.split_names and each.thing == "pair") for each in oods),
    )


def _has(backbone: Backbone, dataset: Dataset) -> frozenset[str]:
    """Return what there may be of the samples of a set; what an import holds, nobody knows yet."""
    if dataset.imported:
        return frozenset({LOCAL, LAYERS, PAIRS})
    has = {
        LOCAL: backbone.local_features and dataset.thing != "text",
        LAYERS: backbone.layer_features and dataset.thing == "text",
        PAIRS: dataset.thing == "pair",
        IMAGES: dataset.thing == "image",
    }
    return frozenset(name for name, there in has.items() if there)


def _described(experiment: Experiment, triples: list[Triple]) -> Iterator[str]:
    """Yield in words which backbones, ID sets and OOD sets some triples are of; all words together are these."""
    oods = {dataset.name: [ood.name for _, ood in dataset.pairs()] for dataset in experiment.id_datasets}
    against: dict[tuple[str, str], list[str]] = {}
    for backbone, dataset, ood in triples:
        against.setdefault((backbone, dataset), []).append(ood)
    words = {
        pair: " against " + ", ".join(those) if len(those) < len(oods[pair[1]]) else ""
        for pair, those in against.items()
    }
    of_backbone: dict[str, dict[str, list[str]]] = {}
    for (backbone, dataset), word in words.items():
        of_backbone.setdefault(backbone, {}).setdefault(word, []).append(dataset)
    for backbones, parts in _alike(of_backbone):
        for word, datasets in parts.items():
            on = f" on {', '.join(datasets)}" if len(datasets) < len(experiment.id_datasets) else ""
            with_ = f" with {', '.join(backbones)}" if len(backbones) < len(experiment.backbones) else ""
            yield on + word + with_


def _alike(things: dict[str, dict[str, list[str]]]) -> list[tuple[list[str], dict[str, list[str]]]]:
    """Return the names whose things are equal together, each group with its thing."""
    groups: dict[Hashable, tuple[list[str], dict[str, list[str]]]] = {}
    for name, thing in things.items():
        key = frozenset((word, frozenset(each)) for word, each in thing.items())
        groups.setdefault(key, ([], thing))[0].append(name)
    return list(groups.values())
