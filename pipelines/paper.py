"""Pictures of any mode as PIL RGB, on the paper that shows through them."""

from __future__ import annotations

import numpy as np
from PIL import Image


def flat(picture: Image.Image, paper: str = "white") -> Image.Image:
    """PIL RGB of a picture of any mode, with `paper`, a colour, under what is transparent."""
    picture = eight_bits(picture)
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", over.size, paper), over)
    return picture.convert("RGB")


def eight_bits(picture: Image.Image) -> Image.Image:
    """Greys of 16 and 32 bits and of floats as greys of 8; other modes stay as they are."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float64), posinf=0, neginf=0)
    most = values.max()
    top = 1 if picture.mode == "F" and most <= 1 else 255 if most <= 255 else 65535
    return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
