"""Content-addressed stores: immutable bytes under their SHA-256."""

from deepsound.storage.protocol import Artifact, ArtifactStore
from deepsound.storage.store_urls import open_store

__all__ = ["Artifact", "ArtifactStore", "open_store"]
