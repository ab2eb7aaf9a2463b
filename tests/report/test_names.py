from __future__ import annotations

import random
from collections import Counter
from dataclasses import make_dataclass
from functools import cache
from itertools import chain
from types import FunctionType

import polars as pl
import pytest

from oodgrid import registry
from oodgrid.corruptions import RECOMMENDED
from oodgrid.errors import OodgridError
from oodgrid.look import LINES, MARKS, Look
from oodgrid.report import canvas, figures, latex, render, tables
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend, looked_at
from oodgrid.report.select import bases
from tests.report.synthetic import made

OWN = [name for name, entry in registry.entries("method").items() if entry.plugin is None]
VARIANTS = ["coop@epochs=20", "coop@epochs=50", "coop@lr=0.0001", "tip_adapter@beta_start=50", "zero_shot@x=1"]


def legend(methods, scores=("mcm",)):
    """The legend of results with these methods and scores, as evaluate writes them; and that of older files, equal."""
    methods, scores = list(methods), list(scores)
    length = max(len(methods), len(scores))
    columns = {name: (each * length)[:length] for name, each in {"method": methods, "score": scores}.items()}
    old = pl.DataFrame(columns)
    new = old.with_columns(pl.Series(f"base_{name}", [n.split("@")[0] for n in old[name]]) for name in columns)
    assert Legend.of(new) == Legend.of(old)
    assert list(Legend.of(new).methods) == list(dict.fromkeys(columns["method"]))
    return Legend.of(new)


@pytest.fixture
def register(monkeypatch):
    """How to register a score or a method of the user's own, until the test ends."""
    known = {kind: dict(registry.entries(kind)) for kind in registry.PACKAGES}
    monkeypatch.setattr(registry, "_ENTRIES", known)

    def one(name, title="", look="", kind="method"):
        if kind == "score":
            registry.score(needs=("logits",), title=title)(
                FunctionType((lambda logits: logits).__code__, {"__name__": "mine"}, name)
            )
        else:
            made = make_dataclass("Mine", [], namespace={"__module__": f"mine.{name}"})
            registry.method(leaves="prototypes", title=title, look=look)(made)

    return one


@pytest.mark.parametrize("kind", ["method", "score"])
def test_everything_registered_has_a_title_and_methods_a_look_of_their_own(kind):
    own = [entry for entry in registry.entries(kind).values() if entry.plugin is None]  # not what a test registered
    assert all(entry.title != entry.name for entry in own)
    assert len({entry.title for entry in own}) == len(own)
    looks = [entry.look for entry in own if entry.look]
    assert len(looks) == (len(own) if kind == "method" else 0)
    assert len({look.mark for look in looks}) == len({(look.colour, look.line) for look in looks}) == len(looks)


@pytest.mark.parametrize(
    "methods",
    [
        ["zero_shot", "coop", "coop@epochs=20"],
        [*VARIANTS, *OWN[:7]],
        [*OWN, "any", *VARIANTS, "mine", "yours"],
        [f"coop@epochs={number}" for number in range(30)],
        [f"method_{number}" for number in range(32)],
    ],
    ids=len,
)
def test_no_two_methods_look_alike_even_without_colours(methods):
    found = legend(methods)
    looks = found.looks.values()
    assert set(found.looks) == set(methods)
    assert len({look.mark for look in looks}) == len(methods)  # points, in grey
    assert len({(look.colour, look.line) for look in looks}) == len(methods)  # lines without points
    assert len(set(found.methods.values())) == len(methods)
    assert found == legend(methods)
    for name in set(methods) & set(OWN):
        assert found.looks[name] == registry.find("method", name).look


def test_hundreds_of_methods_still_differ_in_something():
    looks = legend(f"method_{number}" for number in range(200)).looks
    assert len({(look.colour, look.mark) for look in looks.values()}) == 200


def test_a_method_added_at_the_end_changes_no_look():
    methods = ["zero_shot", *VARIANTS, "mine"]
    assert legend(methods).looks.items() <= legend([*methods, "yours"]).looks.items()


def test_a_variant_keeps_the_colour_of_its_method():
    found = legend(["coop", "coop@epochs=20", "coop@epochs=30", "mine", "mine@a=1"])
    colours = {name: look.colour for name, look in found.looks.items()}
    assert found.methods["coop@epochs=20"] == "CoOp (epochs=20)"
    assert colours["coop"] == colours["coop@epochs=20"] == colours["coop@epochs=30"]
    assert colours["mine"] == colours["mine@a=1"] != colours["coop"]


def test_two_names_with_one_title_are_told_apart(register):
    register("mine", title="CoOp")
    register("own", title="MCM", kind="score")
    found = legend(["mine", "mine@a=1", "coop@a=1", "coop"], ["own", "mcm@T=2", "mcm"])
    assert len(set(found.methods.values())) == 4
    assert len(set(found.scores.values())) == 3
    assert found.methods["mine"] == "CoOp" or found.methods["mine"] == "mine"


def test_what_the_user_registers_has_its_title_and_look(register):
    register("mine", "My Method", "#AA3377 x --")
    register("own", "My Score", kind="score")
    register("plain")
    found = legend(["zero_shot", "plain", "mine", "mine@a=1"], ["mcm", "own", "own@b=2", "odd_one"])
    assert found.methods["mine@a=1"] == "My Method (a=1)"
    assert found.methods["plain"] == "plain"
    assert list(found.scores.values()) == ["MCM", "My Score", "My Score (b=2)", "odd_one"]
    assert found.looks["mine"] == Look("#AA3377", "x", "--")


def test_a_look_that_is_taken_gives_way_to_the_package_whatever_the_order(register):
    register("copy", look="vermillion D")
    register("again", look="#123456 D :")
    found = legend(["copy", "again", "coop"])
    assert found.looks["coop"] == registry.find("method", "coop").look
    assert len({look.mark for look in found.looks.values()}) == 3


@pytest.mark.parametrize(
    "look", ["vermillion", "red o", "#AA337 o", "black y", "black o --- ", "black + hollow", "o black"]
)
def test_a_look_that_is_none_is_one_line_with_those_that_are(register, look):
    with pytest.raises(OodgridError, match="maybe a line") as error:
        register("mine", look=look)
    assert "\n" not in str(error.value)


def test_every_look_that_can_be_written_is_read():
    for line in LINES[:4]:
        for shape, hollow in MARKS:
            text = f"sky {shape} {line}{' hollow' * hollow}"
            assert Look.parse(text) == Look("#56B4E9", shape, line, hollow)
            assert Look.parse(text.replace(" - ", " ")) == Look.parse(text) or line != "-"


@pytest.mark.parametrize("title", ["two\nlines", "x" * 65, "bell\a", " space "])
def test_a_title_is_one_line(register, title):
    with pytest.raises(OodgridError, match="one line of 64"):
        register("mine", title=title)


def test_bases_are_columns_or_of_older_results_what_comes_before_the_parameters():
    rows = pl.DataFrame({"score": ["b@T=1", "a", "b@T=1"], "base_score": ["other", "a", "other"]})
    assert bases(rows, "score") == {"b@T=1": "other", "a": "a"}
    assert bases(rows.drop("base_score"), "score") == {"b@T=1": "b", "a": "a"}


def test_what_each_score_looks_at_beside_the_sample():
    scores = ["mcm", "knn@k=1,bank=train", "knn", "neglabel@labels=w", "tanl@labels=w,order=1", "unknown"]
    rows = pl.DataFrame({"method": ["zero_shot"] * len(scores), "score": scores})
    assert looked_at(rows) == {
        "nothing": ["MCM"],
        "labelled shots": ["KNN"],
        "texts beside the classes": ["NegLabel", "TANL"],
        "the samples of the test stream before it": ["TANL"],
    }


# ------------------------------------------------------------------------------------- rows that are told apart


def corrupted(count, seed=0):
    """Names of CoVer under lists that differ in a member, in a severity, in order or in length."""
    rng, found = random.Random(seed), [f"cover@corruptions={'+'.join(RECOMMENDED)}"]
    kinds = [each.rpartition("-")[0] for each in RECOMMENDED]
    while len(found) < count:
        listed = found[rng.randrange(len(found))].partition("=")[2].split("+")
        at = rng.randrange(len(listed))
        change = rng.randrange(4)
        if change == 0:
            listed[at] = f"{listed[at].rpartition('-')[0]}-{rng.randint(1, 5)}"
        elif change == 1:
            listed.insert(at, f"{rng.choice(kinds)}-{rng.randint(1, 5)}")
        elif change == 2 and len(listed) > 1:
            del listed[at]
        else:
            rng.shuffle(listed)
        if (name := f"cover@corruptions={'+'.join(listed)}") not in found:
            found.append(name)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_names_that_are_cut_stay_as_many_and_no_wider(seed):
    rng = random.Random(seed)
    titles = list(legend(["zero_shot"], ["mcm", *corrupted(12, seed)]).scores.values())
    joined = [
        f"{method}{canvas.BETWEEN}{score}" for method in ("CoOp", "Tip-Adapter-F (beta_start=50)") for score in titles
    ]
    for names, least in ((titles, 0.6), (joined, 1.1)):  # inches: the narrowest that figures have
        inches, size = rng.uniform(least, 2.5), rng.choice([4.5, 5.5, 6.5])
        cut = canvas.fit(names, inches, size)
        assert len(set(cut)) == len(names)
        assert max(canvas.width_of(each, size) for each in cut) <= inches
        assert canvas.fit(names * 2, inches, size) == cut * 2


def test_variants_with_long_names_have_numbers_that_do_not_depend_on_what_is_shown():
    names = ["mcm", "mcm@T=2", *corrupted(3), "knn@k=1"]
    titles = legend(["zero_shot"], names).scores
    assert [titles[name][-3:] for name in names[2:5]] == [" #1", " #2", " #3"]
    assert titles["mcm@T=2"] == "MCM (T=2)" and titles["knn@k=1"] == "KNN (k=1)"
    assert not legend(["zero_shot"], names[:3]).scores[names[2]].endswith("#1")  # the only one needs none
    for inches in (0.6, 1.2, 2.4):
        cut = canvas.fit([titles[name] for name in reversed(names[2:5])], inches, 6.5)
        assert [each[-2:] for each in cut] == ["#3", "#2", "#1"]


def test_a_name_that_is_as_another_one_is_cut_keeps_its_letters():
    long = "abcdefghijklmnopqrstuvwxyz" * 2
    short = canvas.shorten(long, 0.8, 6.5)
    assert canvas.fit([long, short], 0.8, 6.5)[1] == short
    assert len(set(canvas.fit([long, short], 0.8, 6.5))) == 2


@cache
def alike():
    """A study whose methods and scores differ in the middle of long names alone."""
    methods = ["zero_shot", "clip_adapter", *(f"coop@lr=0.002,epochs={n},template=a photo of a {{}}" for n in (5, 50))]
    return made(methods, ["mcm", *corrupted(6)], [f"knn@k={n},bank=train,metric=cosine-{'x' * 30}" for n in (1, 10)],
                shots=(4, 16), seeds=(1,))  # fmt: skip


def labels_of(figure):
    """The labels of rows and columns, of panels, and of the legends of a figure, each list by itself."""
    beside = [[label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]]
    above = [[label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes]
    return [*beside, *above, [t.get_text() for legend in figure.legends for t in legend.get_texts()]]


@pytest.mark.parametrize("width", canvas.WIDTHS.values())
@pytest.mark.parametrize("name", ["forest", "forest_scores", "scores", "accuracy", "sets", "geometry", "shots"])
def test_no_two_rows_have_one_name_in_a_figure(name, width):
    study = alike()
    ((_, pair, _),) = figures.studies(
        study.metrics, study.curves, set(), study.summary, study.comparisons, geometry=study.geometry
    )
    drawn = figures.draw(name, pair, width)
    lists = [[label for label in labels if any(map(str.isalpha, label))] for labels in labels_of(drawn)]
    assert all(count == 1 for labels in lists for count in Counter(labels).values() if name != "geometry"), lists
    shown = set(chain(*lists))
    numbers = Counter(label[-2:] for label in shown if "#" in label and label[:2] in ("Co", "KN"))
    if name == "scores":  # six of CoVer, two of KNN, two of CoOp
        assert numbers == {"#1": 3, "#2": 3, "#3": 1, "#4": 1, "#5": 1, "#6": 1}
    if name == "shots":  # a panel a method that learns
        assert len({axes.get_title() for axes in drawn.axes}) == len(drawn.axes) == 3


def test_no_two_rows_have_one_name_in_a_table():
    study = alike()
    every = Evaluated(study.metrics, study.summary, study.comparisons, set(), [], [])
    pair = every.pair("tiny", "concepts")
    for table in (tables.scores(pair), tables.sets(pair)):
        rows = list(render.rows(table))
        assert len({(row.names["method"], row.names["score"]) for row in rows}) == len(rows) == 4 * 7 + 2
        for layout in (latex.TEXT, latex.COLUMN):
            shown, _ = latex._short_names(rows, layout)
            assert len({(row.names["method"], row.names["score"]) for row in shown}) == len(rows)
            assert any("…" in row.names["score"] for row in shown)
        lines = [line for line in render.markdown(table).splitlines() if line.startswith("| ")][1:]
        assert len({tuple(line.split(" | ")[:3]) for line in lines}) == len(lines) == len(rows)


def test_a_title_that_is_the_name_of_another_is_told_apart_too(register):
    register("a", title="b", kind="score")
    register("b", title="B", kind="score")
    register("c", title="B", kind="score")
    register("d", title="b", kind="score")
    found = legend(["zero_shot"], ["d", "c", "b", "a", "a@x=1"]).scores
    assert len(set(found.values())) == 5
