"""The last step: normalises the sound, puts it under the unchanged picture, and writes the stems."""

from datetime import UTC, datetime
from pathlib import Path

from db.schema.records import Change, StepRef
from deepsound.canonical_json import Json
from deepsound.media.broadcast_wav import BextMetadata, write_bwf
from deepsound.media.loudness import Loudness, measure_loudness, normalise
from deepsound.media.loudness_standards import STANDARDS, LoudnessStandard
from deepsound.media.media_files import MEDIA_TYPES, container_for
from deepsound.media.media_info import VideoInfo
from deepsound.media.mux import mux
from deepsound.pipeline import Action, Ending, OutcomeKind, Stem, Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact
from tasks.runtime.deciding_judgement import DECIDING_ROUND
from tasks.runtime.item import Item
from tasks.runtime.item_footage import load_footage
from tasks.runtime.source_access import excerpt_input, open_video, whole_video_input
from tasks.steps.contract import MadeFile, SoundChange, StepContext, StepInputs, StepOutput

VERSION = "2"


def inputs(item: Item, action: Action) -> StepInputs:
    """The ending, its sound, the stems that are kept beside it, and the picture."""
    ending, standard = _ending(action), STANDARDS.get(item.settings.loudness)
    artifacts = {**_stems(item, ending), **excerpt_input(item)}
    if (sound := _sound(item, ending)) is not None:
        artifacts["sound"] = sound
    return StepInputs(
        backend="mux",
        version=VERSION,
        parameters={
            "outcome": ending.kind,
            "why": ending.why,
            "loudness": item.settings.loudness,
            "loudness_standard": None if standard is None else standard.to_json(),
            DECIDING_ROUND: ending.deciding_round,
            **_review_json(item, ending),
        },
        video=whole_video_input(item),
        artifacts=artifacts,
    )


def execute(context: StepContext) -> StepOutput:
    """Master, mux, and write the stems. An item that is removed or needs review gets stems alone."""
    item, store = context.item, context.store
    ending, standard = _ending(context.action), STANDARDS.get(item.settings.loudness)
    info = load_footage(item, store, context.footage_cache).info
    files: dict[str, MadeFile] = {}
    for role, stem in _stems(item, ending).items():
        files[role] = MadeFile(context.scratch / f"{role}.wav", "audio/wav")
        with store.local(stem.sha256) as path:
            write_bwf(path, files[role].path, info.duration, _notes(item, role))
    result = result_without_sound(item, ending)
    if (sound := _sound(item, ending)) is None:
        return StepOutput(result=result, files=files)
    suffix = container_for(info)
    files["audio"] = MadeFile(context.scratch / "audio.wav", "audio/wav")
    files["video"] = MadeFile(context.scratch / f"video{suffix}", MEDIA_TYPES[suffix])
    with store.local(sound.sha256) as unmastered:
        mastered, before, after = _master(unmastered, context.scratch / "mastered.wav", standard)
        write_bwf(mastered, files["audio"].path, info.duration, _notes(item, "sound"))
        with open_video(item, store) as video:
            mux(video, mastered, files["video"].path, info)
    result |= {
        "suffix": suffix,
        "loudness": {
            **_loudness_json(after),
            "target": item.settings.loudness,
            "meets_target": None if standard is None else after.meets(standard),
        },
        "loudness_before": _loudness_json(before),
    }
    changes = [] if standard is None else [_loudness_change(info, sound, before, after)]
    return StepOutput(result=result, files=files, changes=changes)


def result_without_sound(item: Item, ending: Ending) -> dict[str, Json]:
    """The result of a publish step without sound. With sound, `execute` sets `suffix` and the loudness."""
    return {
        "outcome": ending.kind,
        "why": _why(item, ending),
        "suffix": None,
        "loudness": None,
        DECIDING_ROUND: ending.deciding_round,
        **_review_json(item, ending),
    }


def _ending(action: Action) -> Ending:
    if action.ending is None:
        raise ValueError("a publish action carries its ending")
    return action.ending


def _review_json(item: Item, ending: Ending) -> dict[str, Json]:
    return {} if ending.deciding_round is None else item.review_json(ending.deciding_round)


def _why(item: Item, ending: Ending) -> str:
    review = None if ending.deciding_round is None else item.review(ending.deciding_round)
    return ending.why if review is None else f"{ending.why}; reviewed by {review.by}: {review.verdict}"


def _sound(item: Item, ending: Ending) -> Artifact | None:
    match ending.audio:
        case Stem.COARSE:
            return item.coarse(ending.round)
        case Stem.BACKGROUND:
            return item.artifact(StepRef(Step.SEPARATE, ending.round), "background")
        case None:
            return None


def _stems(item: Item, ending: Ending) -> dict[str, Artifact]:
    """The stems that are delivered: the removed voice, and the coarse audio where a person has to review it."""
    stems: dict[str, Artifact] = {}
    if (separated := item.done.get(StepRef(Step.SEPARATE, ending.round))) is not None:
        stems["voice"] = separated.outputs["voice"]
    if ending.kind is OutcomeKind.NEEDS_REVIEW:
        stems["coarse"] = item.coarse(ending.round)
    return stems


def _master(sound: Path, target: Path, standard: LoudnessStandard | None) -> tuple[Path, Loudness, Loudness]:
    """The sound to deliver, and its loudness before and after. Without a standard that is `sound` itself."""
    if standard is None:
        measured = measure_loudness(sound)
        return sound, measured, measured
    normalised = normalise(sound, target, standard)
    return target, normalised.before, normalised.after


def _loudness_change(info: VideoInfo, sound: Artifact, before: Loudness, after: Loudness) -> SoundChange:
    return SoundChange(
        operation="normalise_loudness",
        span=Span(0.0, info.duration),
        before=sound.sha256,
        made="audio",
        loudness=Change(before.integrated_lufs, after.integrated_lufs),
    )


def _loudness_json(loudness: Loudness) -> dict[str, Json]:
    return {"lufs": loudness.integrated_lufs, "true_peak_dbtp": loudness.true_peak_dbtp}


def _notes(item: Item, what: str) -> BextMetadata:
    """The origin of a delivered sound for its bext chunk; the reference leads back to the ledger."""
    return BextMetadata(
        description=f"{what} of {item.name}",
        originator="DeepSound",
        originator_reference=f"item {item.id}",
        originated=datetime.now(UTC),
    )
