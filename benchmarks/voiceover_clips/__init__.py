"""The clips of the voice-over benchmark: who is heard, who is seen, and in which half of the material."""
