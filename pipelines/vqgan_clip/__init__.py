"""VQGAN+CLIP: a sentence becomes a picture."""

from pipelines.vqgan_clip.pipeline import VQGANCLIPPipeline

__all__ = ["VQGANCLIPPipeline"]
