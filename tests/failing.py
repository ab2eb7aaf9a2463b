"""What tests of mistakes share: the one line that a call fails with."""

from __future__ import annotations

import pytest

from oodgrid.errors import OodgridError


def failure(action, *arguments, **named):
    """Call, and return the message of the `OodgridError` that this raises, which is one line."""
    with pytest.raises(OodgridError) as caught:
        action(*arguments, **named)
    line = str(caught.value)
    assert "\n" not in line
    return line
