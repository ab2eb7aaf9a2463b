"""The room evaluate: metrics of pairs of sets, with intervals, and the curves to draw."""
