"""The embedded reasoner `evidence`: compares detected speech with detected faces and reports its measurements."""

from deepsound.reasoning.evidence.reasoner import Evidence

__all__ = ["Evidence"]
