"""Reading label lists: every form of file, WordNet in both forms, doubles, classes, templates."""

from __future__ import annotations

import json
import random

import polars as pl
import pytest

from oodgrid.cli import main
from oodgrid.config import LabelList, Lexicographer
from oodgrid.encode.text_lists import free_of, prompts, read_text_list
from oodgrid.encode.text_lists.tables import TextTable, read_table
from oodgrid.encode.text_lists.wordnet import LEXNAMES, SUPERCLASSES, read_lexicographer
from tests.failing import failure

# Three synsets in the format of wndb(5WN), below two lines of its licence; "b" words are 0x0b = 11.
NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
  2 Princeton University under the following license.
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived
00002684 06 n 02 tape_recorder 0 Tape 1 001 @ 00001930 n 0000 | a recorder
00003000 05 n 0b a1 0 a2 0 a3 0 a4 0 a5 0 a6 0 a7 0 a8 0 a9 0 red 0 old_b 0 000 | eleven
"""
ADJECTIVES = """\
00001740 00 a 01 able(p) 0 002 = 05200169 n 0000 | having the means
00002098 01 a 02 red 0 last-minute(ip) 1 000 | two
00002500 44 s 01 galore(ip) 0 000 | one
"""


@pytest.fixture
def lists(tmp_path):
    """A folder of word lists as NegLabel's, with words that are in two of them."""
    for name, words in {
        "noun.act": ["race", "red", "last minute"],
        "noun.plant": ["race", "cat's-tail", "blood_lily"],
        "adj.all": ["red", "able"],
        "adj.pert": ["solar"],
    }.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "readme.txt").write_text("not a list\n")
    return tmp_path


@pytest.fixture
def database(tmp_path):
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "data.adj").write_text(ADJECTIVES)
    return tmp_path


# ------------------------------------------------------------------------------------------------------ files


def write(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_text_is_one_label_a_line(tmp_path):
    found = read_table(write(tmp_path, "l.txt", "\ufefftree\r\nété\n\nhouse boat"))
    assert found == TextTable(["tree", "été", "house boat"], ["", "", ""])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_have_kinds_and_templates_where_they_say_so(tmp_path, suffix):
    table = pl.DataFrame(
        {"label": ["red", "12"], "kind": ["adjective", None], "template": [None, "no. {}"], "x": [1, 2]}
    )
    path = tmp_path / f"l{suffix}"
    (table.write_csv if suffix == ".csv" else table.write_parquet)(path)
    assert read_table(path) == TextTable(["red", "12"], ["adjective", ""], ["", "no. {}"])
    (table.select("label").write_csv if suffix == ".csv" else table.select("label").write_parquet)(path)
    assert read_table(path) == TextTable(["red", "12"], ["", ""])


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (["a", "b"], ["a", "b"]),
        ({"far": ["a", "b", "a"]}, ["a", "b", "a"]),
        ({"tench": ["a", "b"], "goldfish": [], "shark": ["c"]}, ["a", "b", "c"]),
        ([{"name": "aerosol_can", "id": 1}, {"name": "boat", "id": 2}], ["aerosol_can", "boat"]),
    ],
)
def test_json_is_a_list_or_lists_by_topic_or_class(tmp_path, content, labels):
    assert read_table(write(tmp_path, "l.json", json.dumps(content))).names == labels


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("l.json", "{", "is not valid JSON"),
        ("l.json", '{"a": "b"}', "must hold a list of labels, or an object with a list of labels for every key"),
        ("l.json", "[1]", "must hold a list of labels"),
        ("l.json", "3", "must hold a list of labels"),
        ("l.csv", "word,kind\na,b\n", "has no column 'label', but word, kind"),
        ("l.csv", "label,template\na,b\n", "template 'b' lacks {}"),
        ("l.csv", "", "cannot be read as a table"),
        ("l.parquet", "not one", "cannot be read as a table"),
    ],
)
def test_what_a_file_should_hold_is_said(tmp_path, name, content, says):
    assert says in failure(read_table, write(tmp_path, name, content))


def test_a_missing_file_is_one_line(tmp_path):
    assert "none.csv does not exist: mend the path" in failure(read_table, tmp_path / "none.csv")


# ------------------------------------------------------------------------------------------------------ lists


def test_labels_come_once_in_their_order_without_white_space():
    found = read_text_list(LabelList(name="x", labels=["b", " a", "b ", "A", "a"]))
    assert found == TextTable(["b", "a", "A"], ["", "", ""])
    assert read_text_list(LabelList(name="x", labels=["b", " a", "A"], lower=True)).names == ["b", "a"]


def test_of_two_kinds_of_one_word_the_first_counts():
    found = read_text_list(LabelList(name="x", labels={"noun": ["orange", "red"], "adjective": ["red", "old"]}))
    assert found == TextTable(["orange", "red", "old"], ["noun", "noun", "adjective"])


def test_one_word_under_two_templates_of_its_own_is_two_texts(tmp_path):
    table = "label,template\nred,the {}\nred,a {} photo\nred,the {}\n"
    labels = LabelList(name="x", file=str(write(tmp_path, "l.csv", table)))
    found = read_text_list(labels)
    assert prompts(labels, found).texts == [["the red", "a red photo"]]


def test_classes_are_dropped_whatever_their_case():
    table = TextTable(["Red_Circle", "red", "circle line", "boat"], ["", "", "", "noun"])
    assert free_of(table, ["red circle", "BOAT"]).names == ["red", "circle line"]
    assert free_of(table, ["red circle"], by="word") == TextTable(["boat"], ["noun"])
    assert free_of(table, []) == table


def test_classes_are_joined_with_every_label_that_is_none_of_them():
    labels = {"noun": ["cat", "house", " fence", "house"], "adjective": ["old"]}
    entry = LabelList(
        name="x", labels=labels, joined_to="d", drop_classes_of="d", templates={"noun": ["a {}"], "adjective": ["{}!"]}
    )
    table = read_text_list(entry, ["Cat", "dog"])
    assert table.names == [
        "Cat and house",
        "Cat and fence",
        "Cat and old",
        "dog and house",
        "dog and fence",
        "dog and old",
    ]
    assert table.kinds == ["noun", "noun", "adjective"] * 2
    assert prompts(entry, table).texts[0][1:4] == ["a Cat and fence", "Cat and old!", "a dog and house"]
    plain = LabelList(name="x", labels=labels, templates=["a {}"])
    assert plain.identity != LabelList(name="x", labels=labels, templates=["a {}"], joined_to="d").identity
    assert "joined_to" not in plain.identity


def test_a_list_of_which_nothing_is_left_is_one_line():
    labels = LabelList(name="x", labels=["cat"], drop_classes_of="d")
    assert "label list x holds no label" in failure(read_text_list, labels, ["cat"])
    assert "label list x holds 1 empty label" in failure(read_text_list, LabelList(name="x", labels=["cat", " "]))


# ------------------------------------------------------------------------------------------------------ texts


def test_every_label_stands_in_every_template():
    labels = LabelList(name="x", labels=["cat", "{}"], templates=["a {}.", "{} {}"])
    found = prompts(labels, read_text_list(labels))
    assert found.texts == [["a cat.", "a {}."], ["cat cat", "{} {}"]]
    assert found.templates == ["a {}.", "{} {}"]


def test_kinds_have_templates_of_their_own_and_the_shorter_list_repeats():
    templates = {"noun": ["{}", "the {}", "a {}", "an {}"], "adjective": ["{} photo", "{} scene"]}
    labels = LabelList(name="x", labels={"noun": ["cat"], "adjective": ["red"]}, templates=templates)
    found = prompts(labels, read_text_list(labels))
    assert [texts[0] for texts in found.texts] == ["cat", "the cat", "a cat", "an cat"]
    assert [texts[1] for texts in found.texts] == ["red photo", "red scene"] * 2  # so their mean is that of the two
    assert found.templates[3] == "noun: an {} | adjective: {} scene"


def test_a_kind_without_templates_is_named():
    labels = LabelList(name="x", labels={"noun": ["cat"], "verb": ["run"]}, templates={"noun": ["{}"]})
    assert "has labels of verb and templates for noun" in failure(prompts, labels, read_text_list(labels))
    labels = LabelList(name="x", labels=["cat"], templates={"noun": ["{}"]})
    assert "has labels of no kind and templates for noun" in failure(prompts, labels, read_text_list(labels))


# ---------------------------------------------------------------------------------------------------- WordNet


def test_word_lists_come_by_alphabet_each_word_once(lists):
    found = read_lexicographer(Lexicographer(folder=str(lists)))
    assert dict(zip(found.names, found.kinds, strict=True)) == {
        "red": "adjective", "able": "adjective", "solar": "adjective",
        "race": "noun", "last minute": "noun", "cat's-tail": "noun", "blood lily": "noun",
    }  # fmt: skip
    assert found.names == ["red", "able", "solar", "race", "last minute", "cat's-tail", "blood lily"]


def test_lexnames_come_in_the_order_in_which_they_are_named(lists):
    found = read_lexicographer(Lexicographer(folder=str(lists), lexnames=["noun.act", "adj.all"]))
    assert list(zip(found.names, found.kinds, strict=True)) == [
        ("race", "noun"), ("red", "noun"), ("last minute", "noun"), ("able", "adjective"),
    ]  # fmt: skip
    found = read_lexicographer(Lexicographer(folder=str(lists), without=["noun.act", "adj.all", "adj.pert"]))
    assert found.names == ["race", "cat's-tail", "blood lily"]


def test_database_files_are_read_as_documented(database):
    found = read_lexicographer(Lexicographer(folder=str(database)))
    assert [n for n, k in zip(found.names, found.kinds, strict=True) if k == "adjective"] == [
        "able", "red", "last-minute", "galore",
    ]  # fmt: skip
    eleven = [f"a{k}" for k in range(1, 10)] + ["old b"]  # red is an adjective before it is a noun
    assert found.names[4:] == ["entity", *eleven, "tape recorder", "Tape"]  # Tops, animal, artifact
    only = read_lexicographer(Lexicographer(folder=str(database), lexnames=["noun.animal", "adj.pert"]))
    assert only.names == [*eleven[:-1], "red", "old b", "last-minute"]


def test_lexnames_have_the_numbers_of_the_manual():
    assert (LEXNAMES[3], LEXNAMES[5], LEXNAMES[13], LEXNAMES[28]) == (
        "noun.Tops",
        "noun.animal",
        "noun.food",
        "noun.time",
    )
    assert len(LEXNAMES) == 29


def test_the_conjugated_pool_joins_adjectives_with_a_drawn_superclass(lists):
    draw, expected = random.Random(7), []
    for adjective in ("red", "able", "solar"):
        expected.append(adjective + " " + draw.choice(SUPERCLASSES))
    found = read_lexicographer(Lexicographer(folder=str(lists), pool="csp", seed=7))
    assert found.names[:3] == expected
    assert found.kinds[:3] == ["adjective"] * 3
    assert found.names[3:] == ["race", "last minute", "cat's-tail", "blood lily"]
    assert read_lexicographer(Lexicographer(folder=str(lists), pool="csp")).names != found.names


def test_mistakes_about_a_folder_are_one_line(tmp_path, lists):
    assert "does not exist" in failure(read_lexicographer, Lexicographer(folder=str(tmp_path / "none")))
    line = failure(read_lexicographer, Lexicographer(folder=str(lists), lexnames=["noun.plants"]))
    assert line.endswith("'noun.plants': did you mean 'noun.plant'?")
    assert "did you mean 'adj.pert'" in failure(
        read_lexicographer, Lexicographer(folder=str(lists), without=["adj.prt"])
    )
    (tmp_path / "empty").mkdir()
    assert "holds no WordNet" in failure(read_lexicographer, Lexicographer(folder=str(tmp_path / "empty")))


@pytest.mark.parametrize("line", ["a line", "00001740 03 n zz entity 0", "00001740 29 v 01 go 0", "00001740 03 n 00 x"])
def test_a_file_that_is_no_database_is_named(database, line):
    (database / "data.noun").write_text(f"{line}\n")
    assert "data.noun is no WordNet database file" in failure(read_lexicographer, Lexicographer(folder=str(database)))


# ------------------------------------------------------------------------------------------- other people's lists


def test_every_answer_that_eoe_published_can_be_read(shared):
    files = sorted((shared / "data" / "labels" / "eoe").rglob("*.json"))
    assert len(files) > 100
    for file in files:
        answer = json.loads(file.read_text())
        words = {label.strip().lower() for labels in answer.values() for label in labels if label.strip()}
        assert set(read_text_list(LabelList(name="x", file=str(file), lower=True)).names) == words


def test_neglabels_candidates_are_those_of_its_files(shared):
    folder = shared / "data" / "labels" / "neglabel" / "txtfiles"
    expected: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        for line in file.read_text().splitlines():
            expected.setdefault(line.strip(), "noun" if file.name.startswith("noun") else "adjective")
    found = read_lexicographer(Lexicographer(folder=str(folder)))
    assert dict(zip(found.names, found.kinds, strict=True)) == expected
    assert len(found.names) == 70_000


def test_neglabels_selection_comes_from_its_candidates(shared):
    folder = shared / "data" / "labels" / "neglabel"
    labels = LabelList(
        name="x", lexicographer={"folder": str(folder / "txtfiles")},
        templates={"noun": ["the nice {}"], "adjective": ["This is a {} photo"]},
    )  # fmt: skip
    every = {f"the nice {name}" for name in read_text_list(labels).names}
    every |= {f"This is a {name} photo" for name in read_text_list(labels).names}
    chosen = LabelList(
        name="y", file=str(folder / "selected_neg_labels" / "selected_neg_labels_in1k_10k.txt"), templates=["{}"]
    )
    found = prompts(chosen, read_text_list(chosen))
    assert len(found.texts[0]) == 10_499
    assert set(found.texts[0]) <= every


POOL = [
    {"name": "Devon", "cluster": 3, "in_ssb_hard": False, "in_ninco": False, "wup": 0.9},
    {"name": "beef", "cluster": 3, "in_ssb_hard": True, "in_ninco": False},
    {"name": "Welsh", "cluster": 7, "in_ssb_hard": False, "in_ninco": True},
    {"name": "bull", "cluster": 9, "in_ssb_hard": False, "in_ninco": False},
]


@pytest.mark.parametrize(
    ("options", "names"), [([], ["Devon", "beef", "Welsh", "bull"]), (["--blind"], ["Devon", "bull"])]
)
def test_the_pool_of_reneg_becomes_a_list_with_its_clusters(tmp_path, capsys, options, names):
    (tmp_path / "kg_pool.json").write_text(json.dumps({"version": 2, "pool": POOL}))
    assert (
        main(["labels", "reneg", str(tmp_path / "near.csv"), "--pool", str(tmp_path / "kg_pool.json"), *options]) == 0
    )
    assert f"{len(names)} names in {2 if options else 3} clusters" in capsys.readouterr().out
    table = read_table(tmp_path / "near.csv")
    assert table.names == names
    assert table.kinds == [f"cluster {each['cluster']}" for each in POOL if each["name"] in names]


@pytest.mark.parametrize(
    "content", [{"pool": [{"name": "x"}]}, {"pool": [{"name": "x", "cluster": True}]}, ["x"], {"a": 1}]
)
def test_what_is_no_pool_of_reneg_is_one_line(tmp_path, capsys, content):
    (tmp_path / "kg_pool.json").write_text(json.dumps(content))
    assert main(["labels", "reneg", str(tmp_path / "near.csv"), "--pool", str(tmp_path / "kg_pool.json")]) != 0
    assert "is no pool of ReNeg: kg_pool.json" in capsys.readouterr().err
    assert not (tmp_path / "near.csv").exists()


@pytest.mark.parametrize("entries", [[], [{"name": " ", "cluster": 1}], [{"name": "x", "cluster": 1}]])
def test_a_pool_of_which_no_name_is_left_writes_no_list(tmp_path, capsys, entries):
    held = [entry | {"in_ssb_hard": True, "in_ninco": False} for entry in entries]
    (tmp_path / "kg_pool.json").write_text(json.dumps({"pool": held}))
    out = tmp_path / "near.csv"
    assert main(["labels", "reneg", str(out), "--pool", str(tmp_path / "kg_pool.json"), "--blind"]) != 0
    assert "no name is left of" in capsys.readouterr().err
    assert not out.exists()
