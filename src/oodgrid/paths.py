"""Where everything lies below the results folder: the only place that spells it out, for the rules of Snakemake too.

Every function takes the results folder first, and then names. Its parameters are called as the wildcards of the rules
are, so that `pattern` can turn it into the pattern of all its files. To rename a folder, change its line here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

RESULTS = Path("results")
FEATURES, TEXTS, KEPT = "features", "text", "kept"
SHARED = (FEATURES, TEXTS, KEPT)  # by all experiments; each experiment has a folder of its own beside these
ADAPTED, SCORES, CONFIGS, LOGS = "adapted", "scores", "configs", "logs"
STREAMS, SWEEP = ".streams", ".sweep"  # behind the name of a method
DIGESTS = ".digests.json"
REPORT = {"tables": "tables", "figures": "figures", "page": "report.html"}  # by part: a folder, or a file
MEAN_FIGURES = ("forest", "forest_scores", "scores", "shots", "accuracy")  # of each ID dataset, and of their mean
FIGURES = (*MEAN_FIGURES, "sets", "roc", "histograms", "geometry")  # of each backbone and ID dataset
# Likewise, by the key of the configuration that asks for each.
FIGURES_IF_ASKED = {"temperatures": "temperature", "grades": "grades", "estimate": "estimate"}
RANK_FIGURES = ("ranks",)  # of each backbone, over its ID datasets
ENOUGH_FOR_RANKS = 10  # ID datasets: over fewer, rank tests separate next to nothing
WIDTHS = ("", "-column")  # behind the name of a figure: as wide as the text of a paper, or as one column of two
FORMATS = ("pdf", "svg", "png")  # of each figure


def pattern(path: Callable[..., Path], results: Path, **names: object) -> str:
    """Return where all files of a kind lie: the path with a wildcard, as `{backbone}`, for each name that is not given.

    Args:
        path: A function of this module.
        results: The results folder.
        names: What stands in place of its other parameters, as `split="test"`.
    """
    _, *parameters = inspect.signature(path).parameters.values()
    named = [each.name for each in parameters if each.default is each.empty or each.name in names]
    return str(path(results, **{name: names.get(name, f"{{{name}}}") for name in named}))


def features(results: Path, backbone: str, dataset: str, split: str) -> Path:
    """Return the feature file of one split; shared by all experiments."""
    return results / FEATURES / backbone / dataset / f"{split}.h5"


def views(results: Path, backbone: str, id_dataset: str, family: str, draws: str) -> Path:
    """Return the file of augmented views of a train split, for the draws of that digest; shared by all experiments."""
    return results / FEATURES / backbone / id_dataset / f"train.views-{family}-{draws}.h5"


def corrupted(results: Path, backbone: str, dataset: str, corruption: str) -> Path:
    """Return the feature file of corrupted test images; shared by all experiments."""
    return features(results, backbone, dataset, f"test.{corruption}")


def pseudo_ood(results: Path, backbone: str, id_dataset: str, recipe: str, draws: str) -> Path:
    """Return the file of pseudo-OOD texts of a train split, for the draws of that digest; shared by all experiments."""
    return results / FEATURES / backbone / id_dataset / f"train.pseudo-{recipe}-{draws}.h5"


def drawn(results: Path, backbone: str, id_dataset: str, draws: str) -> Path:
    """Return the feature file of what the draws of that digest take of a train split; shared by all experiments."""
    return features(results, backbone, id_dataset, f"train.drawn-{draws}")


def shard(results: Path, backbone: str, dataset: str, shard: int, shards: int) -> Path:
    """Return the manifest that says that one shard of a dataset is encoded."""
    return results / FEATURES / backbone / dataset / "shards" / f"{shard}-of-{shards}.json"


def view_shard(results: Path, backbone: str, id_dataset: str, family: str, draws: str, shard: int, shards: int) -> Path:
    """Return the manifest that says that one shard of the augmented views for some draws is encoded."""
    return results / FEATURES / backbone / id_dataset / "shards" / f"views-{family}-{draws}.{shard}-of-{shards}.json"


def texts(results: Path, backbone: str, id_dataset: str, suffix: str = "") -> Path:
    """Return the text file of one class list, with the suffix of its kind; shared by all experiments."""
    return results / TEXTS / backbone / f"{id_dataset}{suffix}.h5"


def label_texts(results: Path, backbone: str, label_list: str) -> Path:
    """Return the text file of one list of labels that are not the classes; shared by all experiments."""
    return results / TEXTS / backbone / "labels" / f"{label_list}.h5"


def kept(results: Path, stage: str) -> Path:
    """Return the folder of finished work of a stage, of which Snakemake is not told; shared by all experiments."""
    return results / KEPT / stage


def rates(results: Path) -> Path:
    """Return the list of what work took, a line a job; shared by all experiments."""
    return results / KEPT / "rates.jsonl"


def planned(results: Path, experiment: str, digest: str) -> Path:
    """Return the configuration that a run was planned by, named by its content."""
    return results / experiment / CONFIGS / f"{digest}.yaml"


def running(results: Path, experiment: str) -> Path:
    """Return the file whose lock says that a run of the experiment goes on."""
    return results / experiment / CONFIGS / ".running"


def all_running(results: Path) -> Path:
    """Return the file whose lock says that runs go on, of any experiment, or that kept work is removed."""
    return results / ".running"


def log(results: Path, experiment: str, *job: str) -> Path:
    """Return the log of a job: its stage, and the names that tell it from others."""
    return Path(results, experiment, LOGS, *job[:-1], f"{job[-1]}.log")


def fitted(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the manifest of what was learned."""
    return results / experiment / ADAPTED / backbone / id_dataset / method / "fit.json"


def applied(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the manifest of what a method makes of every split."""
    return results / experiment / ADAPTED / backbone / id_dataset / method / "apply.json"


def scores(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the table with one row a sample and one column a score."""
    return results / experiment / SCORES / backbone / id_dataset / f"{method}.parquet"


def streams(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the table of the transductive scores, one row a sample of every stream."""
    return results / experiment / SCORES / backbone / id_dataset / f"{method}{STREAMS}.parquet"


def sweeps(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the table of scores under other temperatures, one row a sample and one column a variant."""
    return results / experiment / SCORES / backbone / id_dataset / f"{method}{SWEEP}.parquet"


def metrics(results: Path, experiment: str) -> Path:
    """Return the tidy table of metrics."""
    return results / experiment / "metrics.parquet"


def summary(results: Path, experiment: str) -> Path:
    """Return the table of means over seeds and sets, with their certainty."""
    return results / experiment / "summary.parquet"


def comparisons(results: Path, experiment: str) -> Path:
    """Return the table of paired differences."""
    return results / experiment / "comparisons.parquet"


def curves(results: Path, experiment: str) -> Path:
    """Return the table of curves that the figures draw."""
    return results / experiment / "curves.parquet"


def geometry(results: Path, experiment: str) -> Path:
    """Return the table of angles between samples and class means or prototypes."""
    return results / experiment / "geometry.parquet"


def grades(results: Path, experiment: str) -> Path:
    """Return the table of detection by graded shifts; where the config asks for it."""
    return results / experiment / "grades.parquet"


def temperatures(results: Path, experiment: str) -> Path:
    """Return the table of AUROC under other temperatures."""
    return results / experiment / "temperatures.parquet"


def estimates(results: Path, experiment: str) -> Path:
    """Return the table of what is estimated without OOD labels, beside the truth; where the config asks for it."""
    return results / experiment / "estimates.parquet"


EVALUATED = (metrics, curves, summary, comparisons, geometry, temperatures)  # what the stage evaluate leaves
EVALUATED_IF_ASKED = (grades, estimates)  # and what where the config asks for it


def report(results: Path, experiment: str, part: str) -> Path:
    """Return what a part of the report is: the folder of its "tables" or "figures", or the file of its "page"."""
    return results / experiment / REPORT[part]


def figures_of_backbone(id_datasets: int) -> tuple[str, ...]:
    """Return the names of the figures of a backbone over that many ID datasets: of their mean, and of ranks."""
    return (MEAN_FIGURES if id_datasets > 1 else ()) + (RANK_FIGURES if id_datasets >= ENOUGH_FOR_RANKS else ())


def digests(results: Path, experiment: str, part: str) -> Path:
    """Return the manifest of what the files of a part of the report are."""
    return results / experiment / f"{part}{DIGESTS}"
