"""Audio-video chat models of transformers, run here."""

from deepsound.reasoning.omni.reasoner import Omni

__all__ = ["Omni"]
