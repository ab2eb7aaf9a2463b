from __future__ import annotations

import hashlib
import re
from importlib import resources

from oodgrid.report import page

FOLDER = resources.files("oodgrid.report") / "vendored"
ROW = r"^\| `(\S+)` \| `(\S+)@(\S+)`, .*? \| ISC, `(\S+)` \| `(\w{64})` \|$"
LISTED = re.findall(ROW, (FOLDER / "README.md").read_text(), re.M)


def test_every_library_is_as_published_with_its_version_and_licence():
    assert [name for name, *_ in LISTED] == list(page.LIBRARIES)
    assert {file.name for file in FOLDER.iterdir()} == {"README.md"} | {n for row in LISTED for n in (row[0], row[3])}
    for name, package, version, licence, digest in LISTED:
        content = (FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
        assert f"{package.rpartition('/')[2]}" in content[:80].decode() and f"v{version} " in content[:80].decode()
        assert "Permission to use, copy, modify" in (FOLDER / licence).read_text()
