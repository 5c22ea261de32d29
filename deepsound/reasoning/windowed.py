"""Locates voice-over by asking a reasoner that only knows whether there is any about windows of four seconds.

The reasoner sees each window as a separate video: a new observer processes it, starting with the frame displayed
at its start. Times of a window's frames and audio start at 0.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from deepsound.cot import Verdict
from deepsound.media.audio import audio_format, read_span, write_float_wav
from deepsound.media.disk_arrays import ArraySpool
from deepsound.media.observers import Footage, FrameSampling, Observation, Observer
from deepsound.models.identity import ModelIdentity
from deepsound.reasoning.ensemble import judgement_of
from deepsound.reasoning.protocol import (
    Reasoner,
    Reply,
    SupportsConcurrency,
    SupportsVoiceSpans,
    VoiceSpan,
    WindowReply,
)
from deepsound.spans import Span, merge

WINDOW_SECONDS = 4.0
HOP_SECONDS = 2.0

VERSION = "1"

_PREFIX = "windows of "


def window_spans(duration: float) -> tuple[Span, ...]:
    """Windows every `HOP_SECONDS`; the last one ends with the video. A shorter video has one window."""
    count = max(int(np.ceil((duration - WINDOW_SECONDS) / HOP_SECONDS)), 0) + 1
    starts = [HOP_SECONDS * number for number in range(count)]
    return tuple(Span(start, min(start + WINDOW_SECONDS, duration)) for start in starts)


def with_windows(reasoner: Reasoner) -> Reasoner:
    """Wrap a reasoner so that it is asked about windows too, unless it gives voice spans itself."""
    gives_spans = isinstance(reasoner, SupportsVoiceSpans) and reasoner.gives_voice_spans
    return reasoner if gives_spans else WindowedReasoner(reasoner)


class WindowObserver:
    """Observes every window of a video with an observer of its own. Arrays are named `number/array`.

    They grow with the video (windows overlap, so twice the arrays of the whole), so they are kept on disk.
    """

    def __init__(self, make: Callable[[], Observer]) -> None:
        self._make = make
        whole = make()
        self.name, self.version = f"{_PREFIX}{whole.name}", f"{VERSION}/{whole.version}"
        self.sampling: FrameSampling = whole.sampling
        self._started = 0
        self._open: dict[int, Observer] = {}
        self._names, self._spool = list[str](), ArraySpool()
        self._displayed: NDArray[np.uint8] | None = None

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Pass each window its frames, with times relative to its start."""
        while len(times) and (start := self._started * HOP_SECONDS) <= times[-1]:
            before = int(np.searchsorted(times, start, side="right")) - 1
            displayed = frames[before] if before >= 0 else self._displayed
            self._open[self._started] = self._make()
            if displayed is not None and (before < 0 or times[before] < start):
                self._open[self._started].see(displayed[None], np.zeros(1))
            self._started += 1
        for number, observer in list(self._open.items()):
            at = times - number * HOP_SECONDS
            inside = (at >= 0) & (at < WINDOW_SECONDS)
            if inside.any():
                observer.see(frames[inside], at[inside])
            if len(at) and at[-1] >= WINDOW_SECONDS:
                self._close(number)
        if len(frames):
            self._displayed = frames[-1].copy()

    def finish(self) -> Observation:
        """Return the arrays of all windows."""
        for number in list(self._open):
            self._close(number)
        return dict(zip(self._names, self._spool.arrays(), strict=True))

    def _close(self, number: int) -> None:
        for key, array in self._open.pop(number).finish().items():
            self._names.append(f"{number}/{key}")
            self._spool.put(array)


class WindowedReasoner:
    """Asks a reasoner about the whole video and, unless that has no voice-over, about every window."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._reasoner = reasoner
        self.name = reasoner.name
        self.version = f"{reasoner.version}/windows {VERSION}/{WINDOW_SECONDS:g}/{HOP_SECONDS:g}"

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Weights of the reasoner."""
        return self._reasoner.models

    def observers(self) -> Sequence[Observer]:
        """The reasoner's observers, and a window observer for each."""
        whole = self._reasoner.observers()
        return [*whole, *(WindowObserver(lambda name=one.name: self._new_observer(name)) for one in whole)]

    def plan(self, footage: Footage) -> Reply:
        """Return the reasoner's plan."""
        return self._reasoner.plan(footage)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Return the reply on the whole video with `windows`, and `voices` where they found voice-over."""
        whole, spans = self._reasoner.judge(footage, audio), window_spans(footage.info.duration)
        if judgement_of(whole).verdict is Verdict.NO or len(spans) == 1:
            return whole
        windows = self._windows(footage, audio, spans)
        replies = [whole, *(window.reply for window in windows)]
        return replace(
            whole,
            voices=_voices(windows),
            frames=tuple(
                sorted({frame for reply in replies for frame in reply.frames}, key=lambda frame: frame.time)
            ),
            windows=windows,
        )

    def _windows(self, footage: Footage, audio: Path, spans: Sequence[Span]) -> tuple[WindowReply, ...]:
        """Ask about all windows, as many at a time as the reasoner answers together."""
        concurrency = self._reasoner.concurrency if isinstance(self._reasoner, SupportsConcurrency) else 1

        def ask(number: int) -> WindowReply:
            return self._window(footage, audio, number, spans[number])

        with ThreadPoolExecutor(concurrency, thread_name_prefix="window") as threads:
            return tuple(threads.map(ask, range(len(spans))))

    def _window(self, footage: Footage, audio: Path, number: int, span: Span) -> WindowReply:
        observations = {
            name.removeprefix(_PREFIX): _window_arrays(observation, number)
            for name, observation in footage.observations.items()
            if name.startswith(_PREFIX)
        }
        window_footage = replace(
            footage, info=replace(footage.info, duration=span.duration), observations=observations
        )
        with tempfile.TemporaryDirectory(prefix="deepsound-") as folder:
            cut = Path(folder) / "window.wav"
            sound = audio_format(audio)
            first, last = (round(at * sound.sample_rate) for at in (span.start, span.end))
            write_float_wav(cut, sound.sample_rate, sound.channels, [read_span(audio, first, last)])
            reply = self._reasoner.judge(window_footage, cut)
        frames = tuple(replace(frame, time=frame.time + span.start) for frame in reply.frames)
        return WindowReply(span, replace(reply, frames=frames))

    def _new_observer(self, name: str) -> Observer:
        return next(observer for observer in self._reasoner.observers() if observer.name == name)


def _window_arrays(observation: Observation, number: int) -> Observation:
    """The arrays of a window; of the last one observed if no frame started a window that late."""
    observed = {int(key.partition("/")[0]) for key in observation}
    prefix = f"{min(number, max(observed, default=0))}/"
    # Iterate over keys: iterating over items would read every array from disk.
    return {key.removeprefix(prefix): observation[key] for key in observation if key.startswith(prefix)}


def _voices(windows: Sequence[WindowReply]) -> tuple[VoiceSpan, ...]:
    """Merged windows with voice-over. Their confidence is the mean probability, or 1 without probabilities."""
    voiced = [window for window in windows if judgement_of(window.reply).verdict is Verdict.YES]
    return tuple(
        VoiceSpan(span, person_visible=False, confidence=_confidence(span, voiced))
        for span in merge(window.span for window in voiced)
    )


def _confidence(span: Span, voiced: Sequence[WindowReply]) -> float:
    within = [window.reply.probability for window in voiced if span.start <= window.span.start < span.end]
    known = [probability for probability in within if probability is not None]
    return fmean(known) if known else 1.0
