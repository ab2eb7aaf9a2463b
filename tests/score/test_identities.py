"""What decides a score: its own module and all that runs when it is computed, and nothing of other scores."""

from __future__ import annotations

import ast
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import oodgrid
from oodgrid import registry
from oodgrid.config import Choice
from oodgrid.errors import Skip
from oodgrid.fewshot import FewShot
from oodgrid.identity import SHARED, code_files, imported_names
from oodgrid.score.checks import EXAMPLES, example, example_texts
from oodgrid.score.compute import Column, compute
from oodgrid.score.inputs import FitInputs, Samples, read_fits
from oodgrid.score.texts import Texts
from oodgrid.score.values import of_set, of_stream

ROOT = Path(oodgrid.__file__).parent
SCORES = sorted(registry.entries("score"))
# What runs beside them finds, reads and checks, and makes no number: `store` gives arrays as they are in sealed files.
PLUMBING = {"config", "counts", "devices", "environment", "errors", "grid", "identity", "manifests", "paths", "plugins"}
PLUMBING |= {"registry", "services", "signatures", "store", "threads"}
OTHERS = {  # of which scores others are made
    "clipn_ctw": {"clipn_atd"},
    "clipscope": {"neglabel"},
    "cover": {"energy", "entropy", "max_logit", "mcm", "msp", "variance"},
    "cover_neglabel": {"neglabel"},
    "csp": {"neglabel"},
    "gl_fa": {"fa"},
    "gl_mcm": {"l_mcm"},
    "interneg": {"neglabel"},
    "negrefine": {"neglabel"},
    "reneg_tanl_tins": {"tins"},
    "reneg_tins": {"interneg", "neglabel"},
    "tag": {"energy", "gen", "max_logit", "msp"},
}


def choice_of(name):
    lists = registry.find("score", name).label_lists
    return Choice(name=name, **dict.fromkeys(lists, "away"))


def files_of(name):
    """Return the files in the identity of a score."""
    return code_files("oodgrid.score.values", registry.find("score", name).make.__module__)


@pytest.fixture
def traced():
    """A function that returns the files of the package of which functions were called meanwhile, on all threads."""

    def run(function):
        files = set()

        def look(frame, event, argument):
            files.add(frame.f_code.co_filename)

        threading.setprofile(look)
        sys.setprofile(look)
        try:
            function()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        return {path for file in files if (path := Path(file)).is_relative_to(ROOT)}

    return run


def decisive(files):
    """Return those of the files that are no plumbing."""
    return {file for file in files if file.relative_to(ROOT).parts[0].removesuffix(".py") not in PLUMBING}


def test_plumbing_is_none_of_what_decides_numbers():
    assert not {name.removeprefix("oodgrid.") for name in SHARED} & PLUMBING


# those that go through a text tower: test_inversion.py
@pytest.mark.parametrize("name", [name for name in SCORES if "text_tower" not in registry.find("score", name).needs])
def test_all_that_runs_when_a_score_is_computed_is_in_its_identity(name, traced):
    def run():
        for left in EXAMPLES:
            with suppress(Skip):
                compute(choice_of(name), example(left), {"away": example_texts()})

    example(), example_texts()  # SciPy is imported
    files = decisive(traced(run)) - {ROOT / "score" / "checks.py"}  # which has made the example
    assert Path(sys.modules[registry.find("score", name).make.__module__].__file__) in files
    assert files <= files_of(name)


def test_all_that_gives_scores_their_inputs_is_in_the_identity_of_every_score(mini, traced):
    mini.applied("prototype", "prototypes", [mini.prototypes().fit])
    experiment = mini.experiment()
    applied, few_shot = read_fits(mini.results, experiment, "mini", "pets", "prototype")
    sets = [
        Samples(name, mini.read(name), mini.results / "features/mini" / name / "test.h5") for name in ("pets", "cars")
    ]
    names = ("mcm", "knn", "vim", "mahalanobis")

    def run():
        few = FewShot(few_shot.results, few_shot.backbone, few_shot.dataset)
        inputs = FitInputs(mini.results, applied.fits[0], applied, few, Texts({}, {}, {}), "float64")
        assert of_set(inputs, sets[0], {name: Choice(name=name) for name in names}).scores.keys() == set(names)
        of_stream(inputs, sets[0], "cars", {"cars": sets[1]}, {"adaneg": choice_of("adaneg")})

    executed = decisive(traced(run))
    own = {file for name in (*names, "adaneg") for file in files_of(name)}
    assert ROOT / "score" / "inputs.py" in executed
    assert executed <= own


def test_a_score_s_own_module_decides_that_score_alone_and_how_tables_are_kept_none():
    modules = {name: Path(sys.modules[registry.find("score", name).make.__module__].__file__) for name in SCORES}
    stage = {ROOT / "score" / f"{module}.py" for module in ("run", "kept_tables", "geometry", "identities", "checks")}
    assert stage <= code_files("oodgrid.score.run")  # after an edit of these the job runs again
    for name in SCORES:
        files = files_of(name)
        assert not files & stage
        assert {other for other in SCORES if modules[other] in files} == {name} | OTHERS.get(name, set())
        # a score reaches another by import, which is seen, and not by its name
        assert "oodgrid.registry.find" not in imported_names(ast.walk(ast.parse(modules[name].read_text())))


@pytest.mark.parametrize("left", EXAMPLES)
def test_every_score_has_the_same_values_alone_and_with_all_others_in_any_order(left):
    lists = {"away": example_texts()}

    def together(names):
        inputs = example(left)
        columns = {name: Column(choice_of(name), str, lists) for name in names}
        return {name: (column.of(inputs), column.skipped) for name, column in columns.items()}

    alone = {name: together([name])[name] for name in SCORES}
    assert sum(values is not None for values, _ in alone.values()) > 3
    for order in (SCORES, SCORES[::-1], list(np.random.default_rng(0).permutation(SCORES))):
        for name, (values, skipped) in together(map(str, order)).items():
            assert skipped == alone[name][1], name
            assert np.array_equal(values, alone[name][0]), name
