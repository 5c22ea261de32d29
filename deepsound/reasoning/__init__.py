"""Reasoners: backends that plan (step 0) and judge whether video and audio have voice-over (step 2)."""
