"""Step 3: take the voice out."""
