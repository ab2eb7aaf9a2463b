"""Sets of texts of the catalogue: fetched, found below a root, and read as `texts:` reads the same files."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

from oodgrid import cli
from oodgrid.catalogue import real
from oodgrid.catalogue.real import RealSet
from oodgrid.config import Dataset
from oodgrid.encode.real.download import wrong_checksum
from oodgrid.encode.real.status import status_of
from oodgrid.encode.sources import open_splits
from tests.encode.test_fetching import server  # noqa: F401
from tests.failing import failure

NAMES = [name for name in real.names() if real.holds_texts(name)]
INLINE = {  # what a configuration without the catalogue says of the same files
    "clinc150": {"file": "clinc150/data_full.json"},
    "clinc-oos": {"file": "clinc150/data_full.json", "splits": {"test": "oos_test"}, "label": None},
    "banking77": {"file": {"train": "banking77/train.csv", "test": "banking77/test.csv"}, "label": "category"},
    "20ng": {"file": "ood_sentences/20ng-test.txt", "format": "tsv", "quotes": False, "label": None},
    "sst2": {"file": {"test": "sst2/test.tsv"}, "header": False, "text": 0, "label": 1},
}
TALK = {
    "title": "Talk", "paper": "nobody", "home": "nowhere", "use": "id", "licence": "none", "traps": ["none"],
    "splits": {"train": 2, "test": 3},
    "layouts": [
        {
            "name": "talk", "reader": "texts", "at": ["talk"], "needs": ["a.tsv", "b.tsv"],
            "splits": {"train": "a.tsv", "test": "b.tsv"}, "table": {"text": "words"},
        }
    ],
}  # fmt: skip
FILES = {"a.tsv": "words\tlabel\nplay a_song 🙂\tplay_music\nrain\tweather\n",
         "b.tsv": 'words\tlabel\nsun\tweather\n"a ""b""\tc"\t-1\nplay\tplay_music\n'}  # fmt: skip


@pytest.fixture
def talk(server, monkeypatch):  # noqa: F811
    """A set of texts in the catalogue, of two classes that are not sorted, whose files lie on a server."""

    def make(**changes):
        server.files = {name: text.encode() for name, text in FILES.items()}
        fetch = [
            {"url": server.url(name), "md5": hashlib.md5(text.encode()).hexdigest(), "to": "talk"}
            for name, text in FILES.items()
        ]
        entry = RealSet.model_validate({**TALK, "fetch": fetch, **changes})
        monkeypatch.setattr(real, "names", lambda: ("talk",))
        monkeypatch.setattr(real, "real_set", lambda name: entry)
        monkeypatch.setattr(real, "class_keys", lambda name: {"weather": "the weather", "play_music": "music"})
        monkeypatch.setattr(real, "prompts", lambda name: {})
        real.layouts.cache_clear()

    yield make
    real.layouts.cache_clear()


def test_texts_are_fetched_found_and_read_with_the_classes_of_the_catalogue(talk, tmp_path, capsys):
    talk()
    assert cli.main(["fetch", "talk", "--root", str(tmp_path)]) == 0
    assert f"talk: whole in {tmp_path / 'talk'}" in capsys.readouterr().out
    dataset = Dataset(name="talk", root=str(tmp_path))
    assert (dataset.thing, dataset.templates, dataset.split_names) == ("text", ["{}"], ("train", "test"))
    opened = open_splits(dataset)
    assert opened["train"].texts == ["play a_song 🙂", "rain"]
    assert opened["train"].labels.tolist() == [1, 0]
    assert opened["test"].texts == ["sun", 'a "b"\tc', "play"]
    assert opened["test"].labels.tolist() == [0, -1, 1]
    assert opened["test"].classnames == ["the weather", "music"]
    half = open_splits(Dataset(name="part", of="talk", root=str(tmp_path), classes=["music"]))
    assert half["test"].texts == ["play"]
    assert open_splits(Dataset(name="talk", root=str(tmp_path / "talk"), limit=1))["test"].labels.shape == (1,)


def test_what_is_not_the_set_is_refused_in_one_line(talk, tmp_path):
    talk()
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "a.tsv").write_text(FILES["a.tsv"])
    dataset = Dataset(name="talk", root=str(tmp_path))
    assert "has a.tsv but not b.tsv" in failure(open_splits, dataset)
    for text, line in {
        "words\tlabel\nsun\tsnow\nrain\tweather\nplay\tweather\n": "class 'snow', which is none of its",
        "words\tlabel\nsun\tweather\n": "has 1 of 3",
        FILES["b.tsv"] + "more\tweather\n": "more than the 3 that were published",
    }.items():
        (tmp_path / "talk" / "b.tsv").write_text(text)
        assert line in failure(open_splits, dataset)
    with pytest.raises(ValueError, match="its samples are texts"):
        Dataset(name="talk", root=str(tmp_path), views=[{"family": "rrc08"}])


@pytest.mark.parametrize("name", NAMES)
def test_the_files_at_hand_are_the_published_ones(shared, name):
    folder, entry = shared / "data" / "text", real.real_set(name)
    if not folder.is_dir():
        pytest.skip("no data/text in OODGRID_SHARED")
    for download in entry.fetch:
        assert not wrong_checksum(folder / download.to / download.file, download)
    assert status_of(name, folder).is_whole


@pytest.mark.parametrize("name", INLINE)
def test_they_are_read_as_a_configuration_reads_them(shared, name):
    folder = shared / "data" / "text"
    if not folder.is_dir():
        pytest.skip("no data/text in OODGRID_SHARED")
    files = INLINE[name]["file"]
    places = {split: str(folder / file) for split, file in files.items()} if isinstance(files, dict) else None
    inline = Dataset(name=name, texts={**INLINE[name], "file": places or str(folder / files)})
    ours, theirs = open_splits(Dataset(name=name, root=str(folder))), open_splits(inline)
    for split, texts in theirs.items():
        assert (ours[split].texts, ours[split].paths) == (texts.texts, texts.paths)
        assert not real.class_keys(name) or np.array_equal(ours[split].labels, texts.labels)
        assert name == "sst2" or not real.class_keys(name) or ours[split].classnames == texts.classnames


def test_a_folder_of_one_set_is_not_taken_for_another(tmp_path, shared):
    """SNIPS and StackOverflow have files of the same names."""
    folder = shared / "data" / "text" / "snips"
    if not folder.is_dir():
        pytest.skip("no data/text in OODGRID_SHARED")
    shutil.copytree(folder, tmp_path / "snips")
    assert status_of("snips", tmp_path).is_whole
    assert not status_of("stackoverflow", tmp_path).is_there
    assert not status_of("stackoverflow", tmp_path / "snips").is_there
