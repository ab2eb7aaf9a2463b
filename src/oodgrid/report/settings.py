"""What numbers depend on that no row says: prompts, class names, label lists, precision and draws, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oodgrid.config import Backbone, Experiment, IdDataset
from oodgrid.counts import counted

OF_CLASSES = "Prompt of the classes, where a method learns none"
OF_LISTS = "Prompts of label lists"
QUOTED = 3  # prompts that are written out
IN_PLACE = {
    "visual_prototypes": "class means of the shots stand in place of texts",
    "own_head": "the backbone's own head stands in place of texts",
}
COOP_DRAWS = "drawn by seed in the order of CoOp's code; draws of different shots are not nested"
FIXED_DRAW = "one fixed draw as imported, so that seeds change the training alone"
IMPORTED_DRAWS = f"{COOP_DRAWS}, unless the import brought fixed draws (oodgrid check says so)"


def prompts(templates: Sequence[str]) -> str:
    """Return templates in words: one in quotes, of many the first."""
    quoted = [f"'{template}'" for template in templates]
    if len(quoted) == 1:
        return quoted[0]
    more = f" and {len(quoted) - 1} more" * (len(quoted) > QUOTED)
    return f"the mean of {counted(len(quoted), 'prompt')}, {', '.join(quoted[: 1 if more else QUOTED])}{more}"


def class_texts(dataset: IdDataset, backbone: Backbone) -> str:
    """Return by what a class of an ID set is known to a backbone: its prompts, or what stands in their place."""
    return IN_PLACE.get(dataset.text_under(backbone.name)) or prompts(dataset.templates)


def label_lists(experiment: Experiment) -> dict[str, str]:
    """Return the prompts of the label lists that scores are given, by name."""
    found = {}
    for each in experiment.wanted_lists():
        by_kind = each.templates if isinstance(each.templates, Mapping) else {"": each.templates}
        words = " and ".join(f"{kind} {prompts(of_kind)}".strip() for kind, of_kind in by_kind.items())
        found[each.name] = "images of noise in place of texts" if each.noise_images else words
    return found


def of_pairs(experiment: Experiment) -> dict[tuple[str, str], list[str]]:
    """Return what stands under the tables of each backbone and ID set: its prompts, and those of label lists."""
    lists = _same_once(label_lists(experiment))
    beside = [_sentence(f"{OF_LISTS}: {lists}")] if lists else []
    return {
        (backbone.name, dataset.name): [_sentence(f"{OF_CLASSES}: {class_texts(dataset, backbone)}"), *beside]
        for backbone in experiment.backbones
        for dataset in experiment.id_datasets
    }


def _sentence(text: str) -> str:
    """Return words with a full stop, unless they end in a prompt that has one."""
    return text if text.endswith(".'") else f"{text}."


def facts(experiment: Experiment) -> dict[str, str]:
    """Return what the page says of the whole experiment."""
    sets, lists = experiment.id_datasets, label_lists(experiment)
    several = len(experiment.backbones) > 1
    texts = {
        f"{dataset.name}{f' with {backbone.name}' * (several and not isinstance(dataset.text, str))}": class_texts(
            dataset, backbone
        )
        for dataset in sets
        for backbone in experiment.backbones
    }
    leaky = [dataset.name for dataset in sets if dataset.leaky_selection_on_test]
    fixed = {dataset.name: _draws(dataset) for dataset in sets}
    return {
        OF_CLASSES: _same_once(texts),
        "Class names": _same_once({dataset.name: _names(dataset) for dataset in sets}),
        **({OF_LISTS: _same_once(lists)} if lists else {}),
        "Precision": f"encoder: {_encoders(experiment)}; scores: {experiment.score_precision}",
        "Draws of shots": _same_once(fixed),
        **({"Hyper-parameters chosen on the whole test split": ", ".join(leaky)} if leaky else {}),
    }


def _same_once(words: Mapping[str, str]) -> str:
    """Return each different text once, behind the names that it is of; alone where all have the same one."""
    names: dict[str, list[str]] = {}
    for name, text in words.items():
        names.setdefault(text, []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{', '.join(of)}: {text}" for text, of in names.items())


def _names(dataset: IdDataset) -> str:
    if dataset.imported:
        return "as imported"
    if dataset.classnames:
        return f"{counted(len(dataset.classnames), 'name')} given in the config"
    return "the catalogue's" if dataset.root else "the source's own"


def _draws(dataset: IdDataset) -> str:
    """Return how shots are drawn; what an import by hand holds, the configuration does not know."""
    if not dataset.imported:
        return COOP_DRAWS
    return FIXED_DRAW if dataset.imported.tip_adapter else IMPORTED_DRAWS


def _encoders(experiment: Experiment) -> str:
    """Return the precision of encoders, and what the config changes of their preprocessing."""
    if all(dataset.imported for dataset in experiment.datasets()):
        return "features as imported"
    parts = {}
    for backbone in experiment.backbones:
        changed = [f"{key} {value}" for key, value in backbone.preprocessing.items()]
        within = [f"ConSE by '{backbone.conse.template}'"] if backbone.conse else []
        parts[backbone.name] = ", ".join([backbone.precision, *changed, *within])
    return _same_once(parts)
