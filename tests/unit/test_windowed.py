"""Windows: locating voice-over with a reasoner that only knows whether there is any."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import BrokenBarrierError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.backends import load_reasoner
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.observation_files import load_observations, save_observations
from deepsound.media.observers import Footage
from deepsound.reasoning.ensemble import judgement_of
from deepsound.reasoning.still_frames import STILLS, StillsObserver, jpegs
from deepsound.reasoning.windowed import WindowObserver, window_spans, with_windows
from deepsound.spans import Span
from tests.dummy_reasoner import WATCHING
from tests.made_clips import bouncing_ball, write_clip
from tests.third_party_backends import install_plugin
from tests.voice_samples import place, speak

RATE = 48_000
SECONDS = 10.0

CONCURRENT = WATCHING.replace(
    "    def judge(self, footage, audio):",
    """
    concurrency = 2
    barrier = threading.Barrier(2)

    def judge(self, footage, audio):
        if footage.info.duration <= 4.0:
            self.barrier.wait(timeout=60.0)
""",
).replace("import math", "import math, threading", 1)
"""The same meter, which answers about windows only two at a time."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "ball.mp4"
    return write_clip(path, seconds=SECONDS, frames=bouncing_ball([0.5]))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise, with one sentence from 4.1 s on."""
    path = tmp_path_factory.mktemp("sound") / "coarse.wav"
    hiss = np.random.default_rng(1).normal(0, 0.003, int(SECONDS * RATE))
    voice = 0.5 * place(speak("Nobody stood here."), 4.1, SECONDS)
    write_float_wav(path, RATE, 1, [(hiss + voice[: len(hiss)]).astype(np.float32)[:, np.newaxis]])
    return path


@pytest.fixture
def meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    install_plugin(tmp_path, "deepsound.reasoners", "watching_meter", WATCHING)
    monkeypatch.syspath_prepend(tmp_path)
    return "watching_meter:-25"


def seen_by(reasoner_name: str, clip: Path) -> Footage:
    return decode_video(clip, with_windows(load_reasoner(reasoner_name)).observers())


@given(st.floats(0.01, 10_000.0))
def test_windows_cover_exactly_the_video(duration: float):
    spans = window_spans(duration)
    assert (spans[0].start, spans[-1].end) == (0.0, duration)
    for before, after in pairwise(spans):
        assert (after.start - before.start, before.duration) == (2.0, 4.0)
        assert after.end > before.end
    assert all(span.duration > 0 for span in spans)


def test_a_video_of_four_seconds_or_less_has_one_window():
    assert window_spans(4.0) == (Span(0.0, 4.0),)
    assert window_spans(4.5) == (Span(0.0, 4.0), Span(2.0, 4.5))


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30))
def test_each_window_is_observed_like_a_separate_video(blocks: list[int]):
    times = np.cumsum([0.0, *np.tile([0.3, 0.5, 0.25], 20)])[: sum(blocks)]
    frames = np.arange(len(times), dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    watching, at = WindowObserver(StillsObserver), 0
    for size in blocks:
        watching.see(frames[at : at + size], times[at : at + size])
        at += size
    kept = watching.finish()
    windows = {int(key.partition("/")[0]) for key in kept}
    assert windows == {number for number in range(99) if len(times) and number * 2.0 <= times[-1]}
    for number in windows:
        alone = StillsObserver()
        start = 2.0 * number
        first = int(np.searchsorted(times, start, side="right")) - 1
        inside = (times >= times[first]) & (times < start + 4.0)
        alone.see(frames[inside], np.maximum(times[inside] - start, 0.0))
        for key, array in alone.finish().items():
            assert np.array_equal(kept[f"{number}/{key}"], array)


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path):
    def peak_of(seconds: int) -> int:
        noise = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), np.uint8)
        watching, stored = WindowObserver(StillsObserver), tmp_path / f"{seconds}.safetensors"
        tracemalloc.start()
        for second in range(seconds):
            watching.see(noise, second + np.arange(4) / 4)
        save_observations({watching.name: watching.finish()}, stored)
        [watched] = load_observations(stored).values()
        assert watched[f"{seconds // 2 - 1}/time"].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_of(20)
    assert peak_of(600) < peak_of(20) + 2_000_000


def test_windows_with_voice_over_become_voice_spans(meter: str, clip: Path, sound: Path, tmp_path: Path):
    footage = seen_by(meter, clip)
    save_observations(footage.observations, tmp_path / "observations")
    assert set(load_observations(tmp_path / "observations")) == {STILLS, f"windows of {STILLS}"}
    reply = with_windows(load_reasoner(meter)).judge(footage, sound)
    assert [window.span.start for window in reply.windows] == [0.0, 2.0, 4.0, 6.0]
    assert [judgement_of(window.reply).verdict for window in reply.windows] == ["no", "yes", "yes", "no"]
    [voice] = reply.voices
    assert (voice.span, voice.off_screen) == (Span(2.0, 8.0), True)


def test_each_window_has_its_own_frames(meter: str, clip: Path, sound: Path):
    watched = seen_by(meter, clip).observations[f"windows of {STILLS}"]
    for number in range(4):
        times = watched[f"{number}/time"]
        assert times[0] == 0.0
        assert 3.0 < times[-1] < 4.0
        one = {key.partition("/")[2]: array for key, array in watched.items() if key.startswith(f"{number}/")}
        assert len(jpegs(one)) == len(times) == 16


def test_windows_are_asked_about_concurrently_if_the_reasoner_supports_it(
    meter: str, clip: Path, sound: Path, tmp_path: Path
):
    install_plugin(tmp_path, "deepsound.reasoners", "concurrent_meter", CONCURRENT)
    footage = seen_by(meter, clip)
    alone, beside = (
        with_windows(load_reasoner(name)).judge(footage, sound) for name in (meter, "concurrent_meter:-25")
    )
    assert beside == alone
    assert len(beside.windows) == 4


def test_an_error_in_one_window_fails_the_judgement(meter: str, clip: Path, sound: Path, tmp_path: Path):
    install_plugin(
        tmp_path, "deepsound.reasoners", "failing_meter", CONCURRENT.replace("(2)", "(3)").replace("60.0", "0.1")
    )
    with pytest.raises(BrokenBarrierError):
        with_windows(load_reasoner("failing_meter:-25")).judge(seen_by(meter, clip), sound)


def test_a_video_without_voice_over_is_not_asked_about_again(meter: str, clip: Path, sound: Path):
    deaf = meter.replace("-25", "0")
    reply = with_windows(load_reasoner(deaf)).judge(seen_by(deaf, clip), sound)
    assert reply.windows == ()
    assert reply.voices == ()


def test_a_reasoner_that_gives_voice_spans_is_not_wrapped():
    evidence = load_reasoner("evidence")
    assert with_windows(evidence) is evidence


def test_later_windows_see_a_frame_that_stays_displayed(meter: str, clip: Path, sound: Path):
    footage, slide = seen_by(meter, clip), WindowObserver(StillsObserver)
    slide.see(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1))
    held = {**footage.observations, slide.name: slide.finish()}
    reply = with_windows(load_reasoner(meter)).judge(replace(footage, observations=held), sound)
    assert len(reply.windows) == 4
    assert [voice.span for voice in reply.voices] == [Span(2.0, 8.0)]
