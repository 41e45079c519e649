"""What answers while one draws: a generator that remembers drawings, and large ones in tiles."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.colorize.fused import available, fused
from pipelines.colorize.generator import STRIDE, Encoded, Generator
from pipelines.colorize.hints import CELL
from pipelines.colorize.tiling import Box, blend, tiles
from pipelines.device import fast_bf16
from pipelines.errors import OutOfMemory

MAX_PIXELS = 1024 * 1024
"""Of a picture that is painted in one piece."""
TILE = 1024
"""Side of a tile of a larger one."""
OVERLAP = 128
GLANCE = 512 * 512
"""Pixels of the small copy that decides the colours of a picture painted in tiles."""
CACHE = 192_000_000
"""Bytes of drawings' features that are kept."""


class LivePainter:
    """A generator with a memory for drawings. Safe to share: calls take turns."""

    def __init__(self, generator: Generator, *, low_precision: bool | None = None) -> None:
        """`low_precision` works in bfloat16; by default where that is native."""
        self.device = next(generator.parameters()).device
        self.low_precision = fast_bf16(self.device) if low_precision is None else low_precision
        self.generator = generator
        quick = not self.low_precision and available(self.device)
        self._works = fused(generator) if quick else generator
        self._known: OrderedDict[bytes, Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def paint(
        self, inputs: NDArray[np.uint8], cells: NDArray[np.float32], *, mask: bool = False
    ) -> NDArray[np.uint8]:
        """Colours for what the generator sees.

        inputs (C, H, W) uint8: the drawing's or composition's channels; with `mask`, the last one
        is 0 or 255 and becomes {0, 1}. cells (4, ceil(H/4), ceil(W/4)): a hint map. -> (H, W, 3).

        Above MAX_PIXELS, a small copy is painted first and its colours become hints for every
        tile where the person gave none, so that tiles agree on what is what.

        Raises: OutOfMemory.
        """
        with self._lock:
            try:
                return self._paint(inputs, cells, mask)
            except torch.OutOfMemoryError as e:
                self._known.clear()
                raise OutOfMemory(
                    "The graphics card has too little memory for this picture: close other "
                    "programs that use it, or start with the processor (--device cpu)."
                ) from e

    def _paint(
        self, inputs: NDArray[np.uint8], cells: NDArray[np.float32], mask: bool
    ) -> NDArray[np.uint8]:
        _, height, width = inputs.shape
        if height * width <= MAX_PIXELS:
            return self._piece(inputs, cells, mask)
        glance = self._glance(inputs, cells, mask)
        canvas = np.zeros((height, width, 3), np.uint8)
        painted = list[Box]()
        for box in tiles(width, height, TILE, OVERLAP):
            part = (slice(None), slice(box.top, box.bottom), slice(box.left, box.right))
            there = (slice(None), *(slice(s.start // CELL, -(-s.stop // CELL)) for s in part[1:]))
            blend(canvas, self._piece(inputs[part], glance[there], mask), box, painted)
            painted.append(box)
        return canvas

    def _glance(
        self, inputs: NDArray[np.uint8], cells: NDArray[np.float32], mask: bool
    ) -> NDArray[np.float32]:
        """The hint map filled with the colours of a small copy of the whole."""
        _, height, width = inputs.shape
        scale = (GLANCE / (height * width)) ** 0.5
        w, h = max(round(width * scale), 1), max(round(height * scale), 1)
        small = np.stack(
            [cv2.resize(c, (w, h), interpolation=cv2.INTER_AREA) for c in inputs]
        ).astype(np.uint8)
        if mask:
            small[-1] = np.where(small[-1] > 127, 255, 0)
        few = gather(cells, -(-h // CELL), -(-w // CELL))
        colours = self._piece(small, few, mask)
        rows, columns = cells.shape[1:]
        grown = cv2.resize(colours, (columns, rows), interpolation=cv2.INTER_LINEAR)
        filled = np.ones_like(cells)
        filled[:3] = grown.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
        return np.where(cells[3] > 0, cells, filled).astype(np.float32)

    @torch.inference_mode()
    def _piece(
        self, inputs: NDArray[np.uint8], cells: NDArray[np.float32], mask: bool
    ) -> NDArray[np.uint8]:
        _, height, width = inputs.shape
        down, right = -height % STRIDE, -width % STRIDE
        padded = np.pad(inputs, ((0, 0), (0, down), (0, right)), mode="edge")
        rows, columns = padded.shape[1] // CELL, padded.shape[2] // CELL
        spare = ((0, 0), (0, rows - cells.shape[1]), (0, columns - cells.shape[2]))
        hints = torch.from_numpy(np.pad(cells, spare))[None].to(self.device)
        hints = hints.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision):
            picture = self._works.paint(self._encode(padded, mask), hints)
        rgb = picture[0, :, :height, :width].float().add(1).mul(127.5).round().clamp(0, 255)
        return np.ascontiguousarray(rgb.byte().permute(1, 2, 0).cpu().numpy())

    def _encode(self, padded: NDArray[np.uint8], mask: bool) -> Encoded:
        """The features of a drawing, from memory when it was seen of late."""
        content = np.ascontiguousarray(padded)
        key = hashlib.blake2b(content.data, digest_size=16).digest() + str(padded.shape).encode()
        if key not in self._known:
            pixels = torch.from_numpy(content)[None].to(self.device).float() / 127.5 - 1
            if mask:
                pixels[:, -1] = (pixels[:, -1] + 1) / 2
            self._known[key] = self._works.encode(pixels)
        self._known.move_to_end(key)
        while len(self._known) > 1 and sum(map(_size, self._known.values())) > CACHE:
            self._known.popitem(last=False)
        return self._known[key]


def _size(encoded: Encoded) -> int:
    return sum(t.nbytes for t in encoded)


def gather(cells: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """A hint map at a smaller size: a cell takes the mean of the hints that fall into it."""
    small = np.zeros((4, rows, columns), np.float32)
    y, x = np.nonzero(cells[3])
    to = (y * rows // cells.shape[1], x * columns // cells.shape[2])
    for channel, values in zip(small, cells, strict=True):
        np.add.at(channel, to, values[y, x])
    small[:3] /= np.maximum(small[3], 1)
    small[3] = small[3] > 0
    return small
