"""What a score must be, tried on samples that are easy to tell apart: every score here, and faulty ones of a user."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
import sklearn.svm  # noqa: F401 - its first import changes the environment, and `mdf` imports it late

from oodgrid import registry, signatures, texts
from oodgrid.config import Choice, parse
from oodgrid.errors import OodgridError
from oodgrid.plugins import apart, state
from oodgrid.score.checks import auroc, check, check_plugins, example, example_texts, rows, try_plugins
from oodgrid.score.compute import compute
from oodgrid.score.contract import Skip

# they want one "no" text a class, texts of pairs, and a text tower
SKIPPED = {"clipn_atd", "clipn_ctw", "negrefine", "reneg_tanl_tins", "tins"}


@pytest.mark.parametrize("name", registry.entries("score"))
def test_every_score_is_higher_for_id_and_looks_at_each_sample_alone(name):
    try:
        check(Choice(name=name))
    except Skip:
        assert name in SKIPPED
    else:
        assert name not in SKIPPED


def test_the_area_is_that_of_pairs():
    values = np.array([3.0, 1.0, 2.0, 2.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in values[:2] for b in values[2:]]
    assert auroc(values) == np.mean(pairs)


def test_the_example_is_as_the_contract_says():
    given = example()
    for need in ("features", "class_texts", "prompt_variants"):
        np.testing.assert_allclose(np.linalg.norm(given[need], axis=-1), 1)
    np.testing.assert_allclose(given["logits"], given["features"] @ given["head"].weights.T)
    assert {*given, "text_tower"} == {*signatures.NEEDS, *texts.needs(), "train", "text_cosines"}


PLUGIN = """
import numpy as np
from oodgrid.registry import score


@score(needs=("logits", "bank"))
def {name}(logits, bank, *, T: float = 1.0):
    {body}
"""

GOOD = "return logits.max(axis=1) / T"
FAULTS = {
    "negated": ("return -logits.max(axis=1)", "may want a minus sign"),
    "by_batch": ("return logits.max(axis=1) - logits.max()", "another value beside other samples than alone"),
    "whole": ("return logits", "gave shape .48, 3."),
    "endless": ("return logits.max(axis=1) / 0", "are not finite"),
    "failing": ("return logits.maximum(axis=1)", "line 8 failed: AttributeError"),
    "leaving": ("import sys; sys.exit(0)", "line 8 failed: it ends the program"),
    "parsing": ("import argparse; argparse.ArgumentParser().parse_args(['x'])", "failed: it ends the program"),
    "panicking": ("raise BaseException('x')", "line 8 failed: BaseException: x"),
    "deep": ("return deep(logits, bank)", "failed: RecursionError"),
    "complex_numbers": ("return logits.max(axis=1) + 0j", "gave complex numbers"),
    "masked": ("return np.ma.masked_less(logits.max(axis=1), 0.5)", "gave a masked array"),
    "words": ("return logits.max(axis=1).astype(str)", "gave no numbers .type <U32"),
    "bytes_of": ("return logits.max(axis=1).astype('S8')", "gave no numbers"),
    "dates": ("return (1e9 * logits.max(axis=1)).astype('M8[s]')", "gave dates"),
    "decisions": ("return logits.max(axis=1) > 0.5", "gave true and false"),
    "objects": ("return logits.max(axis=1).astype(object)", "gave objects"),
    "nothing": ("return None", "gave objects"),
    "ragged": ("return [[1], [1, 2]]", "gave what is no array"),
    "drawing": ("return logits.max(axis=1) + 1e-3 * np.random.default_rng().normal(size=len(logits))", "asked again"),
    "seeding": (
        "np.random.seed(0); return logits.max(axis=1)",
        "changes what belongs to all: the state of numpy.random",
    ),
    "silencing": ("np.seterr(all='ignore'); return logits.max(axis=1)", "NumPy's error state"),
    "moving": ("import os; os.chdir('/'); return logits.max(axis=1)", "the working directory"),
    "setting": ("import os; os.environ['A_B'] = '1'; return logits.max(axis=1)", "the environment"),
    "warning": (
        "import warnings; warnings.simplefilter('ignore'); return logits.max(axis=1)",
        "the filters of warnings",
    ),
    "patching": ("np.exp = np.sin; return logits.max(axis=1)", "changes what belongs to all: numpy.exp"),
    "writing": ("logits[:] = 0; return logits.max(axis=1)", "read-only"),
    "clipping": ("np.clip(logits, -2, 2, out=logits); return logits.max(axis=1)", "read-only"),
    "opening": ("logits.flags.writeable = True; return logits.max(axis=1)", "cannot set WRITEABLE"),
    "replacing": (
        "vars(bank)['centre'] = 0 * bank.centre; return logits.max(axis=1)",
        "changes what other scores are given",
    ),
    **{
        f"of_bank_{number}": (f"bank.{what}[:] = 0; return logits.max(axis=1)", "read-only")
        for number, what in enumerate(
            ("means", "labels", "centre", "residuals", "features", "classes[0]", "own_logits()", "head.weights")
        )
    },
}


@pytest.fixture
def written(tmp_path):
    def write(name, body):
        file = tmp_path / f"{name}_file.py"
        file.write_text(PLUGIN.format(name=name, body=body))
        return file

    return write


@pytest.fixture(autouse=True)
def forgotten():
    """Take the scores of a test out of the registry again."""
    before = dict(registry.entries("score"))
    yield
    registry.entries("score").clear()
    registry.entries("score").update(before)


def test_a_good_score_of_one_s_own_is_a_score_like_any_other(written, experiment_of):
    file = written("my_own", GOOD)
    experiment = parse(experiment_of(plugins=[str(file)], scores=["mcm", {"name": "my_own", "T": 2}]))
    assert [each.listed("score") for each in experiment.scores] == ["mcm", "my_own@T=2"]
    check_plugins(experiment.scores)


@pytest.fixture
def here(monkeypatch):
    """Load and try in this process, which takes no second: what that cannot survive is tried in one of its own."""
    monkeypatch.setenv(apart.INSIDE, "1")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_one_is_one_line_that_names_file_and_fault(written, here, monkeypatch, fault):
    body, said = FAULTS[fault]
    monkeypatch.setattr(apart, "now", lambda doing: None)
    monkeypatch.setattr("numpy.exp", np.exp)
    file = written(fault, body)
    with state.restored(file), pytest.raises(OodgridError, match=said) as error:
        try_plugins([str(file)], [(fault, {})])
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os; os._exit(0)", r"ends the process \(exit status 0\)"),
        ("while True: pass", "does not end within 5 s"),
    ],
)
def test_one_that_ends_the_process_or_never_ends_is_named(written, monkeypatch, body, said):
    file = written("ending", body)
    registry.load_plugin(file)
    monkeypatch.setattr(apart, "LIMIT", 5.0)
    monkeypatch.setattr(
        apart, "_wait", lambda process, diary, wait=apart._wait: _started(diary) or wait(process, diary)
    )
    with pytest.raises(OodgridError, match=f"^score ending in {re.escape(str(file))} {said}"):
        check_plugins([Choice(name="mcm"), Choice(name="ending")])


def _started(diary):
    """Wait until the score is under trial, however long Python takes to start on a busy machine."""
    for _ in range(600):
        if b"score ending" in diary.read_bytes():
            return
        time.sleep(0.1)


def test_what_a_score_reuses_for_every_block_is_not_kept(written, here):
    file = written("reusing", "OUT[: len(logits)] = logits.max(axis=1); return OUT[: len(logits)]\nOUT = np.zeros(999)")
    registry.load_plugin(file)
    given = example()
    one = compute(Choice(name="reusing"), given)
    before = one.copy()
    compute(Choice(name="reusing"), rows(given, np.arange(10)[::-1]))
    np.testing.assert_array_equal(one, before)


LOADING = {
    "def broken(:": "line 1: SyntaxError",
    "import nothing_of_that_name": "line 1: ModuleNotFoundError",
    "from oodgrid.registry import score\n@score(needs=('logit',))\ndef a(logits): ...": "did you mean 'logits'",
    "from oodgrid.registry import score\n@score(needs=('logits', 'head'))\ndef b(logits): ...": "takes 1 argument",
    "from oodgrid.registry import score\n@score(needs=('logits',))\ndef c(logits, *, T): ...": "T has no default",
    "from oodgrid.registry import score\n@score(needs='logits')\ndef d(logits): ...": "needs is a tuple",
    "from oodgrid.registry import score\n@score(needs=('logits',))\ndef mcm(logits): ...": "two scores are called mcm",
    "from oodgrid.registry import score\n@score(needs=('logits',), transductive=True)\ndef e(logits): ...": "order",
}


@pytest.mark.parametrize("text", LOADING)
def test_a_file_that_does_not_load_is_one_line(tmp_path, here, text, experiment_of):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(OodgridError, match=LOADING[text]) as error:
        parse(experiment_of(plugins=[str(file)]))
    assert str(error.value).startswith(f"plugin {file}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("document", "name"), [("README.md", "margin"), ("docs/scores.md", "surprise")])
def test_the_example_of_the_documents_works_as_printed(tmp_path, here, monkeypatch, document, name):
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    [example] = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if f"def {name}(" in block]
    file = tmp_path / "mine.py"
    file.write_text(example, encoding="utf-8")
    monkeypatch.setattr(apart, "now", lambda doing: None)
    try_plugins([str(file)], [(name, {})])


def test_plugins_that_are_no_list_or_hold_nothing_are_one_line(tmp_path, experiment_of):
    with pytest.raises(OodgridError, match=r"plugins is a list of files: write plugins: \[mine\.py\]"):
        parse(experiment_of(plugins="mine.py"))
    file = tmp_path / "empty.py"
    file.write_text("x = 1\n")
    with pytest.raises(OodgridError, match="registers no score and no method"):
        parse(experiment_of(plugins=[str(file)]))


@pytest.mark.parametrize(
    "name", [n for n, e in registry.entries("score").items() if e.label_lists and "logits" in e.needs]
)
def test_labels_compare_only_with_cosines_to_texts_of_the_same_tower(name):
    choice = Choice(name=name, **dict.fromkeys(registry.find("score", name).label_lists, "away"))
    given = {**example(), "text_tower": None}
    for text_cosines in ({"text_cosines": False}, {}):
        others = {need: found for need, found in given.items() if need != "text_cosines"} | text_cosines
        with pytest.raises(Skip, match="cosines to texts of the same tower"):
            compute(choice, others, {"away": example_texts()})


def test_a_missing_file_is_named(experiment_of):
    with pytest.raises(OodgridError, match=r"plugin nowhere\.py: no such file"):
        parse(experiment_of(plugins=["nowhere.py"]))
