from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import pytest

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.identity import code_files
from oodgrid.registry.rules import RESERVED
from oodgrid.signatures import ListName


def entries():
    return [(kind, name) for kind in registry.PACKAGES for name in registry.entries(kind)]


def test_the_methods_and_scores_of_the_paper_are_there():
    methods = {"zero_shot", "prototype", "linear_probe", "coop", "clip_adapter", "tip_adapter", "tip_adapter_f"}
    assert methods <= set(registry.entries("method"))
    assert {"mcm", "msp", "max_logit", "energy", "entropy", "mahalanobis", "knn"} <= set(registry.entries("score"))


@pytest.mark.parametrize(("kind", "name"), entries())
def test_every_entry_says_what_it_is_and_where_it_is_from(kind, name):
    entry = registry.find(kind, name)
    assert entry.name == name
    assert entry.summary
    assert entry.paper
    assert entry.leaves in ({"prototypes", "features", "logits"} if kind == "method" else {""})


@pytest.mark.parametrize(("kind", "name"), entries())
def test_every_default_is_accepted_and_gives_the_plain_label(kind, name):
    entry = registry.find(kind, name)
    defaults = entry.params
    given = {key: value for key, value in defaults.items() if value is not None or key not in entry.label_lists}
    assert registry.check_params(kind, name, given) == given
    assert registry.variant(name, defaults, defaults) == name


def test_an_unknown_name_is_asked_back():
    with pytest.raises(OodgridError, match="did you mean 'tip_adapter'"):
        registry.find("method", "tip_adaptor")
    with pytest.raises(OodgridError, match="did you mean 'energy'"):
        registry.find("score", "enrgy")


def test_an_unknown_parameter_is_asked_back():
    with pytest.raises(OodgridError, match="unknown parameter of method coop 'epoch': did you mean 'epochs'"):
        registry.check_params("method", "coop", {"epoch": 3})
    with pytest.raises(OodgridError, match="has no parameters"):
        registry.check_params("score", "max_logit", {"T": 1})


def test_a_parameter_of_another_type_is_refused_with_its_value():
    with pytest.raises(OodgridError, match="score mcm: T = 'warm' does not fit"):
        registry.check_params("score", "mcm", {"T": "warm"})


def test_parameters_take_their_declared_types():
    checked = registry.check_params("score", "mcm", {"T": 2})
    assert checked == {"T": 2.0}
    assert isinstance(checked["T"], float)


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ({}, "mcm"),
        ({"T": 1.0}, "mcm"),
        ({"T": 0.5}, "mcm@T=0.5"),
        ({"T": 100.0}, "mcm@T=100"),
        ({"T": 1e-9}, "mcm@T=1e-09"),
    ],
)
def test_labels_name_what_differs_from_the_defaults(params, label):
    assert registry.variant("mcm", params, {"T": 1.0}) == label


def test_labels_of_several_parameters():
    assert registry.variant("m", {"b": 2, "a": 0.5}, {"a": 1.0, "b": 1}) == "m@b=2,a=0.5"


def test_labels_of_words_are_safe_for_shells_and_file_systems():
    label = registry.variant("coop", {"init": "a photo of a; rm -r /*"}, {"init": None})
    assert label == "coop@init=a-photo-of-a-rm--r-"


def test_what_learns_and_what_looks_at_features():
    assert registry.find("method", "coop").learns
    assert not registry.find("method", "zero_shot").learns
    assert registry.find("score", "knn").on_features
    assert not registry.find("score", "mcm").on_features


def test_logits_are_cosines_to_texts_where_the_tower_makes_them_of_prompts():
    """Not of images, trained vectors (even where they start at texts), sums with a cache, or means of several."""
    others = {"prototype", "linear_probe", "lp_plus_plus", "zs_lp", "clap", "opsupcon", "gallop", "mlp_head"}
    others |= {"tip_adapter", "tip_adapter_f", "own_head", "wood", "ensemble", "poore"}
    known = registry.entries("method")
    assert {name for name, entry in known.items() if not entry.text_cosines} == others


def test_every_column_of_score_tables_is_reserved():
    from oodgrid.evaluate.score_files import NOT_SCORES
    from oodgrid.score.run import KEYS, SAMPLE

    assert {*KEYS, *SAMPLE, *NOT_SCORES, "place"} <= set(RESERVED["score"])


def test_a_method_must_be_a_dataclass():
    with pytest.raises(TypeError, match="dataclass"):
        registry.method(leaves="prototypes")(type("Plain", (), {}))


def test_two_files_may_not_claim_one_name(monkeypatch):
    registry.entries("score")
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(known) for kind, known in registry._ENTRIES.items()})

    def mcm(logits):
        return logits

    with pytest.raises(OodgridError, match="two scores are called mcm"):
        registry.score(needs=("logits",))(mcm)


def test_the_fit_code_of_methods_differs_and_stays():
    assert registry.fit_code("coop") == registry.fit_code("coop")
    assert registry.fit_code("coop") != registry.fit_code("zero_shot")


def test_the_code_of_a_score_is_its_own_and_what_all_share():
    assert len({registry.score_code(name) for name in ("mcm", "knn", "mahalanobis")}) == 3
    files = {
        file.name for file in code_files("oodgrid.score.run", registry.find("score", "mahalanobis").make.__module__)
    }
    assert {"mahalanobis.py", "gaussians.py", "compute.py", "inputs.py"} <= files
    assert not {"mcm.py", "knn.py", "mining.py"} & files


def test_what_is_found_by_its_name_imports_its_own_module_alone():
    code = (
        "import sys; from oodgrid import registry; registry.find('score', 'mcm');"
        "print([m for m in sys.modules if m.startswith('oodgrid.score.scores.')])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "['oodgrid.score.scores.mcm']"


def test_looking_at_everything_imports_no_torch():
    code = (
        "import sys; from oodgrid import registry; [registry.entries(k) for k in registry.PACKAGES];"
        "print([m for m in ('torch', 'open_clip', 'torchvision', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_all_methods_in_a_fresh_process_import_none_of_the_heavy_libraries():
    """Validating a configuration does it, in every job of a run."""
    code = "import sys; from oodgrid import registry; registry.entries('method'); print(*sys.modules)"
    imported = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert "oodgrid.adapt.methods.coop" in imported
    assert not {"torch", "scipy", "polars", "sklearn", "open_clip", "h5py"} & set(imported)


def test_a_label_list_is_a_name_where_it_is_written_and_texts_where_it_is_read(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(known) for kind, known in registry._ENTRIES.items()})

    def named(logits, *, T: float = 1.0, words: registry.LabelList, others: Annotated[list, ListName("cma-agents")]):
        return logits

    def with_none(logits, *, words: registry.LabelList = None):  # as plugins wrote it before
        return logits

    for function in (named, with_none):
        registry.score(needs=("logits",))(function)
    entry, older = registry.find("score", "named"), registry.find("score", "with_none")
    assert (list(entry.params.items()), entry.label_lists) == (
        [("T", 1.0), ("words", None), ("others", "cma-agents")],
        ("words", "others"),
    )
    assert (older.params, older.label_lists) == ({"words": None}, ("words",))
    assert registry.check_params("score", "named", {"words": "mine"}) == {"words": "mine"}
    with pytest.raises(OodgridError, match="words = 3 does not fit"):
        registry.check_params("score", "named", {"words": 3})
    agents = registry.find("score", "cma")
    assert (agents.params["agents"], agents.label_lists) == ("cma-agents", ("agents",))
