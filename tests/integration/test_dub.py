"""`deepsound dub` from the outside: real clips in, dubbed and audited clips out, under a real Prefect server."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from console.cli.run_summary import as_json
from deepsound.media.audio import audio_format, read_blocks
from deepsound.media.probe import probe
from deepsound.pipeline import OutcomeKind, Step
from tasks.report.build import write_report
from tasks.runtime.stores import StoreUrls
from tests.archive_setup import Archive
from tests.voice_samples import Mix
from tests.voiced_clips import narrated_clip, narrated_footage, narration_only_clip, shared_clip, silent_clip

pytestmark = pytest.mark.integration


def sound_of(path: Path) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, 48_000)))


def test_a_silent_clip_gets_sound(archive: Archive):
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4"))
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "no")
    assert probe(result.outputs["video"].path).audio is not None
    info = soundfile.info(result.outputs["audio"].path)
    assert (info.samplerate, info.subtype) == (48_000, "PCM_24")
    assert abs(info.duration - probe(archive.folder / "ball.mp4").duration) <= 1 / 48_000
    assert np.abs(sound_of(result.outputs["audio"].path)).max() > 0.01


def test_the_result_is_at_the_level_broadcasters_ask_for(archive: Archive):
    [result] = archive.dub(silent_clip(archive.folder / "ball.mp4", seconds=3.0))
    assert result.loudness == pytest.approx(-23.0, abs=0.5)


def coarse_of(archive: Archive) -> np.ndarray:
    """The coarse audio of the one item, from the store."""
    [item] = archive.items()
    links = [link for attempt in item.attempts for link in attempt.artifacts]
    coarse = next(link.artifact_sha256 for link in links if (link.direction, link.role) == ("output", "coarse"))
    with archive.worker.store.local(coarse) as kept:
        return sound_of(kept)


def energies(sound: np.ndarray, mix: Mix) -> tuple[float, float]:
    """How much of a mix's voice and background is in a sound, in dB re what the mix holds (least squares)."""
    parts = np.stack([mix.voice, mix.background], axis=1)[: len(sound)]
    gains = np.linalg.lstsq(parts, sound[: len(parts)], rcond=None)[0]
    voice, background = 20 * np.log10(np.maximum(np.abs(gains), 1e-6))
    return float(voice), float(background)


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0])
def test_a_narrator_is_taken_off_and_the_background_stays(archive: Archive, snr_db: float):
    clip, mix = narrated_footage(archive.folder, snr_db)
    [result] = archive.dub(clip, generator="soundtrack", loudness="none")
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "yes")
    assert result.probability is not None
    assert result.probability > 0.5
    before = energies(coarse_of(archive)[:, 0], mix)
    after = energies(sound_of(result.outputs["audio"].path)[:, 0], mix)
    assert before[0] - after[0] >= 12.0, "speech energy falls by 12 dB"
    assert before[1] - after[1] <= 2.0, "at no more than 2 dB of the background"
    kept, _ = energies(sound_of(result.outputs["voice"].path)[:, 0], mix)
    assert kept == pytest.approx(before[0], abs=2.0), "the voice is kept as a stem"


def test_what_was_done_to_the_sound_is_measured_and_has_a_reason(archive: Archive):
    archive.dub(narrated_clip(archive.folder / "narrated.mp4"), generator="soundtrack")
    [item] = archive.items()
    effects = [effect for attempt in item.attempts for effect in attempt.effects]
    assert {effect.operation for effect in effects} == {"remove_voice", "normalise_loudness"}
    for effect in effects:
        assert effect.before_sha256 != effect.after_sha256
        assert effect.loudness_before is not None
        if effect.operation == "remove_voice":
            assert effect.speech_seconds_before > effect.speech_seconds_after
            assert effect.speech_level_before > effect.speech_level_after
            assert (effect.decision.key, effect.decision.value) == ("voice-over", "yes")


def test_every_change_of_the_sound_traces_back_to_the_words_that_caused_it(archive: Archive):
    archive.dub(narrated_clip(archive.folder / "narrated.mp4"), generator="soundtrack")
    [item] = archive.items()
    judged = next(attempt for attempt in item.attempts if attempt.step == Step.JUDGE)
    [decision] = judged.decisions
    assert judged.raw_output[decision.span_start : decision.span_end] == "A"
    assert [thought.stage for thought in judged.thoughts] == ["summary", "caption", "reasoning", "conclusion"]
    for thought in judged.thoughts:
        assert judged.raw_output[thought.span_start : thought.span_end] == thought.text


def test_somebody_who_talks_in_shot_is_left_alone(archive: Archive):
    [result] = archive.dub(shared_clip("talking_child_visible.mp4"), generator="soundtrack")
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "no")
    assert "voice" not in result.outputs


def test_an_m_and_e_delivery_loses_that_voice_too(archive: Archive):
    [result] = archive.dub(shared_clip("talking_child_visible.mp4"), generator="soundtrack", voice="all")
    assert result.outcome is OutcomeKind.DONE
    assert result.outputs["voice"].path.is_file()


def test_rm_puts_nothing_out_where_nothing_is_left(archive: Archive):
    clip = narration_only_clip(archive.folder / "narration.mp4")
    [result] = archive.dub(clip, generator="soundtrack", fallback="rm")
    assert result.outcome is OutcomeKind.REMOVED
    assert set(result.outputs) == {"voice", "sidecar"}
    assert "silence" in result.why


def test_rep_puts_the_coarse_audio_back(archive: Archive):
    clip = narration_only_clip(archive.folder / "narration.mp4")
    [result] = archive.dub(clip, generator="soundtrack", fallback="rep", loudness="none")
    assert result.outcome is OutcomeKind.DONE
    assert "put back" in result.why
    assert np.abs(sound_of(result.outputs["audio"].path) - coarse_of(archive)).max() < 1e-5


def test_neg_generates_again_against_voices_and_judges_again(archive: Archive):
    clip = narration_only_clip(archive.folder / "narration.mp4")
    [result] = archive.dub(clip, generator="soundtrack", fallback="neg")
    assert result.outcome is OutcomeKind.DONE
    assert "generated again" in result.why
    [item] = archive.items()
    steps = [(attempt.step, attempt.round, attempt.backend) for attempt in item.attempts]
    assert ("generate", 2, "foley") in steps
    assert [step for step, number, _ in steps if number == 2] == ["generate", "judge", "publish"]
    again = next(attempt for attempt in item.attempts if (attempt.step, attempt.round) == ("generate", 2))
    assert json.loads(again.parameters.body)["negative_prompt"] == "human voice"


def test_after_neg_every_reader_names_the_judgement_of_round_2(archive: Archive):
    clip = narration_only_clip(archive.folder / "narration.mp4")
    [result] = archive.dub(clip, generator="soundtrack", fallback="neg")
    [item] = archive.items()
    judged = {attempt.round: attempt for attempt in item.attempts if attempt.step == Step.JUDGE}
    assert [judged[number].result["verdict"] for number in (1, 2)] == ["yes", "no"]
    expected = {
        "verdict": "no",
        "probability": judged[2].probability,
        "judge_verdict": "no",
        "deciding_round": 2,
        "review": None,
    }
    [told] = as_json(item.run_id, [result])["items"]
    sidecar = json.loads(result.outputs["sidecar"].path.read_text(encoding="utf-8"))
    [shown] = json.loads(archive.command("audit", "show", item.id, "--json").stdout)["items"]
    for reader in (told, sidecar, shown):
        assert {key: reader[key] for key in expected} == expected
    assert sidecar["judgement"] == judged[2].result
    assert told["spans"] == judged[2].result["voices"]
    write_report(archive.worker, [item.run_id], archive.folder / "report.html", folder=archive.folder)
    page = " ".join((archive.folder / "report.html").read_text(encoding="utf-8").split())
    assert f"voice-over: <b>no</b>, probability {judged[2].probability:.3f}, round 2" in page
    assert "<h3>Chain of thought, round 2: decided</h3>" in page


def test_a_second_run_of_the_same_clip_does_no_work_again(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4")
    [first] = archive.dub(clip)
    before = {file: file.path.stat().st_mtime_ns for file in first.outputs.values()}
    [second] = archive.dub(clip)
    assert second.was_reused
    assert all(step.is_reused for step in second.steps)
    delivered = {file: file.path.stat().st_mtime_ns for role, file in second.outputs.items() if role != "sidecar"}
    assert delivered.items() <= before.items()


def test_a_result_somebody_deleted_is_delivered_again_without_work(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4")
    [first] = archive.dub(clip)
    first.outputs["video"].path.unlink()
    [second] = archive.dub(clip)
    assert second.was_reused
    assert second.outputs["video"].path.is_file()


def test_another_seed_reruns_only_what_it_touches(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4")
    archive.dub(clip)
    [second] = archive.dub(clip, seed=7)
    reused = {str(step.step): step.is_reused for step in second.steps}
    assert reused == {"plan": True, "generate": False, "judge": False, "publish": False}


def test_the_same_seed_makes_the_same_samples(archive: Archive, tmp_path: Path):
    clip = silent_clip(archive.folder / "ball.mp4")
    [one] = archive.dub(clip)
    elsewhere = Archive(
        tmp_path / "b", StoreUrls(db=f"sqlite:///{tmp_path / 'b' / 'l.sqlite3'}", store=str(tmp_path / "b" / "s"))
    )
    [other] = elsewhere.dub(clip)
    assert np.array_equal(sound_of(one.outputs["audio"].path), sound_of(other.outputs["audio"].path))


def test_the_removed_voice_and_the_rest_line_up_with_the_picture(archive: Archive):
    clip = narrated_clip(archive.folder / "narrated.mp4")
    [result] = archive.dub(clip, generator="soundtrack")
    lengths = {audio_format(result.outputs[role].path).samples for role in ("audio", "voice")}
    assert lengths == {round(probe(clip).duration * 48_000)}


def test_originals_are_untouched(archive: Archive):
    clip = silent_clip(archive.folder / "ball.mp4")
    before = clip.read_bytes()
    archive.dub(clip)
    assert clip.read_bytes() == before
