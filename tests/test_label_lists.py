"""Label lists in the configuration and in the plan: named, found, told apart, and asked for as files."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import catalogue, paths, plan, registry, store, texts
from oodgrid.cli import main
from oodgrid.config import LabelList, parse
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.registry import LabelList as Named
from tests.failing import failure

BACKBONE = {"name": "b", "model": "ViT-B-32-quickgelu", "pretrained": "openai"}
OWN = {"name": "far", "labels": ["tree", "house"], "templates": ["the {}"]}


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """Scores that are given texts: one needs a list, one has one by default, one needs shuffled prompts."""
    for kind in registry.PACKAGES:  # all imported before, so that none registers in what is thrown away
        registry.entries(kind)
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(known) for kind, known in registry._ENTRIES.items()})

    @registry.score(needs=("logits", "class_texts"))
    def outlying(
        logits: np.ndarray, class_texts: np.ndarray, *, outliers: Named = None, beta: float = 0.25
    ) -> np.ndarray:
        """Of outliers."""
        return logits

    @registry.score(needs=("features",))
    def neutral(features: np.ndarray, *, agents: Named = "concept-agents") -> np.ndarray:
        """Of agents."""
        return features

    @registry.score(needs=("prompt_variants",))
    def varied(variants: np.ndarray) -> np.ndarray:
        """Of variants."""
        return variants


@pytest.fixture
def experiment(experiment_of):
    def make(scores=({"name": "outlying", "outliers": "far"},), lists=(OWN,), **changes):
        return parse(experiment_of(backbones=[BACKBONE], scores=["mcm", *scores], label_lists=list(lists), **changes))

    return make


def names(files, root):
    return [file.relative_to(root).as_posix() for file in files]


# ----------------------------------------------------------------------------------------------------- config


def test_a_score_names_a_list_of_the_experiment(experiment):
    found = experiment()
    (_, score) = found.scores
    assert found.lists_of(score) == {"outliers": "far"}
    assert [labels.name for labels in found.wanted_lists()] == ["far"]
    assert found.label_list("far").labels == ["tree", "house"]
    assert score.listed("score") == "outlying@outliers=far"


def test_a_default_names_a_list_of_the_catalogue(experiment):
    found = experiment(scores=["neutral"], lists=[])
    assert [labels.name for labels in found.wanted_lists()] == ["concept-agents"]
    assert found.label_list("concept-agents").templates == ["{}"]


def test_two_scores_may_name_one_list_and_one_score_two(experiment):
    both = [{"name": "outlying", "outliers": name} for name in ("far", "concept-words")]
    found = experiment(scores=[*both, {"name": "neutral", "agents": "far"}])
    assert [labels.name for labels in found.wanted_lists()] == ["far", "concept-words"]
    assert found.wanted_lists([]) == []


def test_a_parameter_without_a_list_is_named_with_the_mend(experiment):
    line = failure(experiment, scores=["outlying"])
    assert line.startswith("score outlying needs a list of labels: write {name: outlying, outliers: NAME}")


def test_an_unknown_list_is_asked_back_with_the_parameter(experiment):
    line = failure(experiment, scores=[{"name": "outlying", "outliers": "fat"}])
    assert line == "score outlying, outliers: unknown label list 'fat': did you mean 'far'?"
    line = failure(experiment, scores=[{"name": "neutral", "agents": "cma-agent"}])
    assert "score neutral, agents: unknown label list 'cma-agent': did you mean 'cma-agents'?" in line


def test_a_default_list_that_does_not_exist_is_named_with_its_parameter(experiment):
    @registry.score(needs=("features",))
    def outdated(features: np.ndarray, *, agents: Named = "old-agents") -> np.ndarray:
        """Of agents that are gone."""
        return features

    assert "score outdated, agents: unknown label list 'old-agents'" in failure(experiment, scores=["outdated"])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"labels": ["a"], "file": "a.txt"},
            "needs one source of file, labels, lexicographer, noise_images, imported; it names file",
        ),
        ({"template": ["{}"]}, "unknown config key of label list 'template': did you mean 'templates'"),
        ({"file": "a.xlsx"}, "a.xlsx is none of .txt, .csv, .parquet, .json"),
        ({"labels": ["a"], "templates": ["no place"]}, "template 'no place' lacks {}"),
        (
            {"labels": ["a"], "templates": {"noun": ["{}"] * 3, "adjective": ["{}"] * 2}},
            "2 templates for adjective and 3",
        ),
        ({"imported": {}, "lower": True}, "lower would change what was imported"),
        ({"imported": {}, "templates": ["{}", "a {}"]}, "imported texts are of one template"),
        ({"lexicographer": {"folder": "x", "lexname": ["noun.act"]}}, "did you mean 'lexnames'"),
    ],
)
def test_mistakes_in_an_entry_are_one_line(experiment, entry, says):
    assert says in failure(experiment, scores=[], lists=[{"name": "mine", **entry}])


def test_an_entry_without_a_source_must_be_of_the_catalogue(experiment):
    assert "unknown label list 'mine'" in failure(experiment, lists=[{"name": "mine", "lower": True}])
    found = experiment(scores=[], lists=[{"name": "cma-agents", "templates": ["{}", "again {}"]}])
    assert found.label_list("cma-agents").labels == LabelList(name="cma-agents").labels
    assert found.label_list("cma-agents").identity != LabelList(name="cma-agents").identity


def test_one_name_has_one_meaning(experiment):
    assert "label list far is listed twice" in failure(experiment, lists=[OWN, {**OWN, "labels": ["car"]}])


def test_classes_are_dropped_of_an_id_set_of_the_experiment(experiment):
    assert experiment(lists=[{**OWN, "drop_classes_of": "concepts"}]).label_list("far").drop == "exact"
    line = failure(experiment, lists=[{**OWN, "drop_classes_of": "concept"}])
    assert (
        line
        == "label list far, drop_classes_of: unknown ID dataset of this experiment 'concept': did you mean 'concepts'?"
    )


def test_joined_lists_name_one_id_set_of_the_experiment(experiment):
    assert experiment(lists=[{**OWN, "joined_to": "concepts"}]).label_list("far").classes_of == "concepts"
    line = failure(experiment, lists=[{**OWN, "joined_to": "concept"}])
    assert line.startswith("label list far, joined_to: unknown ID dataset of this experiment 'concept'")
    two = failure(experiment, lists=[{**OWN, "joined_to": "concepts", "drop_classes_of": "digits"}])
    assert "drop_classes_of names digits and joined_to concepts: name the one ID dataset" in two


@pytest.mark.parametrize("name", catalogue.entries("label_list"))
def test_every_list_of_the_catalogue_is_valid(name):
    assert LabelList(name=name).name == name


def test_the_catalogue_is_listed_with_long_lists_cut(capsys):
    assert main(["list", "label_lists"]) == 0
    shown = capsys.readouterr().out
    assert "cma-agents" in shown
    assert "in all" in shown
    assert max(map(len, shown.splitlines())) < 400


def test_a_score_that_needs_a_list_is_listed(capsys):
    assert main(["list", "scores"]) == 0
    assert "parameters: outliers, beta=0.25" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------- identity


def test_content_decides_and_not_the_place(tmp_path):
    for folder, text in (("a", "tree\n"), ("b", "tree\n"), ("c", "house\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "l.txt").write_text(text)
    one, same, other = (LabelList(name="x", file=str(tmp_path / f / "l.txt")).identity for f in "abc")
    assert one == same != other


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["tree"]},
        {"templates": ["a {}"]},
        {"lower": True},
        {"drop_classes_of": "d"},
        {"labels": {"noun": ["tree"]}},
    ],
)
def test_whatever_changes_the_texts_changes_the_identity(change):
    assert LabelList(**{**OWN, **change}).identity != LabelList(**OWN).identity


def test_a_folder_of_words_counts_by_its_files(tmp_path):
    (tmp_path / "noun.act.txt").write_text("race\n")
    (tmp_path / "readme.txt").write_text("not a list")
    source = {"name": "x", "lexicographer": {"folder": str(tmp_path)}}
    before = LabelList(**source).identity
    (tmp_path / "readme.txt").write_text("changed")
    assert LabelList(**source).identity == before
    (tmp_path / "noun.act.txt").write_text("race\nrun\n")
    assert LabelList(**source).identity != before
    csp = {**source, "lexicographer": {"folder": str(tmp_path), "pool": "csp"}}
    seeded = {**source, "lexicographer": {"folder": str(tmp_path), "pool": "csp", "seed": 1}}
    assert LabelList(**csp).identity != LabelList(**seeded).identity


# ------------------------------------------------------------------------------------------------------- plan


def test_lists_and_shuffled_prompts_are_files_of_the_experiment(tmp_path, experiment):
    found = experiment(scores=[{"name": "outlying", "outliers": "far"}, "varied"])
    wanted = names(plan.feature_files(tmp_path, found), tmp_path)
    assert wanted[-3:] == ["text/b/concepts.h5", "text/b/concepts.shuffled.h5", "text/b/labels/far.h5"]
    assert plan.encoded_texts(found, texts.LABELS) == ["far"]
    assert set(wanted[-3:]) <= set(names(plan.encoded_files(tmp_path, found), tmp_path))
    assert "text/b/concepts.shuffled.h5" not in names(plan.feature_files(tmp_path, experiment()), tmp_path)


def test_a_list_that_no_score_names_is_not_encoded(tmp_path, experiment):
    assert not [f for f in plan.feature_files(tmp_path, experiment(scores=[])) if "labels" in f.parts]


def test_score_jobs_read_the_texts_of_their_own_scores(tmp_path, experiment):
    found = experiment(scores=[{"name": "outlying", "outliers": "far"}, "neutral", "varied"])

    def read(method):
        files = names(plan.score_input(tmp_path, found, "b", "concepts", method), tmp_path)
        return [file for file in files if file.startswith("text/")]

    assert read("zero_shot") == ["text/b/concepts.h5", "text/b/concepts.shuffled.h5", "text/b/labels/far.h5"]
    assert read("any") == ["text/b/labels/concept-agents.h5"]


def test_visual_prototypes_have_no_texts_to_shuffle(tmp_path, experiment_of):
    sets = [{"name": "concepts", "text": "visual_prototypes", "ood": {"far": ["noise"]}}]
    found = parse(experiment_of(id_datasets=sets, scores=["varied", {"name": "neutral"}]))
    assert not [f for f in plan.feature_files(tmp_path, found) if "shuffled" in f.name]


def leave(results, found, text, made=None, imported=False, path=None):
    """Leave the text file of the list `far`, saying of itself what is given."""
    about = {"backbone": made or {**found.backbones[0].identity, "weights_sha256": "abc"}, "text": text}
    if imported:
        about |= {"imported": {"format": "text"}, "backbone": {"name": "b"}}
    values = np.ones((1, 2, 4), np.float32)
    path = path or paths.label_texts(results, "b", "far")
    store.write_texts(path, store.Texts(values, ["tree", "house"], ["the {}"], about, kinds=["", ""]))


def test_a_file_that_is_what_the_config_means_is_taken(tmp_path, experiment):
    found = experiment()
    leave(tmp_path, found, {**found.label_list("far").identity, "count": 2})
    plan.check_identities(tmp_path, found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"templates": ["a {}"]}, 'text.templates is ["the {}"] in the file and ["a {}"] in the config'),
        ({"lower": True}, "text.lower is false in the file and true in the config"),
        ({"labels": ["tree"]}, f'in the file and "{digest(["tree"])}" in the config'),
    ],
)
def test_a_changed_list_is_refused_with_both_values(tmp_path, experiment, change, says):
    leave(tmp_path, experiment(), LabelList(**OWN).identity)
    line = failure(plan.check_identities, tmp_path, experiment(lists=[{**OWN, **change}]))
    assert "text/b/labels/far.h5 is not what the config means by its name: " in line
    assert says in line


def test_a_changed_file_is_refused_and_a_missing_one_is_not(tmp_path, experiment):
    file = tmp_path / "l.txt"
    file.write_text("tree\nhouse\n")
    found = experiment(lists=[{"name": "far", "file": str(file)}])
    leave(tmp_path, found, found.label_list("far").identity)
    file.write_text("tree\n")
    assert "text.file_sha256 is" in failure(plan.check_identities, tmp_path, found)
    file.unlink()
    plan.check_identities(tmp_path, found)
    plan.check_imports(tmp_path, found)


def test_other_weights_than_those_of_the_classes_are_refused(tmp_path, experiment):
    found = experiment()
    leave(tmp_path, found, found.label_list("far").identity)
    other = {**found.backbones[0].identity, "weights_sha256": "def"}
    text = {**found.id_datasets[0].text_identity, "classnames": ["a", "b"]}
    leave(tmp_path, found, text, made=other, path=paths.texts(tmp_path, "b", "concepts"))
    line = failure(plan.check_identities, tmp_path, found)
    assert 'backbone.weights_sha256 is "abc" in the file and "def" in' in line


def test_shuffled_prompts_are_those_of_the_templates_and_classes(tmp_path, experiment):
    found = experiment(scores=["varied"])
    dataset = found.id_datasets[0]
    path = texts.SHUFFLED.path(tmp_path, "b", "concepts")
    leave(tmp_path, found, {**texts.SHUFFLED.identity(dataset), "classnames": ["a", "b"]}, path=path)
    plan.check_identities(tmp_path, found)
    leave(tmp_path, found, {**texts.SHUFFLED.identity(dataset), "shuffled": 5, "classnames": ["a", "b"]}, path=path)
    assert "text.shuffled is 5 in the file and 10 in the config" in failure(plan.check_identities, tmp_path, found)


def test_classes_that_changed_since_they_were_dropped_are_noticed(tmp_path, experiment):
    found = experiment(lists=[{**OWN, "drop_classes_of": "concepts"}])
    leave(tmp_path, found, {**found.label_list("far").identity, "classes_sha256": digest(["a", "b"])})
    plan.check_identities(tmp_path, found)
    text = {**found.id_datasets[0].text_identity, "classnames": ["a", "c"]}
    leave(tmp_path, found, text, path=paths.texts(tmp_path, "b", "concepts"))
    assert "classes_sha256" in failure(plan.check_identities, tmp_path, found)


def test_a_missing_source_is_named_before_the_first_job(tmp_path, experiment):
    found = experiment(lists=[{"name": "far", "file": str(tmp_path / "none.txt")}])
    line = failure(plan.check_imports, tmp_path, found)
    assert line == f"label list far: {tmp_path / 'none.txt'} does not exist: mend the path"


def test_an_imported_list_must_be_there_and_imported(tmp_path, experiment):
    found = experiment(lists=[{"name": "far", "imported": {}}])
    assert "oodgrid import text FILE --backbone NAME --label-list far" in failure(plan.check_imports, tmp_path, found)
    leave(tmp_path, found, {"templates": ["the {}"]}, imported=True)
    plan.check_imports(tmp_path, found)
    plan.check_identities(tmp_path, found)
    line = failure(plan.check_identities, tmp_path, experiment())
    assert "was imported but the config wants it encoded: use another label list name, or delete it" in line


def test_an_imported_list_of_another_template_is_refused(tmp_path, experiment):
    found = experiment(lists=[{"name": "far", "imported": {"text": "x.npy"}, "templates": ["a {}"]}])
    leave(tmp_path, found, {"templates": ["the {}"]}, imported=True)
    assert 'text.templates is ["the {}"] in the file' in failure(plan.check_identities, tmp_path, found)


@pytest.mark.parametrize("key", ["joined_to", "drop_classes_of"])
def test_an_id_set_that_a_limit_or_half_renames_goes_by_its_written_name_too(experiment_of, key):
    def named(sets, name, **more):
        ood = {"far": ["noise"]}
        found = parse(
            experiment_of(
                id_datasets=[{**each, "ood": ood} for each in sets], label_lists=[{**OWN, key: name}], shots=[1], **more
            )
        )
        return found.label_list("far").classes_of

    limited, whole = {"name": "concepts", "limit": 40}, {"name": "concepts"}
    assert named([limited], "concepts") == named([limited], "concepts-limit-40") == "concepts-limit-40"
    assert named([whole], "concepts", limit=40) == "concepts-limit-40"
    assert named([limited, whole], "concepts") == "concepts"  # the one that is called so
    halves = [{"name": "concepts", "classes": {"half": half}} for half in (1, 2)]
    assert named(halves[:1], "concepts").startswith("concepts-")
    with pytest.raises(OodgridError, match="unknown ID dataset of this experiment 'concepts'"):
        named(halves, "concepts")  # either
