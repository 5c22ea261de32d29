"""`--windows`: locating voice-over with a reasoner that only knows whether there is any."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from db.integrity.verify import verify_run
from tests.archive_setup import Archive
from tests.dummy_reasoner import WATCHING
from tests.integration.test_dub import sound_of
from tests.made_clips import write_clip
from tests.third_party_backends import install_plugin
from tests.voice_samples import place, speak

pytestmark = pytest.mark.integration

RATE, SECONDS = 48_000, 10.0


def one_sentence(path: Path) -> Path:
    """Ten seconds of noise, with one sentence from 4.1 s on."""
    hiss = np.random.default_rng(1).normal(0, 0.003, int(SECONDS * RATE)).astype(np.float32)
    voice = 0.5 * place(speak("Nobody stood here."), 4.1, SECONDS)[: len(hiss)]
    return write_clip(path, seconds=SECONDS, audio=hiss + voice, audio_rate=RATE)


def test_only_windows_with_voice_over_change_and_every_reply_is_kept_in_full(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "watching_meter", WATCHING)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = one_sentence(archive.folder / "reel.mp4")
    flags = {"generator": "soundtrack", "reasoner": "watching_meter:-25", "loudness": False}
    [result] = archive.dub(clip, windows=True, **flags)
    assert (result.outcome, result.verdict) == ("done", "yes")
    [item] = archive.items()
    judged, separated = (
        next(attempt for attempt in item.attempts if attempt.step == step) for step in ("judge", "separate")
    )
    windows = judged.result["windows"]
    assert [(window["start"], window["verdict"]) for window in windows] == [
        (0.0, "no"),
        (2.0, "yes"),
        (4.0, "yes"),
        (6.0, "no"),
    ]
    for before, window in pairwise([{"raw": [0, 0]}, *windows]):
        start, end = window["raw"]
        assert before["raw"][1] < start
        assert judged.raw_output[:start].endswith(f"[{window['start']:g} to {window['end']:g} s]\n")
        assert judged.raw_output[start:end].count("<CONCLUSION>") == 1
    [decision] = judged.decisions
    assert judged.raw_output[decision.span_start : decision.span_end] == "A"

    [effect] = separated.effects
    assert 1.5 < effect.start_seconds <= 2.0
    assert 8.0 <= effect.end_seconds < 8.5
    coarse = next(link.artifact_sha256 for link in separated.artifacts if link.role == "coarse")
    with archive.worker.store.local(coarse) as kept:
        before = sound_of(kept)
    background = next(link.artifact_sha256 for link in separated.artifacts if link.role == "background")
    with archive.worker.store.local(background) as kept:
        after = sound_of(kept)
    first, last = int(effect.start_seconds * RATE), round(effect.end_seconds * RATE) + 1
    for clean in (slice(first), slice(last, None)):
        assert np.array_equal(before[clean], after[clean]), "bit for bit"
    assert not np.array_equal(before[first:last], after[first:last])
    with archive.worker.ledger.read() as session:
        assert verify_run(session, item.run_id) == []
