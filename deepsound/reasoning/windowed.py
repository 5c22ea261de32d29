"""Where the voice-over is, of a reasoner that only says whether there is any: asked again of every four seconds.

The reasoner sees each window as if it were a video of its own: a fresh observer watches it, from the frame that is
on show as it begins. A window's frames and sound begin at 0.
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
    """Windows every `HOP_SECONDS`, the last one cut at the end and reaching it; one for a shorter video."""
    count = max(int(np.ceil((duration - WINDOW_SECONDS) / HOP_SECONDS)), 0) + 1
    starts = [HOP_SECONDS * number for number in range(count)]
    return tuple(Span(start, min(start + WINDOW_SECONDS, duration)) for start in starts)


def with_windows(reasoner: Reasoner) -> Reasoner:
    """The reasoner, asked of windows too; one that tells spans by itself as it is."""
    tells = isinstance(reasoner, SupportsVoiceSpans) and reasoner.gives_voice_spans
    return reasoner if tells else WindowedReasoner(reasoner)


class WindowObserver:
    """Watches a video as many short ones. Its observation: what each window's observer kept, as `number/array`.

    That grows with the video, by two windows' worth a window's length, so it is kept on disk.
    """

    def __init__(self, make: Callable[[], Observer]) -> None:
        self._make = make
        whole = make()
        self.name, self.version = f"{_PREFIX}{whole.name}", f"{VERSION}/{whole.version}"
        self.sampling: FrameSampling = whole.sampling
        self._begun = 0
        self._open: dict[int, Observer] = {}
        self._kept, self._spool = list[str](), ArraySpool()
        self._on_show: NDArray[np.uint8] | None = None

    def see(self, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
        """Hand each window its frames, by its own clock."""
        while len(times) and (start := self._begun * HOP_SECONDS) <= times[-1]:
            before = int(np.searchsorted(times, start, side="right")) - 1
            on_show = frames[before] if before >= 0 else self._on_show
            self._open[self._begun] = self._make()
            if on_show is not None and (before < 0 or times[before] < start):
                self._open[self._begun].see(on_show[None], np.zeros(1))
            self._begun += 1
        for number, observer in list(self._open.items()):
            at = times - number * HOP_SECONDS
            inside = (at >= 0) & (at < WINDOW_SECONDS)
            if inside.any():
                observer.see(frames[inside], at[inside])
            if len(at) and at[-1] >= WINDOW_SECONDS:
                self._keep(number)
        if len(frames):
            self._on_show = frames[-1].copy()

    def finish(self) -> Observation:
        """All of them."""
        for number in list(self._open):
            self._keep(number)
        return dict(zip(self._kept, self._spool.arrays(), strict=True))

    def _keep(self, number: int) -> None:
        for key, array in self._open.pop(number).finish().items():
            self._kept.append(f"{number}/{key}")
            self._spool.put(array)


class WindowedReasoner:
    """A reasoner that is asked of the whole, and unless that has no voice-over, of every window."""

    def __init__(self, reasoner: Reasoner) -> None:
        self._asked = reasoner
        self.name = reasoner.name
        self.version = f"{reasoner.version}/windows {VERSION}/{WINDOW_SECONDS:g}/{HOP_SECONDS:g}"

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """Those of the reasoner."""
        return self._asked.models

    def observers(self) -> Sequence[Observer]:
        """The reasoner's own, and as many for windows."""
        whole = self._asked.observers()
        return [*whole, *(WindowObserver(lambda name=each.name: self._fresh(name)) for each in whole)]

    def plan(self, footage: Footage) -> Reply:
        """The reasoner's plan."""
        return self._asked.plan(footage)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """The reply on the whole, with `windows` and, from their yeses, `voices`. Raises what it raises."""
        whole, spans = self._asked.judge(footage, audio), window_spans(footage.info.duration)
        if judgement_of(whole).verdict is Verdict.NO or len(spans) == 1:
            return whole
        windows = self._windows(footage, audio, spans)
        every = [whole, *(window.reply for window in windows)]
        return replace(
            whole,
            voices=_voices(windows),
            frames=tuple(sorted({frame for each in every for frame in each.frames}, key=lambda shown: shown.time)),
            windows=windows,
        )

    def _windows(self, footage: Footage, audio: Path, spans: Sequence[Span]) -> tuple[WindowReply, ...]:
        """As many at the same time as the reasoner answers together."""
        concurrency = self._asked.concurrency if isinstance(self._asked, SupportsConcurrency) else 1

        def asked(number: int) -> WindowReply:
            return self._window(footage, audio, number, spans[number])

        with ThreadPoolExecutor(concurrency, thread_name_prefix="window") as threads:
            return tuple(threads.map(asked, range(len(spans))))

    def _window(self, footage: Footage, audio: Path, number: int, span: Span) -> WindowReply:
        observations = {
            name.removeprefix(_PREFIX): _of_window(observation, number)
            for name, observation in footage.observations.items()
            if name.startswith(_PREFIX)
        }
        short = replace(footage, info=replace(footage.info, duration=span.duration), observations=observations)
        with tempfile.TemporaryDirectory(prefix="deepsound-") as folder:
            cut = Path(folder) / "window.wav"
            sound = audio_format(audio)
            first, last = (round(at * sound.sample_rate) for at in (span.start, span.end))
            write_float_wav(cut, sound.sample_rate, sound.channels, [read_span(audio, first, last)])
            said = self._asked.judge(short, cut)
        shown = tuple(replace(frame, time=frame.time + span.start) for frame in said.frames)
        return WindowReply(span, replace(said, frames=shown))

    def _fresh(self, name: str) -> Observer:
        return next(observer for observer in self._asked.observers() if observer.name == name)


def _of_window(observation: Observation, number: int) -> Observation:
    """What was kept of a window; where no frame began a window that late, of the last one there was."""
    there = {int(key.partition("/")[0]) for key in observation}
    prefix = f"{min(number, max(there, default=0))}/"
    # By key, since every other array would be read from the disk for nothing.
    return {key.removeprefix(prefix): observation[key] for key in observation if key.startswith(prefix)}


def _voices(windows: Sequence[WindowReply]) -> tuple[VoiceSpan, ...]:
    """Windows with voice-over, merged; as sure as they are on average, or wholly where none has a probability."""
    heard = [window for window in windows if judgement_of(window.reply).verdict is Verdict.YES]
    return tuple(
        VoiceSpan(span, person_visible=False, confidence=_confidence(span, heard))
        for span in merge(window.span for window in heard)
    )


def _confidence(span: Span, heard: Sequence[WindowReply]) -> float:
    within = [window.reply.probability for window in heard if span.start <= window.span.start < span.end]
    known = [probability for probability in within if probability is not None]
    return fmean(known) if known else 1.0
