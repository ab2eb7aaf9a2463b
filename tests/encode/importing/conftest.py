from __future__ import annotations

import pytest

from oodgrid.errors import OodgridError


@pytest.fixture
def failure():
    """A function that calls another, which must fail as a mistake of the user, and returns the line."""

    def call(action, *arguments, **named):
        with pytest.raises(OodgridError) as caught:
            action(*arguments, **named)
        line = str(caught.value)
        assert "\n" not in line
        return line

    return call
