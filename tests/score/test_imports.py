from __future__ import annotations

import subprocess
import sys

# Every job imports the scores that it names, and a library is imported by whoever wants one score of an array.
IMPORT_ALL = """
import importlib, pkgutil, sys
import oodgrid.score
for module in pkgutil.walk_packages(oodgrid.score.__path__, "oodgrid.score."):
    if module.name not in ("oodgrid.score.run", "oodgrid.score.kept_tables"):  # what writes tables
        importlib.import_module(module.name)
print([name for name in ("scipy", "sklearn", "torch", "polars", "h5py", "matplotlib") if name in sys.modules])
"""


def test_importing_all_scores_imports_no_library_but_numpy_and_pydantic():
    assert subprocess.check_output([sys.executable, "-c", IMPORT_ALL], text=True).strip() == "[]"
