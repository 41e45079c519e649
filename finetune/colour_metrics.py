"""How well a drawing is coloured: distances to the original, and to what the strokes asked for.

Pictures are PIL RGB. Colour differences are CIEDE2000 (Sharma et al. 2005): 1 is just seen, 5 is
plain, 20 is another colour. LPIPS and FID need networks whose weights do not come with this
project; in their place stand features of our own judge, a CLIP that guided nothing, and the names
say so. LPIPS itself is told as well where its weights are given.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from finetune.perceptual import LPIPS
from pipelines.colorize.features import patch_features
from pipelines.vqgan_clip.clip import CLIP

PAPER = 200
"""Line art brighter than this, of 255, is paper: colours are compared there alone."""

LINE_REACH = 5
"""Pixels around the edge of a region that belong to neither side."""


def psnr(fake: Image.Image, real: Image.Image) -> float:
    """In dB, peak 255; at most 80."""
    if np.array_equal(np.asarray(fake), np.asarray(real)):
        return 80.0
    return float(peak_signal_noise_ratio(np.asarray(real), np.asarray(fake), data_range=255))


def ssim(fake: Image.Image, real: Image.Image) -> float:
    """Structural similarity in [-1, 1] with the Gaussian window of Wang et al. 2004."""
    found = structural_similarity(
        np.asarray(real), np.asarray(fake), channel_axis=2, data_range=255,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    return float(np.asarray(found))


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIEDE2000 of two pictures or lists of colours, (..., 3) each -> (...)."""
    return np.asarray(deltaE_ciede2000(rgb2lab(a), rgb2lab(b)), np.float64)


def hint_distance(picture: Image.Image, hints: Image.Image, lineart: Image.Image) -> float | None:
    """Mean CIEDE2000 between strokes and the picture under them, where there is no line.

    None where there is no stroke. hints: PIL RGBA, lineart: PIL L, both of the picture's size.
    """
    layer = np.asarray(hints.convert("RGBA"))
    where = (layer[..., 3] > 127) & (np.asarray(lineart) > PAPER)
    if not where.any():
        return None
    return float(difference(np.asarray(picture)[where], layer[where][:, :3]).mean())


def leakage(
    before: Image.Image, after: Image.Image, region: NDArray[np.bool_], lineart: Image.Image
) -> float | None:
    """How much a stroke in `region` (H, W) has changed what lies outside of it, as a share of
    what it has changed inside; both are means of CIEDE2000.

    None where the stroke changed next to nothing: who ignores strokes does not leak.
    """
    reach = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * LINE_REACH + 1,) * 2)
    near = cv2.dilate(region.astype(np.uint8), reach).astype(np.bool_)
    paper = np.asarray(lineart) > PAPER
    means = list[float]()
    for where in (region & paper, ~near & paper):
        changes = difference(np.asarray(before)[where], np.asarray(after)[where])
        means.append(float(changes.mean()) if changes.size else 0.0)
    inside, outside = means
    return outside / inside if inside > 2 else None


def changed_outside(before: Image.Image, after: Image.Image, inside: NDArray[np.bool_]) -> float:
    """Pixels outside a mask (H, W) that differ at all."""
    differs = (np.asarray(before) != np.asarray(after)).any(axis=2)
    return float((differs & ~inside).sum())


@torch.no_grad()
def lpips(network: LPIPS, fake: Image.Image, real: Image.Image) -> float:
    """How far two pictures are apart to a classifier's features (Zhang et al. 2018)."""
    device = network.mean.device
    one, other = (
        torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float().to(device) / 127.5 - 1
        for p in (fake, real)
    )
    return float(network(one, other))


# --- features of our own judge ---------------------------------------------------------------


@torch.no_grad()
def patches(judge: CLIP, pictures: Sequence[Image.Image]) -> Tensor:
    """Features of every patch of every picture, (N, P, D) float32 on the CPU."""
    device = judge.model.logit_scale.device
    seen = list[Tensor]()
    for picture in pictures:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        seen.append(patch_features(judge, pixels.to(device)).flatten(2).transpose(1, 2).cpu())
    return torch.cat(seen)


def patch_distance(fake: Tensor, real: Tensor) -> float:
    """1 - cosine similarity of patches at the same places, (N, P, D) each; in the place of LPIPS
    (Zhang et al. 2018), which compares a classifier's features in this way."""
    return float(1 - F.cosine_similarity(fake, real, dim=-1).mean())


def frechet_distance(fake: Tensor, real: Tensor) -> float:
    """Between the normal distributions of two sets of features, (..., D) each.

    Source: FID, Heusel et al. 2017. We differ in the features: those of single patches, of which
    even a few pictures have thousands.
    """
    a, b = (x.reshape(-1, x.shape[-1]).double() for x in (fake, real))
    one, two = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # The trace of the root of a product is the sum of the roots of its eigenvalues, which are
    # those of this symmetric matrix.
    shared = torch.linalg.eigvalsh(root @ two @ root).clamp_min(0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return float((means + one.trace() + two.trace() - 2 * shared).clamp_min(0))
