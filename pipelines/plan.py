"""The plan of a picture: which word stands where, how large, and whether it is mirrored.

The code transformer writes a plan between the sentence and the codes; training reads it off the
painter's layout.
"""

from __future__ import annotations

PIECES = 6
"""Most pieces a plan holds; what a scene has beyond that stays unplanned."""

FIELDS = 4
"""A piece is told by its word (0 = no piece), column, row, and which size it has (mirrored pieces
count on after the last size)."""
