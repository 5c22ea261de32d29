"""Content-addressed stores: immutable bytes under their SHA-256."""

from deepsound.artifacts.opening import open_store
from deepsound.artifacts.protocol import Artifact, ArtifactStore

__all__ = ["Artifact", "ArtifactStore", "open_store"]
