"""Model files: catalogue, local copies, download, checkpoints, identity, licences; and batched inference."""
