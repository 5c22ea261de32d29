"""The message: pictures, sounds, and the question."""

from base64 import b64encode
from collections.abc import Sequence

from deepsound.canonical_json import Json
from deepsound.reasoning.served.audio_input import WavWindow


def message(pictures: Sequence[bytes], heard: Sequence[WavWindow], prompt: str) -> list[Json]:
    """Content parts of OpenAI's chat protocol: JPEG files as data URLs, WAV files, and the text."""
    images = [f"data:image/jpeg;base64,{b64encode(picture).decode()}" for picture in pictures]
    sounds = [b64encode(window.wav).decode() for window in heard]
    return [
        *({"type": "image_url", "image_url": {"url": image}} for image in images),
        *({"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}} for sound in sounds),
        {"type": "text", "text": prompt},
    ]
