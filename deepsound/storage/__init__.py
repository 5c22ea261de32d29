"""Storage: files in folders, buckets and other kinds of location; artifacts under the SHA-256 of their bytes."""

from deepsound.storage.protocol import Artifact, ArtifactStore, FileStat, Location
from deepsound.storage.store_urls import open_store

__all__ = ["Artifact", "ArtifactStore", "FileStat", "Location", "open_store"]
