"""Texts as they stand in files of every format: nothing of them is lost or guessed without a word."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from oodgrid.config import Dataset, build
from oodgrid.encode.sources import libraries, open_split, open_splits
from oodgrid.encode.sources.copies import _of_images
from tests.failing import failure

STRANGE = [
    "plain words",
    "emoji 🙂👩‍👩‍👧 and ünïcode",
    "a\ttab",
    'a "quoted" word',
    "two\nlines",
    "x" * 10_000,
    " blanks at both ends ",
    "'; drop, table",
]
LABELS = [0, 1, 0, 1, 0, 1, 0, 1]


def dataset(file, **texts):
    return Dataset(name="talk", texts={"file": str(file), **texts})


def write_separated(path, rows, delimiter, encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def written(folder, suffix, texts, labels):
    """A file of a format with texts and labels."""
    path = folder / f"talk{suffix}"
    rows = [["label", "text"], *zip(labels, texts, strict=True)]
    if suffix in (".csv", ".tsv"):
        write_separated(path, rows, {".csv": ",", ".tsv": "\t"}[suffix], "utf-8-sig")
    elif suffix == ".jsonl":
        lines = [json.dumps({"text": t, "label": k}) for t, k in zip(texts, labels, strict=True)]
        path.write_text("\n\n".join(lines), encoding="utf-8")
    elif suffix == ".json":
        path.write_text(json.dumps({"test": [[t, str(k)] for t, k in zip(texts, labels, strict=True)]}), "utf-8")
    else:
        pl.DataFrame({"text": texts, "label": labels}).write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_texts_as_they_are(tmp_path, suffix):
    texts = [text for text in STRANGE if suffix != ".tsv" or text != "a\ttab"]
    labels = LABELS[: len(texts)]
    file = written(tmp_path, suffix, texts, labels)
    samples = open_split(dataset(file, **({"splits": {"test": "test"}} if suffix == ".json" else {})), "test")
    assert samples.texts == texts
    assert samples.labels.tolist() == labels
    assert [samples.read(row).decode() for row in range(len(samples))] == texts
    assert len(set(samples.paths)) == len(texts)
    assert all(path.isprintable() and len(path) < 100 for path in samples.paths)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_texts_and_empty_ones_are_counted(tmp_path, end):
    file = tmp_path / "talk.txt"
    file.write_bytes(b"\xef\xbb\xbf" + end.join(["one", "", "   ", "two 🙂", ""]).encode())
    samples = open_split(dataset(file), "test")
    assert samples.texts == ["one", "two 🙂"]
    assert samples.labels.tolist() == [-1, -1]
    assert samples.remarks == ("passed over 2 rows without a text in talk.txt, the first in line 2",)


def test_labels_may_be_names_and_underscores_are_spaces(tmp_path):
    rows = [["text", "intent"], ["send it", "transfer_money"], ["hi", "greeting"], ["what", ""]]
    write_separated(tmp_path / "talk.csv", rows, ",")
    samples = open_split(dataset(tmp_path / "talk.csv", label="intent"), "test")
    assert samples.classnames == ["greeting", "transfer money"]
    assert samples.labels.tolist() == [1, 0, -1]


def test_files_of_splits_share_their_classes(tmp_path):
    """A class that one split lacks must not shift the labels of the others."""
    for split, labels in {"train": "abc", "val": "ac", "test": "cb"}.items():
        write_separated(tmp_path / f"{split}.tsv", [["text", "label"], *([f"{split} {k}", k] for k in labels)], "\t")
    files = {split: str(tmp_path / f"{split}.tsv") for split in ("train", "val", "test")}
    opened = open_splits(Dataset(name="talk", texts={"file": files}))
    assert {split: samples.labels.tolist() for split, samples in opened.items()} == {
        "train": [0, 1, 2], "val": [0, 2], "test": [2, 1]
    }  # fmt: skip


def test_copies_within_and_across_splits_are_said(tmp_path):
    content = {"train": [["hi", "a"], ["hi", "a"], ["you", "b"]], "val": [["me", "a"]], "test": [["you", "a"]]}
    (tmp_path / "talk.json").write_text(json.dumps(content))
    remarks = [line for samples in open_splits(dataset(tmp_path / "talk.json")).values() for line in samples.remarks]
    assert "1 train text repeats another, as 'hi'" in remarks
    assert "1 test text is train text too, as 'you'" in remarks
    assert "1 text has more than one class, as 'you'" in remarks


def test_splits_may_stand_in_a_column(tmp_path):
    rows = [["text", "label", "part"], ["a", 0, "training"], ["b", 1, "dev"], ["c", 0, "test"], ["d", 1, "train"]]
    write_separated(tmp_path / "talk.csv", rows, ",")
    opened = open_splits(dataset(tmp_path / "talk.csv", split="part"))
    assert {split: samples.texts for split, samples in opened.items()} == {
        "train": ["a", "d"], "val": ["b"], "test": ["c"]
    }  # fmt: skip
    only = open_split(dataset(tmp_path / "talk.csv", split="part", splits={"test": "dev"}), "test")
    assert only.texts == ["b"]
    assert "passed over 3 rows of other splits" in only.remarks


def test_a_file_without_header_has_numbered_columns(tmp_path):
    (tmp_path / "talk.tsv").write_text("weather\t-\tis it warm\t-\nalarm\t-\twake me\t-\n")
    samples = open_split(dataset(tmp_path / "talk.tsv", header=False, text=2, label=0), "test")
    assert samples.texts == ["is it warm", "wake me"]
    assert samples.classnames == ["alarm", "weather"]


def test_a_part_of_a_json_file_may_have_no_labels(tmp_path):
    (tmp_path / "data_full.json").write_text(json.dumps({"test": [["a", "x"]], "oos_test": [["b", "oos"]]}))
    samples = open_split(dataset(tmp_path / "data_full.json", splits={"test": "oos_test"}, label=None), "test")
    assert (samples.texts, samples.labels.tolist(), samples.classnames) == (["b"], [-1], None)


def test_a_limit_takes_the_texts_with_the_rest(tmp_path):
    (tmp_path / "talk.txt").write_text("\n".join(map(str, range(100))))
    samples = open_split(Dataset(name="talk", texts={"file": str(tmp_path / "talk.txt")}, limit=7), "test")
    assert len(samples.texts) == 7
    assert [samples.read(row).decode() for row in range(7)] == samples.texts


def test_carriage_returns_within_lines_do_not_end_them(tmp_path):
    (tmp_path / "talk.tsv").write_bytes(b"text\tlabel\none\rhalf\t0\ntwo\t1\n")
    assert open_split(dataset(tmp_path / "talk.tsv"), "test").texts == ["one half", "two"]


def test_digests_and_sizes_serve_the_search_for_copies(tmp_path):
    (tmp_path / "talk.txt").write_text("abc\nüü\n", encoding="utf-8")
    assert _of_images(open_split(dataset(tmp_path / "talk.txt"), "test")).sizes.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("name", "content", "texts", "line"),
    [
        ("t.csv", b"text,category\na,b\n", {"label": "categry"}, "unknown column of labels"),
        ("t.csv", b"sentence,label\na,b\n", {}, "unknown column of texts"),
        *(
            (f"t.{kind}", f"text{mark}label\na{mark}b\n".encode(), {}, f"one column, and {mark!r} seems to part it")
            for kind, mark in (("csv", ";"), ("csv", "|"), ("csv", "\t"), ("tsv", ","))
        ),
        ("t.csv", b"text,text\na,b\n", {}, "two columns are called 'text'"),
        ("t.csv", b"text,label\na,b,c\n", {}, "line 2: 3 columns where the first line has 2"),
        ("t.csv", b"text,label\nalone\n", {}, "line 2: 1 column where the first line has 2"),
        ("t.tsv", b'text\tlabel\n"a\t0\nb\t1\nc" d\t0\n', {}, "would swallow the lines behind it"),
        ("t.tsv", b'text\tlabel\n"a\t0\nb\t1\n', {}, "would swallow the lines behind it"),
        ("t.txt", b"0\tone\n1\ttwo\n", {}, "has a tab in every line"),
        ("t.csv", b"text\n\xff\n", {}, "is not UTF-8 text"),
        ("t.csv", "text\na\n".encode("utf-16"), {}, "is not UTF-8 text"),
        ("t.txt", b"a\0b\n", {}, "NUL"),
        ("t.jsonl", b'{"text": "a"}\n[1]\n', {}, "line 2: it is no JSON object"),
        ("t.jsonl", b'{"text": "a"}\n{"text": \n', {}, "line 2 is not valid JSON"),
        ("t.jsonl", b'{"text": 5}\n', {}, "5 is no text"),
        ("t.jsonl", b'{"text": "\\ud800"}\n', {}, "half a character"),
        ("t.json", b'{"test": []}', {"splits": {"test": "oos"}}, "unknown split"),
        ("t.json", b'["a"]', {}, "is one list: name the file of each split"),
        ("t.json", b"3", {}, "neither lists of texts by split nor one list"),
        ("t.csv", b"text,part\na,train\n", {"split": "part"}, "no text is of the val split"),
        ("t.csv", b"text,part\na,what\n", {"split": "part"}, "none of train, val and test"),
        ("t.txt", b"\n\n", {}, "holds no text of its test split"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_in_one_line(tmp_path, name, content, texts, line):
    (tmp_path / name).write_bytes(content)
    message = failure(open_split, dataset(tmp_path / name, **texts), "test")
    assert line in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({}, "write file: or hf:"),
        ({"file": "a.csv", "hf": "b"}, "write file: or hf:"),
        ({"file": "sentences"}, "says no format"),
        ({"file": "a.txt", "label": "x"}, "lines have no columns"),
        ({"file": "a.csv", "text": 0}, "has a name"),
        ({"file": "a.csv", "header": False}, "has no name but a number"),
        ({"file": "a.jsonl", "quotes": False}, "of csv and tsv files"),
        ({"file": {"test": "a.csv"}, "split": "part"}, "files are named for each split"),
        ({"file": "a.csv", "splits": {"test": "x"}}, "name it by split:"),
        ({"file": {"train": "a.csv"}}, "no test split"),
        ({"hf": "b", "format": "csv"}, "of a file: take them out"),
        ({"file": "a.csv", "download": True}, "of a dataset of Hugging Face"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_the_configuration(texts, line):
    with pytest.raises(Exception, match=line):
        Dataset(name="talk", texts=texts)


@pytest.mark.parametrize("seed", range(20))
def test_generated_tables_come_back_whole(tmp_path, seed):
    """Any text that a program writes into a table is read as it was, whatever signs are in it."""
    rng = np.random.default_rng(seed)
    signs = ["a", "ß", '"', ",", ";", "'", "\n", " ", "🙂", "\\", "|", "-", "0"]
    texts = ["".join(rng.choice(signs, rng.integers(1, 12))) + "." for _ in range(30)]
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        file = written(tmp_path, suffix, texts, [0, 1] * 15)
        assert open_split(dataset(file), "test").texts == texts


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "label": "x"}\n{"text": "c", "label": "y"}\n', [-1, 0, 1]),
        ("a.json", '{"test": ["a", ["b", "x"], ["c", "y"]]}', [-1, 0, 1]),
        ("a.csv", "text,label\na,-1\nb,x\nc,y\n", [-1, 0, 1]),
        ("a.csv", "text,label\na,\nb,x\nc,y\n", [-1, 0, 1]),
    ],
)
def test_a_text_without_a_class_takes_none_from_the_others(tmp_path, name, content, labels):
    (tmp_path / name).write_text(content, encoding="utf-8")
    file = tmp_path / name
    samples = open_split(dataset(file, **({"splits": {"test": "test"}} if name == "a.json" else {})), "test")
    assert samples.labels.tolist() == labels
    assert samples.classnames == ["x", "y"]
    lacks = "-1" not in content  # which says it itself
    assert any("without label, the first in line" in remark for remark in samples.remarks) == lacks


OF_ROSTD = [
    ("weather/find", " ", "is it cold today ", "E"),
    ("outOfDomain", "FILLER", 'order "Campbell" soup', "FILLER"),
    ("alarm/set_alarm", " ", "set alarm to 7am", "E"),
    ("outOfDomain", "FILLER", "are bananas good 🍌", "FILLER"),
]


def of_rostd(folder, **changes):
    """ROSTD as it comes: no header, label first, OOD texts among those of validation and test."""
    for split, rows in (("train", OF_ROSTD[::2]), ("test", OF_ROSTD)):
        (folder / f"{split}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    files = {"train": str(folder / "train.tsv"), "test": str(folder / "test.tsv")}
    texts = {"file": files, "header": False, "quotes": False, "text": 2, "label": 0, **changes}
    return build(Dataset, name="rostd", texts=texts)


def test_ood_texts_within_a_file_are_told_by_a_column(tmp_path):
    inside = open_splits(of_rostd(tmp_path, rows={"column": 0, "without": "outOfDomain"}))
    assert list(inside["test"].texts) == ["is it cold today ", "set alarm to 7am"]
    assert inside["test"].classnames == ["alarm/set alarm", "weather/find"]
    assert "left out 2 rows of 4 of test.tsv by rows: of column 0" in inside["test"].remarks
    test = {"test": str(tmp_path / "test.tsv")}
    outside = of_rostd(tmp_path, file=test, label=None, rows={"column": 0, "only": ["outOfDomain"]})
    outside = open_splits(outside)["test"]
    assert list(outside.texts) == [OF_ROSTD[1][2], OF_ROSTD[3][2]]
    assert outside.labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ({"column": 0, "without": "outofdomain"}, "did you mean 'outOfDomain'?"),
        ({"column": 9, "only": "a"}, "unknown column of rows of"),
        ({"column": "label", "only": "a"}, "has no name but a number"),
        ({"column": 0}, "by only: or by without:, one of both"),
        ({"column": 0, "only": "a", "without": "b"}, "one of both"),
        ({"column": 0, "only": []}, "name a word of the column"),
        ({"column": 0, "only": {"a": 1}}, "name a word of the column"),
        ({"column": True, "only": "a"}, "YAML reads on, off, yes, no as true or false"),
        (
            {"column": 0, "without": ["outOfDomain", "weather/find", "alarm/set_alarm"]},
            "takes, none is of the train split",
        ),
    ],
)
def test_rows_that_cannot_be_chosen_are_refused(tmp_path, rows, line):
    assert line in failure(lambda: open_splits(of_rostd(tmp_path, rows=rows)))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "parquet"])
def test_turns_of_a_dialogue_are_one_text_and_the_mark_may_be_a_number(tmp_path, suffix):
    """STAR and FLOW as GOLD reads them: objects with a list of turns, an intent, and a mark of what is out of scope."""
    turns = [["<customer> hello", "<agent> hi 🙂"], ["<customer> sing", "a\tsong"], ["one"], []]
    rows = [{"context": turn, "oos_label": n % 2, "label_text": f"intent {n}"} for n, turn in enumerate(turns)]
    file = tmp_path / f"star.{suffix}"
    if suffix == "parquet":
        pl.DataFrame(rows).write_parquet(file)
    elif suffix == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        file.write_text(json.dumps({"test": rows}))
    splits = {"splits": {"test": "test"}} if suffix == "json" else {}
    asked = {"text": "context", "label": "label_text", **splits}
    inside = open_splits(dataset(file, **asked, rows={"column": "oos_label", "only": 0}))["test"]
    assert list(inside.texts) == ["<customer> hello <agent> hi 🙂", "one"]
    assert any("2 texts of star" in line and "joined by blanks" in line for line in inside.remarks)
    outside = open_splits(dataset(file, **asked, rows={"column": "oos_label", "without": [0]}))["test"]
    assert list(outside.texts) == ["<customer> sing a\tsong"]
    assert any("passed over 1 row without a text" in line for line in outside.remarks)


class OfLibrary(list):
    """A split as Hugging Face's library has it: rows, and names of the classes whose numbers stand in them."""

    def __init__(self, rows):
        super().__init__(rows)
        self.features = {"intent": SimpleNamespace(names=("pay", "oos", "plan"))}


def of_library(monkeypatch, rows):
    splits = {"train": OfLibrary([{"text": "send it", "intent": 0}, {"text": "go", "intent": 2}]),
              "test": OfLibrary([{"text": "pay me", "intent": 0}, {"text": "moon", "intent": 1}])}  # fmt: skip
    monkeypatch.setattr(libraries, "load_hugging_face", lambda name, subset, split, *_: splits[split])
    return Dataset(name="talk", texts={"hf": "me/talk", "label": "intent", "rows": rows,
                                       "splits": {split: split for split in splits}})  # fmt: skip


def test_rows_of_a_library_are_chosen_by_the_name_of_a_class_and_not_by_its_number(monkeypatch):
    inside = open_splits(of_library(monkeypatch, {"column": "intent", "without": ["oos", "plan"]}))  # none in both
    assert [list(inside[split].texts) for split in ("train", "test")] == [["send it"], ["pay me"]]
    for rows, line in (
        ({"column": "intent", "without": "oss"}, "did you mean 'oos'?"),
        ({"column": "intent", "without": 1}, "unknown word in column intent of me/talk (rows) '1'"),
        ({"column": "intent", "only": "plan"}, "the test split is without texts"),
    ):
        assert line in failure(lambda rows=rows: open_splits(of_library(monkeypatch, rows)))
