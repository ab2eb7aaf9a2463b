from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml

from oodgrid import cli, plan, store
from oodgrid.cli.checking import check_named_files
from oodgrid.config import parse

VERBS = ("encode", "adapt", "score", "evaluate", "report", "import", "metrics", "list", "inspect", "verify", "schema")
VERBS += ("unlock", "check", "export", "detect", "labels wordnet", "labels reneg", "labels ask")


@pytest.fixture(autouse=True)
def same_environment():
    """Commands cap the threads of their process by environment variables; here other tests share it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def oodgrid(capsys):
    """A function from arguments to exit status, standard output and standard error."""

    def call(*arguments):
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as stop:  # argparse
            status = stop.code
        return status, *capsys.readouterr()

    return call


def fresh(*arguments, **environment):
    """Run in a new process, as a shell would."""
    return subprocess.run(
        [sys.executable, "-m", "oodgrid", *map(str, arguments)],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------- exit codes


def test_success_is_0_and_says_nothing_on_stderr():
    done = fresh("list", "scores")
    assert (done.returncode, done.stderr) == (0, "")
    assert "mcm" in done.stdout


def test_a_user_mistake_is_1_and_one_line_on_stderr(tmp_path):
    done = fresh("evaluate", "--config", tmp_path / "none.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("oodgrid: error: ")
    assert done.stderr.count("\n") == 1


def test_a_wrong_command_line_is_2(oodgrid):
    for arguments in ([], ["lst"], ["list"], ["list", "nothing"], ["metrics", "--id", "x"], ["adapt", "learn"]):
        status, out, err = oodgrid(*arguments)
        assert status == 2
        assert not out
        assert err.startswith("oodgrid: error: ")
        assert err.count("\n") == 1
    for arguments, said in (
        (["lst"], "there is no 'lst': did you mean 'list'?; oodgrid --help"),
        (["encode", "imges"], "there is no 'imges': did you mean 'images'?; oodgrid encode --help"),
        (["list", "scores", "--resuls", "x"], "unknown argument '--resuls': did you mean --results?"),
        (["import", "npz", "x", "--split", "tset"], "--split: there is no 'tset': did you mean 'test'?"),
        (["l\x1b\udcff"], "there is no 'l\\x1b\\udcff'"),
    ):
        assert said in oodgrid(*arguments)[2]


def test_debug_shows_where_and_its_absence_does_not(oodgrid, tmp_path):
    assert "Traceback" not in oodgrid("inspect", tmp_path / "none.h5")[2]
    err = oodgrid("inspect", tmp_path / "none.h5", "--debug")[2]
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("oodgrid: error: ")


def test_a_short_list_says_in_a_line_what_a_score_looks_at(oodgrid):
    status, out, _ = oodgrid("list", "scores", "--short")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0
    assert lines["tanl"].endswith("the samples of the test stream before it, texts beside the classes")
    assert lines["mcm"].split() == ["mcm", "logits", "-"]
    assert oodgrid("list", "methods", "--short")[0] == 0
    assert "--short is for scores and methods" in oodgrid("list", "backbones", "--short")[2]


def test_the_unexpected_is_one_line_too(oodgrid, monkeypatch):
    def breaks(kind):
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr("oodgrid.registry.entries", breaks)
    status, _, err = oodgrid("list", "scores")
    assert status == 1
    assert err.count("\n") == 1
    assert "ZeroDivisionError: first second" in err
    assert "--debug" in err


def test_an_interrupt_is_130(oodgrid, monkeypatch):
    def interrupted(kind):
        raise KeyboardInterrupt

    monkeypatch.setattr("oodgrid.registry.entries", interrupted)
    status, _, err = oodgrid("list", "scores")
    assert status == 130
    assert err == "oodgrid: interrupted; what was finished is kept\n"


def test_names_that_are_no_utf_8_can_be_said_everywhere(tmp_path):
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.h5")
    log = tmp_path / "job.log"
    done = fresh("verify", strange, "--log", log, PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 1
    assert "\\udcff.h5 does not exist" in done.stdout
    fresh("inspect", strange, "--log", log)
    assert "\\udcff.h5 does not exist" in log.read_text(encoding="utf-8")


def test_what_is_no_exception_is_one_line_too(oodgrid, monkeypatch):
    for error in (
        SystemExit(0),
        type("PanicException", (BaseException,), {})("within"),
        MemoryError(),
        RecursionError(),
    ):

        def fails(kind, error=error):
            raise error

        monkeypatch.setattr("oodgrid.registry.entries", fails)
        status, _, err = oodgrid("list", "scores")
        assert status == 1
        assert err.startswith("oodgrid: ")
        assert err.count("\n") == 1


def test_streams_that_are_closed_or_full_and_a_notebook_s_environment():
    run = f"{sys.executable} -m oodgrid list label_lists"
    for shell, status in ((f"{run} >&-", 0), (f"{run} 2>&-", 0), (f"MPLBACKEND=module://nothing {run}", 0)):
        assert subprocess.run(["bash", "-c", shell], capture_output=True, text=True).returncode == status
    done = subprocess.run(["bash", "-c", f"{run} > /dev/full"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left on device" in done.stderr


def test_figures_are_drawn_without_a_notebook_s_backend(oodgrid, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    oodgrid("list", "methods")
    assert os.environ["MPLBACKEND"] == "agg"


def test_check_says_all_that_stands_against_an_experiment(oodgrid, write_yaml, experiment_of, tmp_path):
    results = ("--results", tmp_path / "results")
    status, out, err = oodgrid("check", write_yaml(experiment_of()), *results)
    assert (status, err) == (0, "")
    assert f"sound; 5 fits, 10 rows of metrics in {tmp_path / 'results' / 'mini'}/" in out
    (tmp_path / "mine.py").write_text(
        "from oodgrid.registry import score\n@score(needs=('logits',))\ndef mine(logits):\n    return -logits.max(1)\n"
    )
    gone = [{"name": name, "imported": {}} for name in ("a", "b")]
    raw = experiment_of(
        id_datasets=[{"name": "concepts", "ood": {"far": gone}}],
        scores=["mcm", "mine"],
        plugins=[str(tmp_path / "mine.py")],
    )
    status, _, err = oodgrid("check", write_yaml(raw), *results)
    assert status == 1
    assert [part in line for part, line in zip(("a/test.h5", "b/test.h5", "mine.py"), err.splitlines(), strict=True)]


def test_a_closed_pipe_is_no_mistake():
    command = f"{sys.executable} -m oodgrid schema | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_a_log_that_cannot_be_written_hides_no_error(oodgrid, tmp_path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    done = oodgrid("evaluate", "--config", tmp_path / "none.yaml", "--log", tmp_path / "logs" / "job.log")
    assert done[0] == 1
    assert "none.yaml" in done[2]


def test_a_failed_job_leaves_its_traceback_in_the_log(oodgrid, tmp_path):
    log = tmp_path / "logs" / "job.log"
    assert oodgrid("evaluate", "--config", tmp_path / "none.yaml", "--log", log)[0] == 1
    text = log.read_text(encoding="utf-8")
    assert text.startswith("oodgrid: error: cannot read config")
    assert "Traceback" in text


def test_version(oodgrid):
    from oodgrid import __version__

    assert oodgrid("--version") == (0, f"oodgrid {__version__}\n", "")


# ------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example(oodgrid, verb):
    status, out, _ = oodgrid(*verb.split(), "--help")
    assert status == 0
    assert f"example:\n  oodgrid {verb}" in out


def test_the_verbs_are_these(oodgrid):
    out = oodgrid("--help")[1]
    for verb in VERBS:
        assert f"\n    {verb.split()[0]} " in out
    assert "snakemake --cores" in out


# --------------------------------------------------------------------------------------------------- start-up


def test_the_command_line_itself_imports_nothing_heavy():
    code = (
        "import sys; import oodgrid.cli as cli; cli.parser();"
        "print([m for m in ('numpy', 'torch', 'open_clip', 'polars', 'pydantic', 'yaml', 'h5py') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_metrics_and_list_start_without_torch(tmp_path):
    np.save(tmp_path / "s.npy", np.arange(10.0))
    for arguments in (["metrics", "--id", tmp_path / "s.npy", "--ood", tmp_path / "s.npy"], ["list", "methods"]):
        code = (
            f"import sys; from oodgrid.cli import main; assert main({[str(a) for a in arguments]}) == 0;"
            "print([m for m in ('torch', 'open_clip', 'torchvision', 'matplotlib') if m in sys.modules])"
        )
        assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("given", "cpus", "used"),
    [(None, 4, 4), ("2", 4, 2), ("64", 4, 4), ("0", 4, 4), ("many", 4, 4), ("-1", 4, 4), ("", 3, 3)],
)
def test_threads_are_capped_at_the_cpus(monkeypatch, given, cpus, used):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    for variable in cli.THREAD_VARIABLES:
        if given is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, given)
    cli._cap_threads()
    assert {os.environ[variable] for variable in cli.THREAD_VARIABLES} == {str(used)}


def test_libraries_whose_threads_nobody_set_have_those_of_the_job(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    for variable in cli.THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("POLARS_MAX_THREADS", "3")  # which somebody set
    cli._cap_threads()
    assert [os.environ[variable] for variable in cli.THREAD_VARIABLES] == ["1", "1", "1", "1", "3"]


def test_threads_are_capped_before_numpy_loads():
    code = (
        "import os, sys; from oodgrid import cli; cap = cli._cap_threads;"
        "cli._cap_threads = lambda: (cap(), print('numpy' in sys.modules, os.environ['OMP_NUM_THREADS']));"
        "cli.main(['list', 'scores'])"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "6400"}
    out = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    assert out.splitlines()[0] == f"False {len(os.sched_getaffinity(0))}"


# ------------------------------------------------------------------------------------------------------ verbs


@pytest.mark.parametrize(
    ("what", "some"),
    [
        ("scores", ["mcm", "T=1.0", "logits", "Ming"]),
        ("methods", ["coop", "epochs", "text_tower", "Zhou", "maple: its prompts are in the image encoder"]),
        ("datasets", ["concepts-unseen-shapes", "unseen_shapes"]),
        ("backbones", ["clip-vit-b16", "ViT-B-16-quickgelu"]),
        ("metrics", ["fpr95_id_pos (", "OpenOOD v1.5", "metrics: [fpr@90]", "--recall 0.9", "fprN_ood_pos"]),
    ],
)
def test_list(oodgrid, what, some):
    status, out, _ = oodgrid("list", what)
    assert status == 0
    assert max(map(len, out.splitlines())) <= 110 or what in ("datasets", "backbones")
    for part in some:
        assert part in out


def test_list_shows_what_the_plugins_of_a_config_bring_whatever_else_is_wrong_with_it(tmp_path):
    plugin = tmp_path / "listed.py"
    plugin.write_text(
        "from oodgrid.registry import score\n\n\n@score(needs=('logits',))\ndef listed_score(logits):\n"
        '    """Mine alone."""\n    return logits.max(axis=1)\n'
    )
    config = tmp_path / "mine.yaml"
    config.write_text(f"plugins: ['{plugin}']\nscores: [listed_scor]\n")
    done = fresh("list", "scores", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "listed_score\n    Mine alone." in done.stdout
    assert "plugin: " in done.stdout
    assert "\nmcm (MCM)\n" in done.stdout
    config.write_text("plugins: [gone.py]\n")
    for what, said in (("scores", "plugin gone.py: no such file"), ("datasets", "--config is for scores and methods")):
        done = fresh("list", what, "--config", config)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert said in done.stderr


def test_a_method_that_cannot_run_on_a_cache_says_why(oodgrid, tmp_path):
    config = tmp_path / "maple.yaml"
    config.write_text(
        "experiment: x\nbackbones: [tiny]\nid_datasets: [{name: concepts, ood: {far: [noise]}}]\n"
        "methods: [maple]\nscores: [mcm]\n"
    )
    status, _, err = oodgrid("adapt", "fit", "--config", config)
    assert status != 0
    assert "method maple does not run on cached features: its prompts are in the image encoder too" in err


def test_inspect(oodgrid, tmp_path, make_features):
    store.write_features(tmp_path / "test.h5", make_features())
    status, out, _ = oodgrid("inspect", tmp_path / "test.h5")
    assert status == 0
    assert "6 x 4 float32" in out


def test_verify_names_the_damaged_ones_and_fails(oodgrid, tmp_path, make_features):
    files = [tmp_path / f"{name}.h5" for name in "abc"]
    for seed, file in enumerate(files):
        store.write_features(file, make_features(seed=seed))
    assert oodgrid("verify", *files)[0] == 0
    data = bytearray(files[1].read_bytes())
    data[data.index(make_features(seed=1).image_features.tobytes())] ^= 1
    files[1].write_bytes(data)
    status, out, err = oodgrid("verify", *files)
    assert status == 1
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "DAMAGED", "ok"]
    assert str(files[1]) in lines[1]
    assert "1 of 3 files" in err


def test_verify_counts_missing_files(oodgrid, tmp_path):
    status, out, _ = oodgrid("verify", tmp_path / "none.h5")
    assert status == 1
    assert "none.h5 does not exist" in out


def test_metrics_as_json(oodgrid, tmp_path):
    np.save(tmp_path / "id.npy", np.arange(10.0) + 5)
    np.save(tmp_path / "ood.npy", np.arange(10.0))
    status, out, _ = oodgrid("metrics", "--id", tmp_path / "id.npy", "--ood", tmp_path / "ood.npy", "--json")
    assert status == 0
    row = json.loads(out)
    expected = "n_id n_ood auroc auroc_lo auroc_hi fpr95_id_pos fpr95_id_pos_lo fpr95_id_pos_hi "
    expected += "fpr95_id_pos_mcm fpr95_ood_pos fpr95_ood_pos_lo fpr95_ood_pos_hi aupr_in aupr_out "
    expected += "aupr_in_balanced aupr_out_balanced tied"
    assert list(row) == expected.split()
    pairs = np.subtract.outer(np.arange(10.0) + 5, np.arange(10.0))
    assert row["auroc"] == np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert (row["n_id"], row["n_ood"]) == (10, 10)


def test_metrics_at_several_recalls(oodgrid, tmp_path):
    np.save(tmp_path / "id.npy", np.arange(10.0) + 5)
    np.save(tmp_path / "ood.npy", np.arange(10.0))
    files = ("--id", tmp_path / "id.npy", "--ood", tmp_path / "ood.npy")
    plain = json.loads(oodgrid("metrics", *files, "--json")[1])
    row = json.loads(oodgrid("metrics", *files, "--recall", ".9", "0.5", "--recall", ".999", "--json")[1])
    assert {name: row[name] for name in plain} == plain
    assert set(row) - set(plain) == {f"fpr{percent}_{side}_pos{end}" for percent in ("90", "50", "99_9")
                                     for side in ("id", "ood") for end in ("", "_lo", "_hi")}  # fmt: skip
    assert (row["fpr90_id_pos"], row["fpr50_id_pos"], row["fpr90_ood_pos"]) == (0.4, 0.0, 0.4)
    out = oodgrid("metrics", *files, "--recall", "0.9")[1]
    assert "FPR90, ID positive: OOD kept where ID recall is nearest 90 %" in out
    assert "FPR90, OOD positive: ID flagged where 90 % of OOD is first caught" in out
    assert len(re.findall(r"FPR90, .*  40.00  \[", out)) == 2
    status, _, err = oodgrid("metrics", *files, "--recall", "90")
    assert (status, err.count("\n")) == (1, 1)
    assert "recall: 90.0 where a fraction such as 0.95 is needed" in err


def test_metrics_of_several_ood_files_are_a_row_each(oodgrid, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "id.npy", rng.normal(1, 1, 60))
    names = ["near.npy", "far.npy", "swapped.npy"]
    for name, mean in zip(names, (0, -1, 4), strict=True):
        np.save(tmp_path / name, rng.normal(mean, 1, 50))
    files = [tmp_path / name for name in names]
    alone = [json.loads(oodgrid("metrics", "--id", tmp_path / "id.npy", "--ood", file, "--json")[1]) for file in files]
    for options in (["--ood", *files], [each for file in files for each in ("--ood", file)]):
        status, out, err = oodgrid("metrics", "--id", tmp_path / "id.npy", *options, "--json")
        assert status == 0
        assert json.loads(out) == [{"ood": str(file), **row} for file, row in zip(files, alone, strict=True)]
        assert "AUROC of 1 of 3 OOD files is below 50 %" in err.splitlines()[-1] and "--negate?" in err
    out = oodgrid("metrics", "--id", tmp_path / "id.npy", "--ood", *files)[1]
    for file, row in zip(files, alone, strict=True):
        (line,) = (line for line in out.splitlines() if line.startswith(f"{file} "))
        assert f"  {100 * row['auroc']:.2f} [{100 * row['auroc_lo']:.2f}, " in line and " 50 " in line
    assert "60 ID samples" in out and "fpr95_id_pos: FPR95, ID positive: OOD kept" in out
    status, _, err = oodgrid("metrics", "--id", tmp_path / "id.npy", "--ood", files[0], files[0])
    assert (status, err.count("\n")) == (1, 1) and "near.npy is named twice" in err


def test_metrics_say_where_a_sign_or_a_file_is_hardly_meant(oodgrid, tmp_path):
    np.save(tmp_path / "id.npy", np.arange(30.0))
    np.save(tmp_path / "same.npy", np.arange(30.0)[::-1])
    np.save(tmp_path / "above.npy", np.arange(30.0) + 20)

    def err(ood, *more):
        return oodgrid("metrics", "--id", tmp_path / "id.npy", "--ood", tmp_path / ood, "--json", *more)[2]

    assert f"same.npy holds the same scores as {tmp_path / 'id.npy'}" in err("same.npy")
    assert "negate" not in err("same.npy") and "same scores" not in err("above.npy")
    assert "did you mean --negate?" in err("above.npy") and "negate" not in err("above.npy", "--negate")


def test_metrics_of_negated_scores_are_the_same(oodgrid, tmp_path):
    for sign, folder in ((1, tmp_path / "a"), (-1, tmp_path / "b")):
        folder.mkdir()
        np.save(folder / "id.npy", sign * (np.arange(10.0) + 5))
        np.save(folder / "ood.npy", sign * np.arange(10.0))

    def of(folder, *more):
        return oodgrid("metrics", "--id", folder / "id.npy", "--ood", folder / "ood.npy", "--json", *more)[1]

    assert of(tmp_path / "a") == of(tmp_path / "b", "--negate")


def test_metrics_say_what_was_read_and_take_a_dialect(oodgrid, tmp_path):
    (tmp_path / "id.csv").write_text("name;mcm\na;1,5\nb;2,5\n")
    (tmp_path / "ood.csv").write_text("0\n0.5\n1.25\n")
    files = ("--id", tmp_path / "id.csv", "--ood", tmp_path / "ood.csv", "--score", "mcm", "--decimal", ",")
    status, _, err = oodgrid("metrics", *files)
    assert status == 1
    assert "'0', may be names or scores: say --header or --no-header" in err
    ood = pl.read_csv(tmp_path / "ood.csv", new_columns=["mcm"])
    ood.write_csv(tmp_path / "ood.csv")
    status, out, err = oodgrid("metrics", *files)
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == f"read 2 rows of column 'mcm' from {tmp_path / 'id.csv'}"
    status, out, err = oodgrid("metrics", *files, "--header", "--separator", ";", "--json")
    assert status == 0
    assert json.loads(out)["n_ood"] == 2
    assert [line.split(" from ")[0] for line in err.splitlines()] == ["read 2 rows of column 'mcm'"] * 2


def test_report_takes_no_backend_from_a_notebook(tmp_path, write_yaml, experiment_of):
    config = write_yaml(experiment_of())
    for backend in ("module://matplotlib_inline.backend_inline", "no_such_backend"):
        env = {**os.environ, "MPLBACKEND": backend}
        command = [sys.executable, "-m", "oodgrid", "report", "--config", str(config), "--results", str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert "metrics.parquet is missing" in done.stderr


def test_schema(oodgrid):
    from oodgrid.config import schema

    assert json.loads(oodgrid("schema")[1]) == schema()


def test_import_needs_names(oodgrid, tmp_path):
    status, _, err = oodgrid("import", "npz", tmp_path / "x.npz", "--results", tmp_path)
    assert status == 1
    assert "--backbone NAME --dataset NAME" in err
    status, _, err = oodgrid("import", "npz", "x.npz", "--backbone", "a/../b", "--dataset", "d")
    assert status == 1
    assert "'a/../b' is no name" in err


def test_import_of_an_npz(oodgrid, tmp_path):
    np.savez(tmp_path / "x.npz", image_features=np.ones((4, 3)), labels=np.arange(4))
    where = ["--backbone", "b", "--dataset", "d", "--split", "val", "--results", tmp_path / "results"]
    status, out, _ = oodgrid("import", "npz", tmp_path / "x.npz", *where)
    assert status == 0
    path = tmp_path / "results/features/b/d/val.h5"
    assert out == f"wrote {path}\n"
    assert store.read_features(path).labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("encoder", ["tiny", "my-encoder"])
@pytest.mark.parametrize("kind", ["dataset", "label-list"])
def test_import_says_how_a_configuration_names_what_it_brought(oodgrid, tmp_path, experiment_of, encoder, kind):
    np.save(tmp_path / "t.npy", np.eye(3, dtype=np.float32))
    where = ["--backbone", encoder, f"--{kind}", "mine", "--results", tmp_path / "results"]
    status, out, err = oodgrid("import", "text", tmp_path / "t.npy", *where)
    assert status == 0 and out.startswith("wrote ")
    (line,) = err.splitlines()
    backbones = yaml.safe_load(line[line.index("[") : line.index("]") + 1])
    entry = yaml.safe_load(line[line.index("{name: mine") :].split(" under ")[0])
    if kind == "dataset":
        described = experiment_of(
            backbones=backbones, id_datasets=[{**entry, "ood": {"far": [{**entry, "name": "o"}]}}]
        )
    else:
        described = experiment_of(backbones=backbones, label_lists=[entry])
    assert parse(described).backbones[0].name == encoder


def test_encode_does_not_overwrite_what_another_experiment_means_by_a_name(
    oodgrid, write_yaml, experiment_of, make_features, tmp_path
):
    config = write_yaml(experiment_of())
    (path, *_) = plan.feature_files(tmp_path, parse(experiment_of()))
    store.write_features(path, make_features())
    before = path.read_bytes()
    status, _, err = oodgrid("encode", "images", "--config", config, "--results", tmp_path)
    assert status == 1
    assert "Give the changed entry another name, or delete the file" in err
    assert path.read_bytes() == before


def test_encode_of_what_the_experiment_does_not_have(oodgrid, write_yaml, experiment_of, tmp_path):
    config = ["--config", write_yaml(experiment_of()), "--results", tmp_path]
    for option in (["--dataset", "nois"], ["--backbone", "tin"]):
        status, _, err = oodgrid("encode", "images", *option, *config)
        assert status == 1
        assert "did you mean" in err
    for option in (["--id-dataset", "concept"], ["--method", "zeroshot"]):
        status, _, err = oodgrid("adapt", "fit", *option, *config)
        assert status == 1
        assert "did you mean" in err


@pytest.mark.parametrize(
    ("kind", "option"),
    [("npz", "labels"), ("tip-adapter", "classnames"), ("npy", "label"), ("text", "split"), ("npy", "label-list")],
)
def test_import_refuses_an_option_that_it_would_pass_over(oodgrid, tmp_path, kind, option):
    where = ("--backbone", "b", "--dataset", "d", "--results", tmp_path)
    status, _, err = oodgrid("import", kind, tmp_path / "x", *where, f"--{option}", "y")
    assert status == 2
    assert f"unknown argument '--{option}'" in err
    assert f"oodgrid import {kind} --help shows what there is" in err


def test_import_of_bare_arrays_and_of_a_folder_of_clip_retrieval(oodgrid, tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    (tmp_path / "img_emb").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", values)
    (tmp_path / "y.csv").write_text("path,label\na,2\nb,0\nc,1\nd,-1\n")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    more = {
        "npy": (
            tmp_path / "img_emb" / "img_emb_0.npy",
            "--labels",
            tmp_path / "y.csv",
            "--paths",
            tmp_path / "names.txt",
        ),
        "clip-retrieval": (tmp_path,),
    }
    for kind, given in more.items():
        where = ("--backbone", "b", "--dataset", kind, "--results", tmp_path / "results")
        status, _, err = oodgrid("import", kind, *given, *where)
        assert status == 0 and err.startswith("oodgrid: in a configuration") and len(err.splitlines()) == 1
        found = store.read_features(tmp_path / f"results/features/b/{kind}/test.h5", as_stored=True)
        assert found.image_features.tobytes() == values.tobytes()
        assert found.labels.tolist() == ([2, 0, 1, -1] if kind == "npy" else [-1] * 4)
        assert list(found.paths) == (list("abcd") if kind == "npy" else [f"{kind}/test/{row}" for row in range(4)])


def test_out_and_in_again(oodgrid, tmp_path, make_features):
    source = tmp_path / "given.h5"
    store.write_features(source, make_features())
    assert oodgrid("export", source, tmp_path / "out.npz")[0] == 0
    assert oodgrid("export", source, tmp_path / "out.npz")[0] == 1
    assert oodgrid("export", source, tmp_path / "out.npz", "--force")[0] == 0
    given = ("--backbone", "b", "--dataset", "d", "--results", tmp_path / "results")
    status, out, _ = oodgrid("import", "npz", tmp_path / "out.npz", *given)
    assert status == 0
    found = store.read_features(tmp_path / "results" / "features" / "b" / "d" / "test.h5")
    assert str(tmp_path / "results") in out
    assert found.digest == store.read_features(source).digest


@pytest.mark.parametrize(
    "words",
    [
        "--configfile {0}",
        "--configfiles {0}",
        "--configfile={0}",
        "-n --configfile {1} {0} --cores 2",
    ],
)
def test_every_way_to_name_a_config_to_snakemake_is_seen(tmp_path, words):
    """`profiles/default` has them checked before Snakemake reads them."""
    wrong, sound = tmp_path / "wrong.yaml", tmp_path / "sound.yaml"
    wrong.write_text("shots: 1:30\n")
    sound.write_text("shots: 1\n")
    for arguments, ends in (
        (words, True),
        (words.replace("{0}", "{1}"), False),
        ("--cores 2", False),
        ("-n all", False),
    ):
        command = ["snakemake", *arguments.format(wrong, sound).split()]
        if ends:
            with pytest.raises(SystemExit, match="base 60"):
                check_named_files(command)
        else:
            check_named_files(command)
