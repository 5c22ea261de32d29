"""The embedded reasoner `evidence`: speech and faces by small networks, reasoning that can be checked."""

from deepsound.reasoning.evidence.reasoner import Evidence

__all__ = ["Evidence"]
