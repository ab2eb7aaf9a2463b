from __future__ import annotations

from oodgrid.errors import OodgridError, unknown


def test_a_near_name_is_suggested():
    error = unknown("score", "mmc", ["energy", "mcm", "msp"])
    assert isinstance(error, OodgridError)
    assert str(error) == "unknown score 'mmc': did you mean 'mcm'?"


def test_without_a_near_name_all_are_listed_in_order():
    assert str(unknown("score", "zzz", {"msp", "mcm"})) == "unknown score 'zzz': known: mcm, msp"
