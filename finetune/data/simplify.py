"""Flat colouring of a picture: what somebody would pick who colours it in with a few pens."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.colorize.hints import kmeans

MOST_COLOURS = 25
SMALLEST_REGION = 6
"""Pixels at half the size; smaller regions are given to their neighbours."""


def flatten(rgb: NDArray[np.uint8], *, colours: int = MOST_COLOURS) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> the same of flat regions with at most `colours` colours; H, W even.

    Light and texture are smoothed away at half the size, what is left is cut into regions, each
    takes the median colour of the picture under it, k-means brings the colours down to `colours`,
    and the edges are drawn at full size. Source: the guides of StencilTorch (Hati et al. 2023).
    """
    height, width = rgb.shape[:2]
    half = np.asarray(
        cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8
    )
    regions = _merge_small(_segment(half, colours))
    medians, sizes = _medians(half, regions)
    points = to_lab(medians)
    # A region counts once, and again for every 1/500 of the picture.
    votes = np.repeat(points, 1 + sizes * 500 // regions.size, axis=0)
    _, centres = kmeans(votes, min(colours, len(np.unique(votes, axis=0))))
    rgb_centres = cv2.cvtColor(centres[None], cv2.COLOR_LAB2RGB)[0]
    flat = np.round(rgb_centres * 255).clip(0, 255).astype(np.uint8)
    return _sharpen(flat[_distances(points, centres).argmin(1)][regions], rgb)


def l0_smooth(
    image: NDArray[np.float32], *, weight: float = 0.02, kappa: float = 4.0, most: float = 2e3
) -> NDArray[np.float32]:
    """(3, H, W) in [0, 1], smoothed so that few gradients are left; edges stay sharp.

    Source: L0 gradient minimisation (Xu et al. 2011), half-quadratic splitting solved with the
    FFT. `weight` is their lambda, `most` the last beta. Their kappa 2 and beta up to 1e5 take
    more than twice as many rounds for a picture that looks the same once it is quantised.
    """
    response = _gradient_response(image.shape[1], image.shape[2])
    planes = image.copy()
    spectra = np.stack([cv2.dft(p) for p in planes])
    beta = 2 * weight
    while beta < most:
        right = np.empty_like(planes)
        below = np.empty_like(planes)
        np.subtract(planes[..., 1:], planes[..., :-1], out=right[..., :-1])
        np.subtract(planes[..., 0], planes[..., -1], out=right[..., -1])
        np.subtract(planes[:, 1:], planes[:, :-1], out=below[:, :-1])
        np.subtract(planes[:, 0], planes[:, -1], out=below[:, -1])
        energy = np.square(right) + np.square(below)
        large = (energy[0] + energy[1] + energy[2]) >= weight / beta
        right *= large
        below *= large
        divergence = -right - below
        divergence[..., 1:] += right[..., :-1]
        divergence[..., 0] += right[..., -1]
        divergence[:, 1:] += below[:, :-1]
        divergence[:, 0] += below[:, -1]
        for c in range(3):
            target = spectra[c] + np.float32(beta) * cv2.dft(divergence[c])
            planes[c] = cv2.idft(target / (1 + np.float32(beta) * response), flags=cv2.DFT_SCALE)
        beta *= kappa
    return planes.clip(0, 1)


@cache
def _gradient_response(height: int, width: int) -> NDArray[np.float32]:
    """|F(d/dx)|^2 + |F(d/dy)|^2 in the packed layout of cv2.dft on real input, (H, W)."""
    y = 2 - 2 * np.cos(2 * np.pi * np.arange(height) / height)
    x = 2 - 2 * np.cos(2 * np.pi * np.arange(width) / width)
    # Packed columns hold frequency 0, then pairs (real, imaginary) of 1, 2, ...; of rows likewise
    # in the columns of frequency 0 and width/2.
    column = (np.arange(width) + 1) // 2
    row = (np.arange(height) + 1) // 2
    packed = y[:, None] + x[column][None, :]
    packed[:, 0] = y[row] + x[0]
    if width % 2 == 0:
        packed[:, -1] = y[row] + x[width // 2]
    return packed.astype(np.float32)


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 3) uint8 -> CIE L*a*b*."""
    lab = cv2.cvtColor(rgb[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab[0], np.float32)


def _distances(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K) squared distances, short of what all centres share."""
    return (centres**2).sum(1) - 2 * points @ centres.T


def _segment(rgb: NDArray[np.uint8], colours: int) -> NDArray[np.int32]:
    """(H, W, 3) -> (H, W) number of the connected region of one colour, from 0."""
    height, width = rgb.shape[:2]
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32) / np.float32(255)
    smooth = np.ascontiguousarray(l0_smooth(planes).transpose(1, 2, 0))
    lab = np.asarray(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), np.float32)
    sample = lab[::4, ::4].reshape(-1, 3)
    _, centres = kmeans(sample, min(colours, len(np.unique(sample, axis=0))), rounds=4)
    labels = _distances(lab.reshape(-1, 3), centres).argmin(1).reshape(height, width)
    regions = np.zeros((height, width), np.int32)
    count = 0
    for n in range(len(centres)):
        found, parts = cv2.connectedComponents((labels == n).astype(np.uint8), connectivity=4)
        inside = parts > 0
        regions[inside] = parts[inside] + (count - 1)
        count += found - 1
    return regions


def _sharpen(flat: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Flat colours of half the size -> (H, W, 3): the best of the four nearest for each pixel."""
    target = cv2.medianBlur(rgb, 3)
    padded = np.pad(flat, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = flat.shape[:2]
    sharp, best = np.empty_like(rgb), np.full(rgb.shape[:2], 255, np.uint8)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        candidate = np.empty_like(rgb)
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1)):
            # The half-size neighbour on the side where this pixel lies.
            top, left = 1 + dy * (2 * y - 1), 1 + dx * (2 * x - 1)
            candidate[y::2, x::2] = padded[top : top + height, left : left + width]
        apart = cv2.transform(cv2.absdiff(candidate, target), np.full((1, 3), 1 / 3, np.float32))
        cv2.copyTo(candidate, (apart <= best).astype(np.uint8), sharp)
        best = cv2.min(best, apart)
    return sharp


def _merge_small(regions: NDArray[np.int32]) -> NDArray[np.int32]:
    """Pixels of small regions join the region of the nearest pixel of a large one."""
    sizes = np.bincount(regions.ravel())
    small = (sizes < SMALLEST_REGION)[regions]
    if small.all() or not small.any():
        return regions
    _, nearest = cv2.distanceTransformWithLabels(
        small.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(nearest, np.int32)
    of_pixel = np.zeros(int(nearest.max()) + 1, np.int32)
    of_pixel[nearest[~small]] = regions[~small]
    merged = of_pixel[nearest]
    numbers = np.cumsum(np.bincount(merged.ravel()) > 0) - 1
    return numbers.astype(np.int32)[merged]


def _medians(
    rgb: NDArray[np.uint8], regions: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Median colour (R, 3) and size (R,) of every region, channel by channel."""
    sizes = np.bincount(regions.ravel())
    middle = np.cumsum(sizes) - sizes + sizes // 2
    keys = regions.reshape(-1, 1) * 256 + rgb.reshape(-1, 3)
    return (np.sort(keys, axis=0)[middle] & 255).astype(np.uint8), sizes
