"""Published artifacts become files people find: NAME.mp4, NAME.wav, stems, and a sidecar with the reasons."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from db.records import FinishedStep, StepRef
from deepsound.artifacts.protocol import Artifact
from deepsound.canonical import Json, sha256_file
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.files import replacing
from deepsound.pipeline import Step
from tasks.job import Job


def delivered_paths(out: Path, name: str, published: FinishedStep) -> dict[str, Path]:
    """Where each published artifact goes, by role; `sidecar` too."""
    base = out / name
    suffixes = {"video": str(published.result["suffix"]), "audio": ".wav", "sidecar": ".json"}
    roles = [*published.outputs, "sidecar"]
    return {role: base.with_name(base.name + suffixes.get(role, f".{role}.wav")) for role in roles}


def deliver(job: Job, published: FinishedStep) -> None:
    """Bring every published file to its place; what already lies there with the right bytes stays.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*, ARTIFACT_*).
    """
    targets = delivered_paths(job.settings.out, job.name, published)
    folder = targets["sidecar"].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for role, artifact in published.outputs.items():
            _bring(job, artifact, targets[role])
        with replacing(targets["sidecar"]) as temporary:
            said = json.dumps(_sidecar(job, published, targets), indent=2, ensure_ascii=False)
            temporary.write_text(said + "\n", encoding="utf-8")
    except OSError as error:
        raise DeepSoundError(
            ErrorCode.OUTPUT_NOT_WRITABLE,
            f"results can't be written here: {(error.strerror or 'refused').lower()}",
            where=speakable(folder),
            remedy="check the folder and its disk, or choose another with -o",
        ) from error


def _bring(job: Job, artifact: Artifact, target: Path) -> None:
    if target.is_file() and target.stat().st_size == artifact.size and sha256_file(target) == artifact.sha256:
        return
    with job.worker.store.local(artifact.sha256) as kept, replacing(target) as temporary:
        shutil.copyfile(kept, temporary)


def _sidecar(job: Job, published: FinishedStep, targets: Mapping[str, Path]) -> Json:
    """The decision and the ledger ids behind it."""
    judged = job.done.get(StepRef(Step.JUDGE, 2)) or job.done.get(StepRef(Step.JUDGE, 1))
    return {
        "run": job.run_id,
        "item": job.item_id,
        "source": {"path": speakable(job.source), "sha256": job.video_sha256},
        "outcome": published.result["outcome"],
        "why": published.result["why"],
        "judgement": None if judged is None else dict(judged.result),
        "loudness": published.result["loudness"],
        "outputs": {
            role: {"file": speakable(targets[role].name), "sha256": artifact.sha256}
            for role, artifact in published.outputs.items()
        },
        "attempts": {f"{at.step}/{at.round}": finished.attempt_id for at, finished in job.done.items()},
    }


def speakable(name: object) -> str:
    """File names may hold bytes that are no text, which JSON and terminals can't show."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
