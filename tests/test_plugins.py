"""Somebody else's code: what it may not do, said in one line that names the file, and what counts as its code."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import warnings

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from oodgrid import plugins, registry
from oodgrid.config import Experiment, parse
from oodgrid.errors import OodgridError
from oodgrid.plugins import apart, sources, state
from oodgrid.registry import rules

SCORE = """
import numpy as np
from oodgrid.registry import score
@score(needs=("logits",))
def {name}(logits{more}):
    return logits.max(axis=1)
"""


@pytest.fixture(autouse=True)
def forgotten():
    """Take what a test registered out of the registry again, and what it imported."""
    before, modules, path = {k: dict(registry.entries(k)) for k in registry.PACKAGES}, set(sys.modules), list(sys.path)
    yield
    for kind, known in before.items():
        registry.entries(kind).clear()
        registry.entries(kind).update(known)
    for name in set(sys.modules) - modules:
        if not name.startswith(("oodgrid.", "numpy", "scipy")):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def here(monkeypatch):
    """Load in this process alone, which takes no second; what that cannot survive is tried in one of its own below."""
    monkeypatch.setenv(apart.INSIDE, "1")


@pytest.fixture
def loaded(tmp_path):
    def load(text, name="mine.py"):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        registry.load_plugin(file)
        return file

    return load


def refused(loaded, text, name="mine.py"):
    with pytest.raises(OodgridError) as error:
        loaded(text, name)
    said = str(error.value)
    assert said.startswith("plugin ")
    assert name in said
    assert "\n" not in said
    assert len(said) < 1000
    return said


ARGPARSE = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--root', required=True)\np.parse_args()\n"
ENDING = {  # what only a process of its own survives
    "import os\nos._exit(0)": "ends the process (exit status 0)",
    "import os\nos.abort()": "kills the process (SIGABRT)",
    ARGPARSE: "line 4: it ends the program by SystemExit(",
    "while True: print('x' * 1000)": "does not end within 4 s of CPU time: if it needs longer, give it more by "
    "OODGRID_PLUGIN_SECONDS",
    "import time\ntime.sleep(1e6)": "does not end within 6 s: if it needs longer",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,)).start()"
    + SCORE.format(name="threads", more=""): "leaves a thread that never ends",
}


@pytest.mark.parametrize("text", ENDING)
def test_what_ends_or_never_ends_is_one_line(loaded, monkeypatch, text):
    monkeypatch.setattr(apart, "LIMIT", 8.0 if "thread" in text else 4.0)
    monkeypatch.setattr(apart, "WAITING", apart.LIMIT * (1.5 if "sleep(1" in text else 100))
    assert ENDING[text] in refused(loaded, text)


def test_a_busy_machine_makes_no_loop_endless_and_the_limit_is_a_number(loaded, monkeypatch):
    """What waits for the CPU, or sleeps, has not computed: only the limit on the clock counts, which is longer."""
    monkeypatch.setenv(apart.SETTING, "5")
    monkeypatch.setattr(apart, "WAITING", apart.LIMIT * 100)
    loaded("import time\ntime.sleep(6)\n" + SCORE.format(name="slow", more=""))
    for wrong in ("none", "-1", "0", "inf", "nan"):
        monkeypatch.setenv(apart.SETTING, wrong)
        with pytest.raises(OodgridError, match=f"{apart.SETTING}={wrong}: a number of seconds is needed"):
            apart.limits()


def test_reading_a_config_runs_its_plugins_and_validating_it_runs_none(here, tmp_path):
    """So the trust that a config asks for is asked for in one place: `config.load` and `config.parse`."""
    mark, file = tmp_path / "ran", tmp_path / "mine.py"
    file.write_text(f"open({str(mark)!r}, 'w')\n" + SCORE.format(name="marked", more=""))
    raw = {
        "experiment": "e",
        "plugins": [str(file)],
        "backbones": [{"name": "b", "model": "m", "pretrained": "random"}],
        "id_datasets": [{"name": "d", "generated": {"kind": "noise"}, "ood": {"far": ["noise"]}}],
        "methods": ["zero_shot"],
        "scores": ["marked"],
    }
    with pytest.raises(ValidationError, match="unknown score 'marked'"):
        Experiment.model_validate(raw)
    assert not mark.exists()
    assert [choice.name for choice in parse(raw).scores] == ["marked"]
    assert mark.exists()


def test_what_never_ends_does_not_outlive_a_run_that_was_killed(tmp_path):
    own, file = tmp_path / "pid", tmp_path / "mine.py"
    file.write_text(f"import os, pathlib\npathlib.Path({str(own)!r}).write_text(str(os.getpid()))\nwhile True: pass\n")
    load = "import sys, pathlib; from oodgrid import registry; registry.load_plugin(pathlib.Path(sys.argv[1]))"
    run = subprocess.Popen([sys.executable, "-c", load, str(file)])
    try:
        until(own.exists)
        time.sleep(0.5)
        pid = int(own.read_text())
        assert psutil.pid_exists(pid)
    finally:
        run.kill()
        run.wait()
    until(lambda: not psutil.pid_exists(pid))


def until(happened, seconds=60):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


FAILING = {
    "import sys\nsys.exit('no licence')": "line 2: it ends the program by SystemExit(no licence)",
    "import sys\nsys.exit(0)": "line 2: it ends the program by SystemExit(0)",
    "raise KeyboardInterrupt": "line 1: KeyboardInterrupt",
    "class E(BaseException): pass\nraise E('x\\ny')": "line 2: E: x y",
    "class E(Exception):\n    def __str__(self): raise ValueError\nraise E": "line 3: E",
    "def f(): f()\nf()": "RecursionError",
    "x = 1 +": "line 1: SyntaxError",
    "x = '\0'": "SyntaxError",
    b"x = '\xff'": "SyntaxError",
    "x = " + "(" * 300 + ")" * 300: "SyntaxError",
    "raise ValueError('word ' * 9999)": "word …",
    "raise ValueError('\\ud800 \\x1b[31m')": "ValueError",
    "import numpy\nnumpy.exp = numpy.sin": "replaces numpy.exp",
    "import oodgrid.score.contract as c\nc.ranked = None": "replaces oodgrid.score.contract.ranked",
    "from oodgrid.score.contract import Bank\nBank.own_logits = None": "Bank.own_logits",
    "from oodgrid.registry import _ENTRIES\n_ENTRIES['score']['mcm'] = _ENTRIES['score']['knn']": "takes a registered",
}


@pytest.mark.parametrize("text", FAILING)
def test_what_fails_to_load_is_one_line(loaded, here, monkeypatch, text):
    monkeypatch.setattr("numpy.exp", np.exp)
    monkeypatch.setattr("oodgrid.score.contract.ranked", __import__("oodgrid.score.contract").score.contract.ranked)
    monkeypatch.setattr("oodgrid.score.contract.Bank.own_logits", sys.modules["oodgrid.score.contract"].Bank.own_logits)
    assert FAILING[text] in refused(loaded, text)


def test_loading_leaves_the_process_as_it_was(loaded, here, capsys):
    before = state.settings()
    loaded(
        "import os, random, sys, warnings, numpy as np\nos.chdir('/')\nos.environ['OODGRID_TEST'] = '1'\n"
        "np.seterr(all='raise')\nnp.random.seed(0)\nrandom.seed(0)\nwarnings.simplefilter('error')\nsys.setrecursionlimit(4321)\nprint('said')\n"
        + SCORE.format(name="changes", more="")
    )
    assert state.changed(before) == ""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: np.seterr(all="raise"), "NumPy's error state"),
        (lambda: os.chdir("/"), "the working directory"),
        (lambda: os.environ.update(OODGRID_TEST="1"), "the environment"),
        (lambda: np.random.seed(1), "the state of numpy.random"),  # noqa: NPY002 (the global one is meant)
        (lambda: random.seed(1), "the state of random"),
        (lambda: warnings.simplefilter("ignore"), "the filters of warnings"),
    ],
)
def test_what_belongs_to_all_is_seen_to_change(tmp_path, change, said):
    before = state.settings()
    with state.restored(tmp_path / "x.py"):
        change()
        assert state.changed(before).startswith(said)


RESERVED = [("score", name) for name in rules.RESERVED["score"]] + [
    ("score", "MCM"),
    ("score", "größe"),
    ("score", "_"),
]


@pytest.mark.parametrize("name", [name for _, name in RESERVED])
def test_a_score_may_not_take_a_name_of_ours(loaded, here, name):
    said = refused(loaded, SCORE.format(name=name, more=""))
    assert name in said or name.lower() in said


PARAMETERS = {
    "name='a'": "no parameter may be called name",
    "bank='shots'": "no parameter may be called",
    "a=np.zeros(3)": "can be written",
    "a={}": "can be written",
    "a": "has no default",
    "a: 'Unknown' = 1": "cannot be checked",
}


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_parameter_that_no_config_can_write_is_refused(loaded, here, parameter):
    assert PARAMETERS[parameter] in refused(loaded, SCORE.format(name="given", more=f", *, {parameter}"))


def test_a_parameter_without_a_type_has_that_of_its_default(loaded, here):
    loaded(SCORE.format(name="untyped", more=", *, T=1.0, k=None"))
    assert registry.check_params("score", "untyped", {"T": 2, "k": "x"}) == {"T": 2.0, "k": "x"}
    with pytest.raises(OodgridError, match="T = 'warm' does not fit"):
        registry.check_params("score", "untyped", {"T": "warm"})


METHOD = """
from dataclasses import dataclass
from oodgrid.registry import method
@method(leaves={leaves!r})
@dataclass(frozen=True)
class Own:
    "Own."
    {field}
"""


@pytest.mark.parametrize(
    ("file", "leaves", "field", "said"),
    [
        ("any.py", "logits", "a: int = 0", "needs another name"),
        ("own.py", "labels", "a: int = 0", "leaves is one of"),
        ("own.py", "logits", "name: str = ''", "no parameter may be called name"),
        ("own.py", "logits", "a: int", "has no default"),
        ("9.py", "logits", "a: int = 0", "letters, digits"),
    ],
)
def test_a_method_may_not_take_a_name_of_ours(loaded, here, file, leaves, field, said):
    assert said in refused(loaded, METHOD.format(leaves=leaves, field=field), file)


@pytest.mark.parametrize("name", ["mine.txt", "mine", "folder"])
def test_what_is_no_python_file_is_said(tmp_path, name):
    file = tmp_path / name
    file.mkdir() if name == "folder" else file.write_text("x = 1")
    with pytest.raises(OodgridError, match=r"must end in \.py|no such file"):
        plugins.load(file)


# What counts as the code of a plugin: (the plugin's text, another file, its text before and after)
IMPORTS = [
    ("import helper", "helper.py"),
    ("import helper as h", "helper.py"),
    ("from helper import f", "helper.py"),
    ("from helper import *", "helper.py"),
    ("from . import helper", "helper.py"),
    ("from .helper import f", "helper.py"),
    ("from .pack import inner", "pack/inner.py"),
    ("import pack.inner", "pack/inner.py"),
    ("import pack.inner", "pack/__init__.py"),
    ("from pack import inner", "pack/inner.py"),
    ("from pack.inner import f", "pack/inner.py"),
    ("from pack import *", "pack/inner.py"),
    ("import loose.inner", "loose/inner.py"),
    ("def g():\n    import helper", "helper.py"),
    ("try:\n    import helper\nexcept ImportError: pass", "helper.py"),
    ("import importlib\nimportlib.import_module('helper')", "helper.py"),
    ("from importlib import import_module\nimport_module('hel' + 'per')", "helper.py"),
    ("__import__('helper')", "helper.py"),
    ("import first", "helper.py"),
    ("import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\nimport far", "lib/far.py"),
    ("from pathlib import Path\nDATA = Path(__file__).with_name('table.json')", "table.json"),
    ("from pathlib import Path\nDATA = Path(__file__).parent / 'data' / 'table.json'", "data/table.json"),
    ("import os\nDATA = os.path.join(os.path.dirname(__file__), 'data', 'table.json')", "data/table.json"),
    ("DATA = 'data/table.json'", "data/table.json"),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    texts = {
        "helper.py": "def f(): return 1\n",
        "first.py": "from helper import f\n",
        "other.py": "x = 1\n",
        "pack/__init__.py": "",
        "pack/inner.py": "def f(): return 1\n",
        "loose/inner.py": "def f(): return 1\n",
        "lib/far.py": "x = 1\n",
        "table.json": "[1]",
        "data/table.json": "[1]",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(file, text="# edited, and longer than it was before\n"):
    file.write_text(file.read_text() + text)
    sources._tree.cache_clear()


@pytest.mark.parametrize(("text", "other"), IMPORTS)
def test_the_code_of_a_plugin_is_all_that_it_leads_to(loaded, here, files, text, other):
    loaded(f"{text}\n{SCORE.format(name='leads', more='')}")
    before = registry.score_code("leads")
    assert registry.score_code("leads") == before
    edit(files / "other.py")
    assert registry.score_code("leads") == before
    edit(files / other)
    assert registry.score_code("leads") != before


def test_modules_of_the_python_path_count_and_moving_all_of_it_does_not(loaded, here, files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(files / "lib"))
    loaded("import far\n" + SCORE.format(name="leads", more=""))
    before = registry.score_code("leads")
    edit(files / "lib" / "far.py")
    assert registry.score_code("leads") != before


def test_a_module_of_the_same_name_from_elsewhere_is_refused(loaded, here, files):
    loaded("import helper\n" + SCORE.format(name="one", more=""))
    (files / "lib" / "helper.py").write_text("def f(): return 2\n")
    assert "rename one of them" in refused(loaded, "import helper\n" + SCORE.format(name="two", more=""), "lib/two.py")


def test_a_method_of_one_s_own_is_made_anew_where_its_helper_changes(loaded, here, files):
    loaded("import helper\n" + METHOD.format(leaves="logits", field="a: int = 0"), "own.py")
    before = registry.fit_code("own")
    edit(files / "helper.py")
    assert registry.fit_code("own") != before


def test_the_trial_imports_what_a_job_imports(loaded, files, monkeypatch):
    """Modules of the PYTHONPATH and beside the plugin are found, those of the folder where Python starts are not."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(files / "lib"), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(files / "lib"))
    (files / "deep").mkdir()
    loaded("import far\n" + SCORE.format(name="far", more=""), "deep/far_away.py")
    assert "No module named 'other'" in refused(
        loaded, "import other\n" + SCORE.format(name="near", more=""), "deep/b.py"
    )
