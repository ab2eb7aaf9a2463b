"""How a method is drawn, as its registration says it: colour, marker and line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

from oodgrid.errors import OodgridError

# Okabe & Ito, "Color Universal Design" (2008), without yellow, which is too light for lines on white; the grey is dark
# enough to stay apart from green and purple for the colour-blind.
COLOURS = {
    "vermillion": "#D55E00", "blue": "#0072B2", "green": "#009E73", "purple": "#CC79A7",
    "orange": "#E69F00", "sky": "#56B4E9", "black": "#000000", "grey": "#555555",
}  # fmt: skip
Line = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
LINES: tuple[Line, ...] = ("-", "--", ":", "-.", (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (1, 3)))
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
MARKS = (*product(SHAPES, (False, True)), *((shape, False) for shape in "+x1234|_"))  # shape, and whether it is hollow


@dataclass(frozen=True)
class Look:
    """How a method is drawn.

    Attributes:
        colour: Hex triplet.
        marker: Matplotlib marker.
        line: Matplotlib line style.
        hollow: Whether the marker is white inside.
    """

    colour: str
    marker: str
    line: Line = "-"
    hollow: bool = False

    @classmethod
    def parse(cls, text: str) -> Look:
        """Return the look that a registration writes as "vermillion D", "#AA3377 s --" or "sky < : hollow".

        Raises:
            OodgridError: It is none.
        """
        colours, markers = "|".join((*COLOURS, r"#[0-9A-Fa-f]{6}")), "|".join(re.escape(shape) for shape, _ in MARKS)
        match = re.fullmatch(rf"({colours}) ({markers})(?: (--?|:|-\.))?( hollow)?", text)
        look = match and cls(COLOURS.get(match[1], match[1]), match[2], match[3] or "-", bool(match[4]))
        if not look or look.mark not in MARKS:
            raise OodgridError(
                f"look {text!r} is none: write a colour ({', '.join(COLOURS)}, or as #AA3377), a marker of matplotlib "
                f"({' '.join(dict.fromkeys(shape for shape, _ in MARKS))}), maybe a line (- -- : -.), maybe hollow"
            )
        return look

    @property
    def mark(self) -> tuple[str, bool]:
        """The marker's shape, and whether it is hollow."""
        return self.marker, self.hollow
