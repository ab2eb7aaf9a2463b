"""Where everything lies below the results folder: the only place that spells it out.

Every function takes the results folder first, and the names of the configuration after it.
"""

from __future__ import annotations

from pathlib import Path


def features(results: Path, backbone: str, dataset: str, split: str) -> Path:
    """Return the feature file of one split; shared by all experiments."""
    return results / "features" / backbone / dataset / f"{split}.h5"


def views(results: Path, backbone: str, dataset: str, split: str, family: str, draws: str) -> Path:
    """Return the file of augmented views of one split, for the draws of that digest; shared by all experiments."""
    return results / "features" / backbone / dataset / f"{split}.views-{family}-{draws}.h5"


def shard(results: Path, backbone: str, dataset: str, number: int, of: int) -> Path:
    """Return the manifest that says that one shard of a dataset is encoded."""
    return results / "features" / backbone / dataset / "shards" / f"{number}-of-{of}.json"


def texts(results: Path, backbone: str, dataset: str) -> Path:
    """Return the text file of one class list; shared by all experiments."""
    return results / "text" / backbone / f"{dataset}.h5"


def shuffled_texts(results: Path, backbone: str, dataset: str) -> Path:
    """Return the text file of one class list under prompts with their words shuffled; shared by all experiments."""
    return results / "text" / backbone / f"{dataset}.shuffled.h5"


def label_texts(results: Path, backbone: str, label_list: str) -> Path:
    """Return the text file of one list of labels that are not the classes; shared by all experiments."""
    return results / "text" / backbone / "labels" / f"{label_list}.h5"


def fitted(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the manifest of what was learned."""
    return results / experiment / "adapted" / backbone / id_dataset / method / "fit.json"


def applied(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the manifest of what a method makes of every split."""
    return results / experiment / "adapted" / backbone / id_dataset / method / "apply.json"


def scores(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the table with one row a sample and one column a score."""
    return results / experiment / "scores" / backbone / id_dataset / f"{method}.parquet"


def streams(results: Path, experiment: str, backbone: str, id_dataset: str, method: str) -> Path:
    """Return the table of the transductive scores, one row a sample of every stream."""
    return results / experiment / "scores" / backbone / id_dataset / f"{method}.streams.parquet"


def metrics(results: Path, experiment: str) -> Path:
    """Return the tidy table of metrics."""
    return results / experiment / "metrics.parquet"


def curves(results: Path, experiment: str) -> Path:
    """Return the table of curves that the figures draw."""
    return results / experiment / "curves.parquet"


def digests(results: Path, experiment: str, part: str) -> Path:
    """Return the manifest of what the files of a part of the report are: "tables", "figures" or "page"."""
    return results / experiment / f"{part}.digests.json"
