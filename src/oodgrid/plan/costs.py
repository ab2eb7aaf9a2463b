"""What an experiment will cost: what is not there yet, by the rates that were measured on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oodgrid import grid, manifests, paths, rates, store
from oodgrid.config import ANY, Dataset, Experiment, IdDataset, PseudoOod
from oodgrid.config.pseudo_ood import pseudo_ood_name
from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError
from oodgrid.plan.corrupted import corrupted_files
from oodgrid.plan.files import evaluated_files, is_redrawn, report_parts, split_files
from oodgrid.plan.machines import gpu_here
from oodgrid.plan.pseudo_ood import pseudo_ood_count, pseudo_ood_file

UNITS = {"encode": "sample", "fit": "fit", "apply": "fit", "score": "fit", "evaluate": "row", "report": "part"}

ListsFits = manifests.Fitted | manifests.Applied | manifests.ScoreTable


@dataclass
class Cost:
    """What a kind of job still has to do.

    Attributes:
        kind: "encode", "fit", "apply", "score", "evaluate" or "report".
        units: How many samples, fits, rows or parts, as far as known.
        there: How many are done.
        takes: What the units take.
        unmeasured: What was never done here, and so is not in `takes`.
        uncounted: Datasets whose samples were not counted.
    """

    kind: str
    units: int = 0
    there: int = 0
    takes: rates.Spent = field(default_factory=rates.Spent)
    unmeasured: list[str] = field(default_factory=list)
    uncounted: set[str] = field(default_factory=set)

    def add(self, works: list[rates.Work], units: int, what: str, where: str) -> None:
        """Add work that is still to be done."""
        self.units += units
        spent = rates.estimate(works, self.kind, what, where, units)
        if spent is None:
            self.unmeasured += [] if what in self.unmeasured else [what]
        else:
            self.takes = rates.Spent(*map(sum, zip(self.takes, spent, strict=True)))


def costs(results: Path, experiment: Experiment, images: Mapping[str, int]) -> list[Cost]:
    """Return what every kind of job has to do and has done, in the order in which they run.

    What an edit of the configuration or of code makes anew is not foreseen: only what is missing counts.

    Args:
        results: The results folder.
        experiment: The experiment.
        images: How many samples the splits of a dataset have together, where it is known.
    """
    works = rates.read(results)
    by_kind = {kind: Cost(kind) for kind in UNITS}
    if is_redrawn(results, experiment):
        _add_report(by_kind["report"], works, results, experiment)
        return list(by_kind.values())
    wanted = {pseudo_ood_name(method) for method in experiment.methods}
    for backbone in experiment.backbones:
        for dataset in {each.name: each for each in experiment.datasets() if not each.imported}.values():
            _add_images(by_kind["encode"], works, results, backbone.name, dataset, images)
        _add_corrupted(by_kind["encode"], works, results, experiment, backbone.name, images)
        for dataset in experiment.id_datasets:
            for recipe in (each for each in dataset.pseudo_ood if each.name in wanted):
                _add_pseudo_ood(by_kind["encode"], works, results, experiment, backbone.name, dataset, recipe)
            for method in grid.methods(experiment):
                _add_method(by_kind, works, results, experiment, (backbone.name, dataset.name, method))
    rows = grid.count_rows(experiment)
    if all(file.exists() for file in evaluated_files(results, experiment)) and not by_kind["score"].units:
        by_kind["evaluate"].there = rows
    else:
        by_kind["evaluate"].add(works, rows, "", "")
    _add_report(by_kind["report"], works, results, experiment, anew=bool(by_kind["evaluate"].units))
    return list(by_kind.values())


def _add_images(
    cost: Cost, works: list[rates.Work], results: Path, backbone: str, dataset: Dataset, images: Mapping[str, int]
) -> None:
    files = split_files(results, backbone, dataset)
    there = [file for file in files if file.exists()]
    count = sum(len(store.read_labels(file)[0]) for file in there)
    cost.there += count
    if len(there) == len(files):
        return
    if dataset.name in images:
        cost.add(works, max(0, images[dataset.name] - count), backbone, f"{backbone}/{dataset.name}")
    else:
        cost.uncounted.add(dataset.name)


def _add_corrupted(
    cost: Cost, works: list[rates.Work], results: Path, experiment: Experiment, backbone: str, images: Mapping[str, int]
) -> None:
    """Add the test images once for each corruption; how many they are is known of what is encoded, or has no other."""
    for file, (dataset, _) in corrupted_files(results, experiment, backbone).items():
        encoded = (file, paths.features(results, backbone, dataset.name, "test"))
        there = next((len(store.read_labels(each)[0]) for each in encoded if each.exists()), None)
        count = images.get(dataset.name) if there is None and dataset.split_names == ("test",) else there
        if file.exists():
            cost.there += there or 0
        elif count is None:
            cost.uncounted.add(f"{dataset.name} (corrupted)")
        else:
            cost.add(works, count, backbone, f"{backbone}/{dataset.name}")


def _add_pseudo_ood(
    cost: Cost,
    works: list[rates.Work],
    results: Path,
    experiment: Experiment,
    backbone: str,
    dataset: IdDataset,
    recipe: PseudoOod,
) -> None:
    file = pseudo_ood_file(results, experiment, backbone, dataset.name, recipe)
    count = pseudo_ood_count(results, experiment, backbone, dataset, recipe)
    if file.exists():
        cost.there += store.array_shapes(file)["text_features"][0][0]
    elif count is None:
        cost.uncounted.add(f"{dataset.name} (pseudo_ood {recipe.name})")
    else:
        cost.add(works, count, backbone, f"{backbone}/{dataset.name}")


def _add_method(
    by_kind: dict[str, Cost],
    works: list[rates.Work],
    results: Path,
    experiment: Experiment,
    place: tuple[str, str, str],
) -> None:
    """Add the fits of one method, those that the manifests of its three jobs list being there."""
    method, where = place[2], "/".join(place[:2])
    fits = {(fit.shots, fit.seed) for fit in grid.fits(experiment, method)}
    files: dict[str, tuple[Callable[..., Path], type[ListsFits]]] = {"score": (paths.scores, manifests.ScoreTable)}
    if method != ANY:
        files |= {"fit": (paths.fitted, manifests.Fitted), "apply": (paths.applied, manifests.Applied)}
    for kind, (path, model) in files.items():
        done = fits & _listed(path(results, experiment.experiment, *place), model)
        by_kind[kind].there += len(done)
        if len(done) < len(fits):
            by_kind[kind].add(works, len(fits) - len(done), method, where)


def _listed(path: Path, model: type[ListsFits]) -> set[tuple[int, int]]:
    """Return shots and seed of the fits in a manifest; none where it is missing, or damaged, which is checked apart."""
    try:
        return {(fit.shots, fit.seed) for fit in manifests.read(path, model).fits}
    except OodgridError:
        return set()


def _add_report(cost: Cost, works: list[rates.Work], results: Path, experiment: Experiment, anew: bool = False) -> None:
    for part, files in report_parts(results, experiment).items():
        if not anew and all(file.exists() for file in files):
            cost.there += 1
        else:
            cost.add(works, 1, part, "")


def summary(results: Path, experiment: Experiment, images: Mapping[str, int], cores: int) -> Iterator[str]:
    """Yield what is to be done and what it will take, a line each."""
    every = costs(results, experiment, images)
    todo = [cost for cost in every if cost.units or cost.uncounted]
    if not todo:
        yield "  nothing: no file is missing"
        return
    seconds = [cost.takes.wall if _on_gpu(cost.kind, experiment) else cost.takes.cpu / cores for cost in todo]
    yield from (_described(cost, each) for cost, each in zip(todo, seconds, strict=True))
    if any(seconds):
        rest = " without what was not measured" if any(cost.unmeasured or cost.uncounted for cost in todo) else ""
        size = _size(sum(cost.takes.bytes for cost in todo))
        yield (
            f"  together about {_duration(sum(seconds))}{rest}, {size} (by what jobs took here, "
            f"{counted(cores, 'core')})"
        )


def _described(cost: Cost, seconds: float) -> str:
    of_all = f" of {cost.units + cost.there:,}" if cost.there else ""
    parts = [f"{cost.units:,}{of_all} {plural(cost.units + cost.there, UNITS[cost.kind])}"] if cost.units else []
    parts += [f"samples of {', '.join(sorted(cost.uncounted))}, not counted"] if cost.uncounted else []
    parts += [f"about {_duration(seconds)}"] if seconds else []
    parts += [_size(cost.takes.bytes)] if cost.takes.bytes >= 1e5 else []
    parts += [f"not measured yet: {', '.join(filter(None, cost.unmeasured)) or 'this'}"] if cost.unmeasured else []
    return f"  {cost.kind:9}{'; '.join(parts)}"


def _on_gpu(kind: str, experiment: Experiment) -> bool:
    """Return whether jobs of a kind take turns on the GPU of this machine."""
    return bool(gpu_here("adapt" if kind in ("fit", "apply") else kind, experiment))


def _duration(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
