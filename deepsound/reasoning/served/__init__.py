"""The reasoner `served:<url>`: a multimodal model behind any server that speaks OpenAI's chat protocol."""

from deepsound.reasoning.served.reasoner import Served

__all__ = ["Served"]
