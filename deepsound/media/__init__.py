"""Real media in and out: probe, decode once, audio streams, loudness, mux. Presentation times rule."""
