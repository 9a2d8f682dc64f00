"""How runs look in pictures."""

from __future__ import annotations

#: Okabe and Ito's colours, which colour-blind readers tell apart, without those that vanish on white or black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Markers of matplotlib and of Plotly, one more than colours, so that no two of the first 42 runs look the same.
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
PLOTLY_MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")

CAPTION = "bars and bands: 95% interval over prompts; small dots: the seeds, each alone"
