from __future__ import annotations

import dis
import importlib.util
import shutil
import sys
import types
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import oodgrid
from oodgrid import identity, registry, usage
from oodgrid.identity import _followed, _sources, code_files, code_fingerprint, differences, digest
from oodgrid.plan.triggers import TRIGGERS

PLAIN = """
import math

class A:
    def area(self, r):
        return math.pi * r**2

def double(x):
    return 2 * x
"""


@pytest.fixture
def fingerprint(tmp_path, monkeypatch):
    """A function from the sources of the modules of a package `house` to the fingerprint of one of them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(sources, asked):
        shutil.rmtree(tmp_path / "house", ignore_errors=True)
        for name, text in sources.items():
            file = tmp_path / "house" / f"{name.replace('.', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for folder in [tmp_path / "house", *(tmp_path / "house").rglob("*/")]:
            if folder.is_dir():
                (folder / "__init__.py").touch()
        for name in [name for name in sys.modules if name.split(".")[0] == "house"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        code_fingerprint.cache_clear()
        _sources.cache_clear()
        return code_fingerprint(f"house.{asked}")

    return make


def one(fingerprint, text):
    return fingerprint({"room.m": text}, "room.m")


@pytest.mark.parametrize(
    "edited",
    [
        '"""A docstring of the module."""' + PLAIN,
        PLAIN.replace("class A:\n", 'class A:\n    """What A is."""\n\n'),
        PLAIN.replace("r):\n", 'r):\n        """The area.\n\n        More.\n        """\n'),
        PLAIN.replace("return 2 * x", "return 2 * x  # twice"),
        "# a comment\n\n\n" + PLAIN,
        PLAIN.replace("2 * x", "2*x").replace("\n\n", "\n\n\n"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(fingerprint, edited):
    assert edited != PLAIN
    assert one(fingerprint, edited) == one(fingerprint, PLAIN)


def test_what_registration_says_to_readers_does_not_count(fingerprint):
    def registered(said):
        return one(fingerprint, f"from house import score\n@score({said}needs=('logits',))\ndef f(logits):\n    pass\n")

    readers = ("title='A', ", "title='B', paper='P', ", "family='F', adapted='x' + y, look='black o', ")
    assert {registered(said) for said in readers} == {registered("")}
    assert registered("transductive=True, ") != registered("")
    assert one(fingerprint, "f(title='A')") != one(fingerprint, "f(title='B')")


def test_a_function_of_a_docstring_alone_still_parses(fingerprint):
    assert one(fingerprint, 'def f():\n    """Nothing."""\n') == one(fingerprint, "def f():\n    pass\n")


@pytest.mark.parametrize(
    "edited",
    [
        PLAIN.replace("2 * x", "3 * x"),
        PLAIN.replace("double(x)", "double(x, y=0)"),
        PLAIN.replace("def double(x):", "@staticmethod\ndef double(x):"),
        PLAIN + "\nLIMIT = 1\n",
        PLAIN.replace("return 2 * x", 'return "a string that is no docstring"'),
    ],
)
def test_code_counts(fingerprint, edited):
    assert edited != PLAIN
    assert one(fingerprint, edited) != one(fingerprint, PLAIN)


HOW = [
    "from house.room.helper import f",
    "from house.room import helper",
    "import house.room.helper",
    "import house.room.helper as h",
    "from . import helper",
    "from .helper import f",
    "def g():\n    import house.room.helper",
    "import importlib\nimportlib.import_module('house.room.helper')",
]


@pytest.mark.parametrize("how", HOW)
def test_imports_within_the_room_are_followed_as_far_as_they_go(fingerprint, how):
    def of(helper, far="LIMIT = 1"):
        helper = f"from house.room.far import LIMIT\n{helper}"
        return fingerprint({"room.m": how, "room.helper": helper, "room.far": far}, "room.m")

    first = of("def f(): return 1")
    assert of("def f(): return 1") == first
    assert of("def f(): return 2") != first
    assert of("def f(): return 1", "LIMIT = 2") != first


def test_imports_from_elsewhere_are_not_followed(fingerprint):
    def of(ground):
        return fingerprint({"room.m": "from house.ground.store import read", "ground.store": ground}, "room.m")

    assert of("def read(): return 1") == of("def read(): return 2")


def imports_of_bytecode(code, package):
    """Yield what a module imports by its bytecode, which is another way to see it than its text."""
    for each in dis.get_instructions(code):
        if each.opname == "IMPORT_NAME":
            yield each.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from imports_of_bytecode(constant, package)


@pytest.mark.parametrize("room", ["encode", "adapt", "score", "evaluate", "report"])
def test_every_import_of_modules_of_our_own_room_is_followed(room):
    folder = Path(oodgrid.__file__).parent / room
    for file in sorted(folder.rglob("*.py")):
        name = ".".join(("oodgrid", *file.relative_to(folder.parent).with_suffix("").parts)).removesuffix(".__init__")
        followed = code_files(name)
        assert file in followed
        for imported in imports_of_bytecode(compile(file.read_bytes(), str(file), "exec"), name):
            origin = importlib.util.find_spec(imported).origin if imported.startswith(f"oodgrid.{room}.") else None
            assert origin is None or Path(origin) in followed, (name, imported)


def test_circular_imports_end(fingerprint):
    sources = {"room.m": "from house.room import n", "room.n": "from house.room import m"}
    assert fingerprint(sources, "room.m") == fingerprint(sources, "room.m")


def test_other_modules_of_the_room_do_not_count_unless_imported(fingerprint):
    def of(text, other):
        return fingerprint({"room.m": text, "room.other": other}, "room.m")

    assert of("x = 1", "y = 1") == of("x = 1", "y = 2")


def test_a_package_stands_for_every_module_below_it(fingerprint):
    def of(text):
        return fingerprint({"room.m": "x = 1", "room.deep.n": text}, "room")

    assert of("y = 1") == of("y = 1")
    assert of("y = 1") != of("y = 2")


def test_digests_do_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert digest({"a": 1}) != digest({"a": "1"})


def test_equal_identities_have_no_differences():
    identity = {"backbone": {"model": "x", "size": 48}, "k": [1, 2]}
    assert differences(identity, identity) == []


def test_differences_name_the_field_and_both_values():
    found = {"backbone": {"interpolation": "bicubic", "model": "x"}, "templates": ["a {}"]}
    wanted = {"backbone": {"interpolation": "bilinear", "model": "x"}, "templates": ["the {}"]}
    assert differences(found, wanted) == [
        'backbone.interpolation is "bicubic" in the file and "bilinear" in the config',
        'templates is ["a {}"] in the file and ["the {}"] in the config',
    ]


def test_what_the_file_alone_says_is_no_difference():
    assert differences({"model": "x", "weights_sha256": "abc"}, {"model": "x"}) == []


def test_a_field_that_the_file_lacks_is_one_unless_it_is_empty():
    assert differences({}, {"model": "x"}) == ['model is null in the file and "x" in the config']
    assert differences({}, {"interpolation": None}) == []


def test_a_field_taken_out_of_the_config_is_one():
    assert differences({"interpolation": "bilinear"}, {"interpolation": None}) == [
        'interpolation is "bilinear" in the file and null in the config'
    ]


def test_another_kind_of_value_is_one():
    assert len(differences({"folder": None}, {"folder": {"a": 1}})) == 1
    assert len(differences({"folder": {"a": 1}}, {"folder": None})) == 1


def test_what_decides_numbers_on_the_ground_floor_counts_wherever_it_is_imported_from():
    assert "edge.py" in {file.name for file in code_files("oodgrid.evaluate")}  # it turns scores into float64
    for name in ("oodgrid.fewshot", "oodgrid.fewshot.draws", "oodgrid.labels"):
        assert _followed(name, ("oodgrid.score.run",))
    assert not _followed("oodgrid.store.tables", ("oodgrid.score.run",))


# -------------------------------------------------------------------------------- versions of libraries


def forget():
    identity._release.cache_clear()
    identity.computing_fingerprint.cache_clear()


@pytest.fixture
def release(monkeypatch):
    """A function that lets a library have another version."""
    real, fake = identity.version, {}
    monkeypatch.setattr(identity, "version", lambda library: fake.get(library) or real(library))

    def set_(**versions):
        fake.update(versions)
        forget()

    yield set_
    forget()


@pytest.mark.parametrize(
    ("library", "others", "scores", "metrics"),
    [
        ("numpy", "9.9.9", True, True),
        ("scipy", "9.9.9", True, True),
        ("numpy", version("numpy") + "+a.build", False, False),
        ("scikit-learn", "9.9.9", False, False),  # neither computes with it
        ("polars", "9.9.9", False, False),  # it computes nothing
    ],
)
def test_another_release_of_a_library_that_computes_them_makes_scores_and_metrics_again(
    release, library, others, scores, metrics
):
    def codes():
        found = [registry.score_code("mcm"), registry.score_code("knn")]
        return found, TRIGGERS["evaluate"]["code"](None), usage._Named(Path("results")).code

    (of_scores, of_metrics, kept), fits = codes(), registry.fit_code("zero_shot")
    release(**{library: others})
    (of_scores_now, of_metrics_now, kept_now), fits_now = codes(), registry.fit_code("zero_shot")
    assert [a != b for a, b in zip(of_scores, of_scores_now, strict=True)] == [scores, scores]
    assert (of_metrics != of_metrics_now, kept != kept_now) == (metrics, metrics)
    assert fits == fits_now


def test_a_library_that_is_not_there_has_no_version(release, monkeypatch):
    def gone(library):
        raise PackageNotFoundError(library)

    monkeypatch.setattr(identity, "version", gone)
    identity._release.cache_clear()
    assert identity.library_versions(["numpy.linalg", "sklearn", "os"]) == {}
