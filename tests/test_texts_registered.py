"""A kind of text files is one entry and one function: it is then planned, checked, encoded, read and asked for."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import plan, registry, store, texts
from oodgrid.cli import main
from oodgrid.config import parse
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.score.checks import check_plugins
from oodgrid.score.texts import read_texts


def loud_prompts(templates, names):
    """Return every class name in capitals, once and twice."""
    return [("loud", [name.upper() for name in names]), ("louder", [f"{name} {name}".upper() for name in names])]


LOUD = texts.TextSource(
    "loud", "class names in capitals", lambda dataset: {**dataset.text_identity, "loud": 2}, loud_prompts, "loud_texts",
    suffix=".loud",
)  # fmt: skip


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The made-up kind, and a score that asks for it."""
    texts.SOURCES.append(LOUD)
    for kind in registry.PACKAGES:
        registry.entries(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(known) for kind, known in registry._ENTRIES.items()})

    @registry.score(needs=("features", "loud_texts"))
    def heard(features: np.ndarray, loud_texts: np.ndarray) -> np.ndarray:
        """Of what is loud."""
        return np.einsum("nd,vkd->nvk", features, loud_texts).max(axis=(1, 2))

    yield
    texts.SOURCES.remove(LOUD)


@pytest.fixture
def experiment(experiment_of):
    def make(scores=("mcm", "heard"), **dataset):
        sets = [{"name": "concepts", "ood": {"far": ["noise"]}, **dataset}]
        return parse(experiment_of(scores=list(scores), id_datasets=sets))

    return make


def test_it_is_planned_where_a_score_asks_for_it(tmp_path, experiment):
    path = tmp_path / "text/tiny/concepts.loud.h5"
    for files in (plan.feature_files, plan.encoded_files):
        assert path in files(tmp_path, experiment())
        assert path not in files(tmp_path, experiment(scores=["mcm"]))
    assert path in plan.score_input(tmp_path, experiment(), "tiny", "concepts", "any")
    assert path not in plan.score_input(tmp_path, experiment(), "tiny", "concepts", "zero_shot")
    assert path not in plan.fit_input(tmp_path, experiment(), "tiny", "concepts")
    assert path not in plan.feature_files(tmp_path, experiment(text="visual_prototypes"))
    assert plan.encoded_texts(experiment(), LOUD) == ["concepts"]


def test_kinds_of_one_set_are_told_apart_by_what_decides_them(experiment):
    """Finished work is found by it: two kinds that said the same would be one file."""
    said = [digest(source.identity(experiment().id_datasets[0])) for source in texts.SOURCES if source.prompts]
    assert len(set(said)) == len(said) == 3


def test_names_of_its_files_are_no_names_of_other_sets(experiment_of):
    sets = [{"name": "concepts", "ood": {"far": [{"name": "concepts.loud", "generated": {"kind": "noise"}}]}}]
    with pytest.raises(OodgridError, match=r"concepts\.loud is how files beside those of concepts are called"):
        parse(experiment_of(id_datasets=sets))


def test_it_is_encoded_checked_and_read(tmp_path, experiment, experiment_of, write_yaml, capsys):
    pytest.importorskip("torch")
    sets = [{"name": "concepts", "ood": {"far": ["noise"]}}]
    config = write_yaml(experiment_of(scores=["mcm", "heard"], id_datasets=sets))

    def encode(*options):
        assert main(["encode", "texts", "--config", str(config), "--results", str(tmp_path), *options]) == 0
        return [line.removeprefix(f"wrote {tmp_path}/text/tiny/") for line in capsys.readouterr().out.splitlines()]

    assert encode("--dataset", "concepts", "--loud") == ["concepts.loud.h5"]
    assert LOUD.arguments("concepts") == "--dataset concepts --loud"
    assert encode() == ["concepts.h5", "concepts.loud.h5"]
    plan.check_identities(tmp_path, experiment())
    texts.CLASSES.path(tmp_path, "tiny", "concepts").unlink()  # else that one is named first
    with pytest.raises(OodgridError, match=r"concepts\.loud\.h5 is not what .* text\.templates is"):
        plan.check_identities(tmp_path, experiment(templates=["the {}"]))

    dataset = experiment().id_datasets[0]
    given = read_texts(tmp_path, experiment().backbone("tiny"), dataset, {"loud_texts"}, [])
    stored = store.read_texts(LOUD.path(tmp_path, "tiny", "concepts"))
    assert stored.templates == ["loud", "louder"]
    assert given.by_need["loud_texts"].shape == stored.text_features.shape
    np.testing.assert_allclose(np.linalg.norm(given.by_need["loud_texts"], axis=-1), 1)
    assert given.digests == {"loud_texts": stored.digest}


def test_plugins_that_ask_for_it_are_tried_with_it(experiment):
    check_plugins(experiment().scores)
    with pytest.raises(OodgridError, match="did you mean 'loud_texts'"):
        registry.score(needs=("features", "loud_text"))(lambda features, loud: features)
