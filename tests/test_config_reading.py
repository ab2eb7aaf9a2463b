"""What a config file may say, and how: nothing is lost, guessed, multiplied or taken for something else."""

from __future__ import annotations

import datetime
import json
import random
import time
from pathlib import Path

import pytest
import yaml

from oodgrid import grid, plan
from oodgrid.config import check_config_files, load, parse, read_config_file
from oodgrid.errors import Mistakes, OodgridError, printed
from tests import fuzz_configs

ROOT = Path(__file__).parents[1]
SHIPPED = [ROOT / "config.yaml", *sorted((ROOT / "experiments").glob("*.yaml"))]


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """CPU time that only a hang takes: many times that of the largest sound file, on this machine as it is now.

    What grows when it is read grows without end, so the factor need not be near: a busy machine measures one and the
    same work a few times slower than a minute ago.
    """
    path = tmp_path_factory.mktemp("sound") / "c.yaml"
    path.write_text("values:\n" + "- !!str x\n" * 19_900, encoding="utf-8")
    before = time.process_time()
    assert len(read_config_file(path)["values"]) == 19_900
    return 20 * (time.process_time() - before)


def lines(action, *arguments):
    with pytest.raises(OodgridError) as caught:
        action(*arguments)
    return printed(caught.value).removeprefix("oodgrid: error: ").split("\noodgrid: error: ")


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "c.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return path

    return write


# ------------------------------------------------------------------------------------------------ lost or guessed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shots: [1]\nseeds: [1]\nshots: [2]\n", [", line 3: the key 'shots' stands here and in line 1"]),
        ("a: {far: [x], near: [y], far: [z]}\n", [", line 1: the key 'far' stands here and in line 1"]),
        ("- a\n- b\n", ["no mapping"]),
        ('{"a": 1, "b": {"c": 1,\n\t"c": 2}}', [", line 2: the key 'c' stands here and in line 1"]),
        ("a: {<<: {b: 1}, <<: {c: 1}}\n", [", line 1: the key '<<' stands here"]),
        ("a: 1:30\nb: 010\nc: 0x10\nd: 0b1\ne: 1_000\n", [", line 1: '1:30'", "'010'", "'0x10'", "'0b1'", "'1_000'"]),
        ("a: 1:30.5\nb: -1:30\nc: +0_7\n", ["'1:30.5'", "'-1:30'", "'+0_7'"]),
        ("a: .inf\nb: -.Inf\nc: .nan\nd: 1.0e+400\n", [".inf is no number", "-.Inf", ".nan", "inf is no number"]),
        ("on: 1\ntrue: 2\n~: 3\n3: 4\n2026-01-01: 5\n", ["'on'", "'true'", "'~'", "'3'", "'2026-01-01'"]),
        ("? [a]\n: 1\n? {a: b}\n: 2\n", ["line 1: the key of several parts", "line 3: the key of several parts"]),
        ("a: 2026-01-01\nb: 2026-02-30\nc: 2026-01-01 10:00:00\n", ["read as timestamp"] * 3),
        ("a: !!binary aGk=\nb: !!set {x}\nc: !!omap [x: 1]\nd: =\n", ["as binary", "as set", "as omap", "as value"]),
        ("a: !!python/object/apply:os.getcwd []\nb: !own x\n", ["python/object/apply", "!own"]),
        ("a: !!bool maybe\n", ["take out its tags"]),
        ("a: !!int x\nb: !!float ''\n", ["'x'", "''"]),
        (f"a: {'9' * 5000}\nb: 1.{'9' * 5000}\n", ["a number of 5,000 digits", "a number of 5,002 digits"]),
        ("a: 9223372036854775808\nb: -99999999999999999999\n", ["a: 9223372036854775808 is too large", "b: -9999"]),
        ('a: "\\0"\nb: "\\ud800"\nc: "\\e[31m"\nd: |\n  two\n  lines\n', ["U+0000", "U+D800", "U+001B", "one line"]),
        ('"\\0": 1\n', ["the key '\\x00'", "U+0000"]),
        ("a: ''\nb: ' '\n", ["a: an empty text", "b: an empty text"]),
        (f"a: {'x' * 20_000}\n", ["a text of 20,000 characters"]),
        ("a: &a [1, *a]\n", ["*a stands within what it names"]),
        ("a: *b\n", ["found undefined alias"]),
        (f"a: {'[' * 900}{']' * 900}\n", ["line 1: nested deeper than 40"]),
        ("a: {<<: 3}\n", ["expected a mapping or list of mappings for merging"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "but found another document"]),
        ("__use_yte__: true\na: ?1/0\n", ["templates of yte"]),
        (b"a: \xff\n", ["not UTF-8 text (byte 3)"]),
        ("a: x\n".encode("utf-16"), ["not UTF-8 text"]),
        ("", ["empty or no mapping"]),
    ],
)  # fmt: skip
def test_what_could_be_lost_or_read_as_something_else_is_refused_all_at_once(file, text, said):
    found = lines(read_config_file, file(text))
    if len(found) > 1:
        assert len(found) == len(said)
        assert all(part in line for part, line in zip(said, found, strict=True)), found
    assert all(part in found[0] for part in said) or len(found) > 1, found
    assert all(str(file(text)) in line and line.isprintable() and len(line) < 500 for line in found)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, -2, +3, 0.5, .5, 5., 1.5e+3, 1e-3, 1e5, true, No, ~, null, '1:30', \"010\", 12:60x, 0o17, 1.2.3, v1]\n",
        "a: &x {b: 1, c: [2]}\nd: {<<: *x, b: 3}\ne: {<<: [*x, {f: 4}]}\ng: [*x, *x]\n",
        "\ufeffa: été\nb: 'ü 中 \U0001f600'\nc: >-\n  two\n  lines\n",
        json.dumps({"a": {"b": [1, 2.5, None, True, "x"]}}, indent="\t"),
        json.dumps({"a": [1e-05, 1000000.0, "\u4e2d \U0001f600", "C:\\x/y"]}),
        "? a\n: !!str 3\nb: !!float 3\nc: !!int '7'\n",
        *(path.read_text(encoding="utf-8") for path in SHIPPED),
    ],
)
def test_what_is_accepted_snakemake_reads_alike(file, text):
    from snakemake.common.configfile import load_configfile

    path = file(text)
    check_config_files([path, str(path)])
    assert read_config_file(path) == load_configfile(path)


def test_every_bad_file_of_several_is_said(tmp_path, file):
    bad = file("a: 1:30\na: 2\n")
    found = lines(check_config_files, [bad, tmp_path / "none.yaml"])
    assert len(found) == 3
    assert "none.yaml: No such file" in found[2]


# ---------------------------------------------------------------------------------------------- all mistakes at once


def test_mistakes_of_every_kind_are_said_in_one_go(file, experiment_of):
    raw = experiment_of(
        bakbones=["x"],
        experiment="Features",
        seeds=[1, 1, -1, 2**63 - 1],
        shots=[0, "many"],
        methods=["zero_shot", "cooop", {"name": "coop", "epoch": 3}, {"name": "clip_adapter", "lr": "hot"}],
        scores=["mcm", "mmc", {"name": "neglabel", "labels": "nouns"}, {"name": "msp", "T": [0.5, True]}],
        id_datasets=[
            {"name": "a", "folder": "a", "foldr": "b", "ood": {"far": ["nois"], "near": ["digits", "digits"]}},
            {"name": "concepts", "ood": {"far": ["noise"], "near": ["concepts"]}},
        ],
        label_lists=[{"name": "l", "file": "x.doc"}],
    )
    text = yaml.safe_dump(raw) + "shots: [1:30]\n"
    found = lines(load, file(text))
    wanted = [
        "'shots' stands here and in line", "'1:30' is a number in base 60", "config key of experiment 'bakbones'",
        "results/Features/ belongs to all", "seed 1 is listed twice", "seeds.2: greater than or equal to 0",
        "unknown method 'cooop': did you mean 'coop'", "parameter of method coop 'epoch'", "lr = 'hot'",
        "unknown score 'mmc'", "msp: T = true", "config key of id dataset 'foldr'",
        "unknown dataset 'nois'", "OOD set of a: digits is listed twice", "concepts overlaps ID set concepts",
        "label list l: x.doc is none of",
    ]  # fmt: skip
    assert [part for part in wanted if not any(part in line for line in found)] == []
    assert len(found) == len(wanted), found


def test_a_mistake_brings_no_other_in_its_train(experiment_of, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("1 / 0")
    for changes in (
        {"id_datasets": [{"name": "own", "foldr": "x", "ood": {"far": ["noise"]}}]},
        {"id_datasets": [{"name": "own", "folder": "x", "ood": {"far": ["nois"]}}]},
        {"bakbones": ["tiny"], "backbones": ["tiny"]},
        {"scores": [{"name": "mcm", "T": list(range(1, 2000))}]},
        {"plugins": [str(bad)], "scores": ["mine"]},
        {"label_lists": [{"name": "l", "labels": 3}], "scores": ["mcm", {"name": "neglabel", "labels": "l"}]},
        {"methods": [{"name": "coop", "views": "rrc09"}]},
        {"experiment": datetime.date(2026, 1, 1)},
        {"scores": [{"name": "mcm", "T": float("nan")}]},
        {"seeds": [b"x"]},
        {"seeds": list(range(1001))},
    ):
        found = lines(parse, experiment_of(**changes))
        assert len(found) == 1, found


def test_true_is_no_number_and_a_number_may_come_as_text(experiment_of):
    for changes in ({"seeds": [True]}, {"shots": [False]}, {"scores": [{"name": "mcm", "T": True}]}):
        assert "true" in lines(parse, experiment_of(**changes))[0]
    # --config seeds=[5] gives Snakemake texts, and so does YAML for 1e-3.
    experiment = parse(experiment_of(seeds=["5"], scores=["msp", {"name": "mcm", "T": "1e-3"}]))
    assert (experiment.seeds, experiment.scores[1].params) == ([5], {"T": 0.001})
    for changes in ({"experiment": False}, {"label_lists": [{"name": "l", "labels": ["a", False]}]}):
        assert "YAML reads on, off, yes, no" in lines(parse, experiment_of(**changes))[0]


# -------------------------------------------------------------------------------------------------------------- names


def _pair(one, other):
    return [
        {"name": "concepts", "ood": {"far": [{"name": one, "folder": "x"}]}},
        {"name": "i", "folder": "i", "ood": {"far": [{"name": other, "folder": "y"}]}},
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiment": name}, "no file on Windows")
        for name in ("con", "NUL", "aux.v2", "com1", "Lpt9.x", "a.", "v1..")
    ]
    + [({"experiment": name}, "belongs to all experiments") for name in ("features", "Text", "KEPT")]
    + [({"experiment": name}, "a name has letters") for name in (".x", "-x", "a b", "a/b", "é", "a\\b", "a:b")]
    + [
        ({"experiment": "x" * 101}, "100 characters at most"),
        ({"id_datasets": _pair("a", "A")}, "dataset A and a are one file"),
        ({"id_datasets": _pair("a", "a")}, "described in two ways"),
        ({"id_datasets": _pair("concepts.shuffled", "b")}, "files beside those of concepts"),
        ({"backbones": ["tiny", {"name": "Tiny", "model": "m", "pretrained": "p"}]}, "backbone Tiny and tiny are one"),
        ({"label_lists": [{"name": "l", "labels": ["a"]}, {"name": "L", "labels": ["a"]}]}, "label list L and l"),
        ({"methods": [{"name": "coop", "init": "A x"}, {"name": "coop", "init": "a x"}]}, "init=a-x are one file"),
        ({"methods": [{"name": "coop", "init": "a x"}, {"name": "coop", "init": "a-x"}]}, "is listed twice"),
        ({"methods": ["coop", {"name": "coop", "init": "x " * 200}]}, "200 at most"),
        ({"seeds": list(range(1000)), "shots": list(range(1, 1000))}, "rows of metrics, and 5000000 are the most"),
    ],
)  # fmt: skip
def test_names_are_files_on_every_system(experiment_of, changes, said):
    found = lines(parse, experiment_of(**changes))
    assert len(found) == 1
    assert said in found[0]


# -------------------------------------------------------------------------------------------------------------- bombs


@pytest.mark.parametrize("name", dict(fuzz_configs.bombs()))
def test_what_grows_when_it_is_read_ends_in_a_line(file, seconds, name):
    path = file(dict(fuzz_configs.bombs())[name])
    before = time.process_time()
    assert lines(load, path)
    assert time.process_time() - before < seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": [{"name": "mcm", "T": [i / 100 for i in range(1, 3001)]}]},
        {"scores": [{"name": "gen", "gamma": [i / 1000 for i in range(1, 999)], "M": list(range(1, 999))}]},
        {"scores": [{"name": "mcm", "T": i / 100} for i in range(1, 3001)]},
        {"seeds": [0] * 15_000},
        {"id_datasets": [{"name": "i", "folder": "x", "ood": {"near": [*range(10_000)]}}]},
        {"id_datasets": [{"name": "i", "folder": "x", "shards": 10**15, "ood": {"far": ["noise"]}}]},
        {"methods": [{"name": "coop", "init": "x" * 10_000}] * 500},
        {"x" * 9_000 + str(i): 1 for i in range(30)},
    ],
)
def test_what_adds_up_to_too_much_ends_in_a_line(experiment_of, seconds, changes):
    before = time.process_time()
    found = lines(parse, experiment_of(**changes))
    assert time.process_time() - before < seconds
    assert len("\n".join(found)) < 20_000


# --------------------------------------------------------------------------------------------------------------- fuzz


def _sound(experiment):
    """Whatever is accepted adds up to files that can lie anywhere, and is read again as what it is."""
    files = [
        file.as_posix() for file in plan.report_files(Path("r"), experiment) + plan.score_files(Path("r"), experiment)
    ]
    files += [file.as_posix() for file in plan.feature_files(Path("r"), experiment)]
    assert len({file.casefold() for file in set(files)}) == len(set(files))
    assert all(len(part.encode()) <= 255 and part.isprintable() for file in set(files) for part in file.split("/"))
    assert next(iter(grid.rows(experiment)))


def _fuzz(tmp_path, seconds, seed, count):
    texts = [path.read_text(encoding="utf-8") for path in SHIPPED]
    raws = [yaml.safe_load(text) for text in texts]
    path = tmp_path / "fuzz.yaml"
    accepted = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        which, way = rng.randrange(len(texts)), number % 3
        raw = fuzz_configs.mutated(raws[which], rng) if way < 2 else None
        text = fuzz_configs.dumped(raw) if way == 1 else None
        before = time.process_time()
        try:
            if way == 0:
                experiment = parse(raw)
            else:
                path.write_bytes(text.encode() if text else fuzz_configs.garbled(texts[which], rng))
                experiment = load(path)
        except OodgridError as error:
            said = printed(error).split("\n")
            assert all(line.isprintable() and len(line) < 1500 for line in said), (number, said)
            assert not any(line.startswith("oodgrid: unexpected") for line in said), (number, said)
        else:
            accepted += 1
            _sound(experiment)
            again = parse(raw) if way == 0 else load(path)
            assert again == experiment
        assert time.process_time() - before < seconds, number
    assert 0.03 * count < accepted < 0.5 * count  # some changes do no harm, as of a comment


def test_no_config_brings_a_traceback_a_hang_or_nonsense(tmp_path, seconds):
    _fuzz(tmp_path, seconds, 1, 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_config_of_a_long_campaign_does_either(tmp_path, seconds, seed):
    _fuzz(tmp_path, seconds, seed, 400)


def test_mistakes_beyond_what_a_screen_shows_are_counted():
    error = Mistakes(f"line {i}" for i in range(1000))
    assert printed(error).count("\n") == 40
    assert "and 960 more mistakes" in printed(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbones": [{"name": "m", "model": "ViT-B-32", "pretrained": "y" * 3000}]},
        {"backbones": [{"name": "m", "model": "transformers", "pretrained": "y" * 3000}]},
        {"backbones": [{"name": "m", "model": "x", "pretrained": "random", "model_config_file": "y" * 3000}]},
        {"id_datasets": [{"name": "i", "folder": "x", "classnames": "y" * 3000 + ".txt", "ood": {"far": ["noise"]}}]},
        {"id_datasets": [{"name": "i", "folder": "x", "classes": "package:" + "y" * 3000, "ood": {"far": ["noise"]}}]},
        {"id_datasets": [{"name": "i", "folder": "x", "classes": "y/" * 3000 + ".json", "ood": {"far": ["noise"]}}]},
        {"plugins": ["y" * 3000 + ".py"]},
    ],
)
def test_a_name_too_long_for_a_file_is_a_file_that_is_not_there(experiment_of, changes):
    try:
        experiment = parse(experiment_of(**changes))
    except OodgridError as error:
        assert all(len(line) < 4000 and line.isprintable() for line in printed(error).split("\n"))
    else:
        assert all(backbone.identity for backbone in experiment.backbones)
