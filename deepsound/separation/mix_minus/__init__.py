"""Mix minus, the broadcast term for a mix without one of its sources: here, everything but the voices."""

from deepsound.separation.mix_minus.separator import MixMinus

__all__ = ["MixMinus"]
