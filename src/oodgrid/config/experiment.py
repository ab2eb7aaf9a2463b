"""An experiment, as a user writes it: the grid, and what makes it sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from oodgrid import catalogue, paths, registry
from oodgrid.config import soundness
from oodgrid.config.backbone import Backbone, Encoder
from oodgrid.config.base import MOST, Seed, Slug, Strict, collected, expand, from_catalogue
from oodgrid.config.choice import MOST_ENTRIES, Choice, of_kind, spread_scores
from oodgrid.config.dataset import Dataset
from oodgrid.config.draws import Draws
from oodgrid.config.grades import Grades
from oodgrid.config.label_list import LabelList
from oodgrid.config.origins import with_origins
from oodgrid.config.pseudo_ood import PseudoOod
from oodgrid.config.shared_keys import with_shared_keys, with_whole_names, with_whole_streams
from oodgrid.config.values import Wrong
from oodgrid.counts import counted
from oodgrid.errors import Mistakes, OodgridError, all_of, printable, unknown
from oodgrid.labels import plain_name
from oodgrid.measures import asked_first, asked_recall

Precision = Literal["float64", "float32"]
KINDS = ("near", "far", "covariate")
MOST_TEMPERATURES = 50


def _metric(metric: str) -> str:
    """Return a metric that is asked for, if it is one."""
    if asked_first(metric) is None:
        asked_recall(metric)
    return metric


DatasetEntry = Annotated[Dataset, from_catalogue("dataset", Dataset)]
MethodChoice = Annotated[Choice, of_kind("method")]
ScoreChoice = Annotated[Choice, of_kind("score")]
MetricChoice = Annotated[str, AfterValidator(collected(_metric))]


class Ood(Strict):
    """The OOD sets of one ID set, by kind: the kind belongs to the pair."""

    near: list[DatasetEntry] = Field([])
    far: list[DatasetEntry] = Field([])
    covariate: list[DatasetEntry] = Field([])


class IdDataset(Dataset):
    """An in-distribution dataset with the sets it is held against."""

    ood: Ood = Field(description="OOD sets by kind: near, far, covariate.")
    allow_overlap: bool = Field(False, description="Take OOD sets whose classes overlap; tables mark them.")
    leaky_selection_on_test: bool = Field(
        False,
        description="Choose hyper-parameters on the whole test split, as some published numbers did; tables say so.",
    )
    train: Literal["whole", "drawn"] = Field(
        "whole", description="drawn: of the training split encode those samples alone that the draws of it take."
    )

    pseudo_ood: list[PseudoOod] = Field(
        [], description="Of texts: texts out of distribution made of them, for methods with pseudo_ood: NAME."
    )

    def pairs(self) -> Iterator[tuple[str, Dataset]]:
        """Yield the kind and the dataset of every OOD set, in the order of the configuration."""
        for kind in KINDS:
            for dataset in getattr(self.ood, kind):
                yield kind, dataset

    def mistakes(self, left_out: set[str]) -> Iterator[str]:
        """Yield what does not fit together within an ID set and its OOD sets."""
        yield from soundness.of_id_dataset(self, left_out)

    def overlap_with(self, dataset: Dataset) -> str | None:
        """Return why an OOD set is not out-of-distribution here, or None."""
        if dataset.are_without_class or (self.pairs_ and dataset.pairs_ and self.pairs_.is_apart_from(dataset.pairs_)):
            return None
        if dataset.derived and dataset.derived.of in (self.name, self.whole_name):
            return "its pairs are those of the ID set itself"
        one, other = (each.of or each.whole_name for each in (self, dataset))
        if one == other and not self.is_apart_from(dataset):
            return "it is the ID set itself" if self.classes == dataset.classes else "they may share classes of it"
        if one != other and (recorded := catalogue.overlap(one, other)):
            return recorded
        if self.concept_world and dataset.concept_world and self.concept_world.group == dataset.concept_world.group:
            return f"both show the classes of Concept World's group {self.concept_world.group}"
        names = {plain_name(name) for name in dataset.known_classes}  # mostly none
        shared = names & {plain_name(name) for name in self.known_classes} if names else set()
        if shared:
            return f"both have {counted(len(shared), 'class', 'classes')}, as '{min(shared)}'"
        if dataset.files and dataset.files == self.files and not self.is_apart_from(dataset):
            return "both are read from the same place"
        return None


class Curves(Strict):
    """The one method and score whose ROC curves and histograms are drawn."""

    method: str = Field(description="As results list it; any for scores that depend on no method.")
    score: str | None = Field(None, description="As results list it. Default: that of the main table.")


class ReportOptions(Strict):
    """How the report shows numbers."""

    spread: Literal["interval", "sd"] = Field(
        "interval", description="Beside a mean: its 95 % interval, or ± the standard deviation over seeds."
    )
    curves: Curves | None = Field(
        None, description="Of what ROC curves and histograms are drawn. Default: the most accurate method on ID."
    )


class Experiment(Strict):
    """The grid: every backbone x ID set x method x shots x seed, under every score, against every OOD set."""

    stand_ins: ClassVar[dict[str, Any]] = {
        "experiment": "mistaken",
        "backbones": [{"name": "mistaken", "model": "mistaken", "pretrained": "random"}],
        "id_datasets": [{"name": "mistaken", "generated": {"kind": "noise"}, "ood": {"far": ["noise"]}}],
        "methods": ["zero_shot"],
        "scores": ["msp"],
    }

    experiment: Slug = Field(description=f"Results go to {paths.RESULTS}/<experiment>/.")
    plugins: list[str] = Field([], description="Python files with scores or methods of your own.")
    backbones: list[Encoder] = Field(min_length=1, description="Names from the catalogue, or entries.")
    id_datasets: list[IdDataset] = Field(min_length=1)
    methods: list[MethodChoice] = Field(min_length=1, max_length=MOST_ENTRIES, description="oodgrid list methods")
    shots: list[Annotated[int, Field(ge=1, le=MOST)]] = Field([1, 2, 4, 8, 16], min_length=1, max_length=MOST_ENTRIES)
    seeds: list[Seed] = Field([1, 2, 3], min_length=1, max_length=MOST_ENTRIES)
    scores: list[ScoreChoice] = Field(min_length=1, max_length=MOST_ENTRIES, description="oodgrid list scores")
    metrics: list[MetricChoice] = Field(
        [],
        max_length=MOST_ENTRIES,
        description="Beside oodgrid list metrics: FPR at other recalls, as fpr@90; "
        "of streams, rates of their first samples, as first@100.",
    )
    temperatures: list[Annotated[float, Field(gt=0, le=MOST)]] = Field(
        [],
        max_length=MOST_TEMPERATURES,
        description="For the figure of temperatures: what scores of logits that have a T are computed at too.",
    )
    grades: Grades | None = Field(
        None, description="Detection by how far OOD samples are shifted in meaning and in looks: docs/shifts.md."
    )
    estimate: bool = Field(
        False,
        strict=True,
        description="Whether to try, on 200 sets or more made of what is scored, how well scores can be judged "
        "without OOD labels: docs/estimate.md.",
    )
    score_precision: Precision = Field(
        "float64",
        description="Of the large matrix products of scores; float32 is a little faster.",
    )
    score_device: Literal["cpu", "gpu"] = Field(
        "cpu", description="What computes the large matrix products of scores; with gpu, score jobs ask for one."
    )
    limit: int | None = Field(
        None, strict=True, ge=1, le=MOST, description="For trials: the limit of all datasets that are encoded."
    )
    root: str | None = Field(
        None, description="The folder of your datasets: that of all datasets of the catalogue which name none."
    )
    label_lists: list[LabelList] = Field([], description="Lists that scores may name, beside oodgrid list label_lists.")
    report: ReportOptions = Field(ReportOptions(), description="How the report shows numbers.")

    @classmethod
    def prepare(cls, data: dict[str, Any], left_out: set[str]) -> None:
        """Refuse plugins that failed, and have every score once for each value of its parameters."""
        all_of(partial(_check_plugins, data, left_out), partial(spread_scores, data, left_out))
        if isinstance(data.get("id_datasets"), list):
            written = data["id_datasets"]
            shared = with_shared_keys(written, data.get("limit"), data.get("root"))
            data["id_datasets"], mistakes = with_origins(shared, written)
            if "label_lists" in data:
                data["label_lists"] = with_whole_names(data["label_lists"], shared)
            if "scores" in data:
                data["scores"] = with_whole_streams(data["scores"], shared)
            if mistakes:
                raise Mistakes(mistakes)

    def model_post_init(self, context: Any) -> None:
        """Tell datasets of which only the draws are encoded what these are, wherever they are listed."""
        drawn = {each.name for each in self.id_datasets if each.train == "drawn"}
        for dataset in self.datasets():
            if dataset.name in drawn:
                dataset.encode_for(self.draws)

    def mistakes(self, left_out: set[str]) -> Iterator[str]:
        """Yield what does not fit together in the grid."""
        yield from soundness.of_experiment(self, left_out)

    @property
    def recalls(self) -> tuple[Fraction, ...]:
        """The recalls at which `metrics` asks for false-positive rates, each once."""
        asked = [metric for metric in self.metrics if asked_first(metric) is None]
        return tuple(dict.fromkeys(asked_recall(metric) for metric in asked))

    @property
    def firsts(self) -> tuple[int, ...]:
        """Of how many first samples of streams `metrics` asks for rates, each once."""
        return tuple(dict.fromkeys(filter(None, map(asked_first, self.metrics))))

    @property
    def draws(self) -> Draws:
        """All draws of the grid."""
        return Draws(tuple(sorted(set(self.shots))), tuple(sorted(set(self.seeds))))

    def datasets(self) -> Iterator[Dataset]:
        """Yield every dataset that is named, ID sets first; a name may come more than once."""
        yield from self.id_datasets
        for id_dataset in self.id_datasets:
            yield from (dataset for _, dataset in id_dataset.pairs())

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of that name."""
        return _named(self.datasets(), "dataset", name)

    def backbone(self, name: str) -> Backbone:
        """Return the backbone of that name."""
        return _named(self.backbones, "backbone", name)

    def id_dataset(self, name: str) -> IdDataset:
        """Return the ID dataset of that name."""
        return _named(self.id_datasets, "ID dataset", name)

    def method(self, variant: str) -> Choice:
        """Return the method that is listed under that name."""
        for method in self.methods:
            if method.listed("method") == variant:
                return method
        raise unknown("method of this experiment", variant, [method.listed("method") for method in self.methods])

    def lists_of(self, score: Choice) -> dict[str, str]:
        """Return the names of the label lists that a score is given, by its parameters."""
        entry = registry.find("score", score.name)
        return {parameter: (entry.params | score.params)[parameter] for parameter in entry.label_lists}

    def label_list(self, name: str) -> LabelList:
        """Return the label list of that name: one of the experiment's own, or else of the catalogue."""
        lists = {label_list.name: label_list for label_list in self.label_lists}
        known = catalogue.entries("label_list")
        if name not in lists and name not in known:
            raise unknown("label list", name, {*lists, *known})
        return lists[name] if name in lists else _of_catalogue(name)

    def wanted_lists(self, scores: Iterable[Choice] | None = None) -> list[LabelList]:
        """Return the label lists that some scores (default: all) are given, each once."""
        names = [
            name for score in (self.scores if scores is None else scores) for name in self.lists_of(score).values()
        ]
        return [self.label_list(name) for name in dict.fromkeys(names)]

    def overlaps(self) -> list[tuple[str, str]]:
        """Return the (ID set, OOD set) pairs that were taken in spite of overlapping classes."""
        return [
            (id_dataset.name, dataset.name)
            for id_dataset in self.id_datasets
            for kind, dataset in id_dataset.pairs()
            if kind != "covariate" and id_dataset.overlap_with(dataset)
        ]


def load_plugins(data: dict[str, Any]) -> None:
    """Run the Python files that a config names under `plugins`, so that it may name their scores and methods.

    No other step of reading a config runs code that it names; what validates it looks names up.

    Raises:
        OodgridError: A plugin fails; `Mistakes` has a line for each.
    """
    files = data.get("plugins") or []
    if isinstance(files, str):
        raise OodgridError(f"plugins is a list of files: write plugins: [{printable(files, 200)}]")
    files = files if isinstance(files, list) else []
    all_of(*(partial(_load_plugin, file) for file in files if isinstance(file, str)))


def with_plugins(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a config whose plugins were loaded; `Wrong` stands in it for plugins of which one failed."""
    try:
        load_plugins(raw)
    except OodgridError as error:
        return raw | {"plugins": Wrong(str(error))}
    return raw


def _load_plugin(file: str) -> None:
    registry.load_plugin(expand(file))


def _check_plugins(data: dict[str, Any], left_out: set[str]) -> None:
    """Refuse plugins that are not loaded; what they would have registered is then no mistake in scores and methods."""
    files = data.get("plugins")
    if not isinstance(files, Wrong):
        return
    left_out |= {"scores", "methods"}
    for key in ("plugins", "scores", "methods"):
        data.pop(key, None)
    raise OodgridError(files.mistake)


@cache
def _of_catalogue(name: str) -> LabelList:
    return LabelList(name=name)


def _named(things: Any, kind: str, name: str) -> Any:
    by_name = {thing.name: thing for thing in things}
    if name not in by_name:
        raise unknown(f"{kind} of this experiment", name, by_name)
    return by_name[name]
