"""The last step: master the sound, put it under the untouched picture, keep what a person needs to check it."""

from datetime import UTC, datetime
from pathlib import Path

from db.schema.records import Change, StepRef
from deepsound.canonical_json import Json
from deepsound.media.broadcast_wav import BextMetadata, write_bwf
from deepsound.media.loudness import Loudness, measure_loudness, normalise
from deepsound.media.media_files import MEDIA_TYPES, container_for
from deepsound.media.media_info import VideoInfo
from deepsound.media.mux import mux
from deepsound.pipeline import Action, Ending, OutcomeKind, Stem, Step
from deepsound.spans import Span
from deepsound.storage.protocol import Artifact
from tasks.runtime.item import ItemInProgress
from tasks.steps.contract import MadeFile, SoundChange, StepInputs, StepOutput

VERSION = "1"


def inputs(job: ItemInProgress, action: Action) -> StepInputs:
    """The ending, the sound it puts out, the stems kept beside it, and the picture."""
    ending = _ending(action)
    artifacts = {**_stems(job, ending), **job.picture}
    if (sound := _sound(job, ending)) is not None:
        artifacts["sound"] = sound
    return StepInputs(
        backend="mux",
        version=VERSION,
        parameters={
            "outcome": ending.kind,
            "why": ending.why,
            "loudness": job.settings.loudness,
            **job.reviewed(ending.round),
        },
        video=job.whole,
        artifacts=artifacts,
    )


def execute(job: ItemInProgress, action: Action, scratch: Path) -> StepOutput:
    """Master, mux, and write the stems; nothing but stems where the item is removed or needs review."""
    ending = _ending(action)
    files: dict[str, MadeFile] = {}
    for role, kept in _stems(job, ending).items():
        files[role] = MadeFile(scratch / f"{role}.wav", "audio/wav")
        with job.worker.store.local(kept.sha256) as stem:
            write_bwf(stem, files[role].path, job.footage().info.duration, _notes(job, role))
    result: dict[str, Json] = {
        "outcome": ending.kind,
        "why": _why(job, ending),
        "suffix": None,
        "loudness": None,
        **job.reviewed(ending.round),
    }
    if (sound := _sound(job, ending)) is None:
        return StepOutput(result=result, files=files)
    info = job.footage().info
    suffix = container_for(info)
    files["audio"] = MadeFile(scratch / "audio.wav", "audio/wav")
    files["video"] = MadeFile(scratch / f"video{suffix}", MEDIA_TYPES[suffix])
    with job.worker.store.local(sound.sha256) as unmastered:
        mastered = unmastered
        if job.settings.loudness:
            mastered = scratch / "mastered.wav"
            levelled = normalise(unmastered, mastered)
            before, after = levelled.before, levelled.after
        else:
            before = after = measure_loudness(unmastered)
        write_bwf(mastered, files["audio"].path, info.duration, _notes(job, "sound"))
        with job.video() as video:
            mux(video, mastered, files["video"].path, info)
    result |= {"suffix": suffix, "loudness": _loudness(after), "loudness_before": _loudness(before)}
    changes = [_levelled(info, sound, before, after)] if job.settings.loudness else []
    return StepOutput(result=result, files=files, changes=changes)


def _ending(action: Action) -> Ending:
    if action.ending is None:
        raise ValueError("a publish action carries its ending")
    return action.ending


def _why(job: ItemInProgress, ending: Ending) -> str:
    review = job.review(ending.round)
    return ending.why if review is None else f"{ending.why}; reviewed by {review.by}: {review.verdict}"


def _sound(job: ItemInProgress, ending: Ending) -> Artifact | None:
    match ending.audio:
        case Stem.COARSE:
            return job.coarse(ending.round)
        case Stem.BACKGROUND:
            return job.made(StepRef(Step.SEPARATE, ending.round), "background")
        case None:
            return None


def _stems(job: ItemInProgress, ending: Ending) -> dict[str, Artifact]:
    """What is delivered beside the sound: the voice that was taken out, and the coarse audio to be reviewed."""
    stems: dict[str, Artifact] = {}
    if (separated := job.done.get(StepRef(Step.SEPARATE, ending.round))) is not None:
        stems["voice"] = separated.outputs["voice"]
    if ending.kind is OutcomeKind.NEEDS_REVIEW:
        stems["coarse"] = job.coarse(ending.round)
    return stems


def _levelled(info: VideoInfo, sound: Artifact, before: Loudness, after: Loudness) -> SoundChange:
    return SoundChange(
        operation="normalise_loudness",
        span=Span(0.0, info.duration),
        before=sound.sha256,
        made="audio",
        loudness=Change(before.integrated_lufs, after.integrated_lufs),
    )


def _loudness(measured: Loudness) -> Json:
    return {"lufs": measured.integrated_lufs, "true_peak_dbtp": measured.true_peak_dbtp}


def _notes(job: ItemInProgress, what: str) -> BextMetadata:
    """Who made a delivered sound, for its bext chunk: the reference leads back to the ledger."""
    return BextMetadata(
        description=f"{what} of {job.name}",
        originator="DeepSound",
        originator_reference=f"item {job.item_id}",
        originated=datetime.now(UTC),
    )
