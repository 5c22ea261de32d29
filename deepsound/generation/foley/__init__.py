"""Procedural foley: sight (curves), onsets, scenes and steering decide; modal, textures and mix sound."""

from deepsound.generation.foley.backend import Foley

__all__ = ["Foley"]
