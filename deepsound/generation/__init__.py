"""Step 1: audio from video."""
