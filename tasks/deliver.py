"""Published artifacts become files people find: NAME.mp4, NAME.wav, stems, and a sidecar with the reasons."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

from db.records import FinishedStep, StepRef
from deepsound.artifacts.location import InBucket, Location
from deepsound.artifacts.protocol import Artifact
from deepsound.canonical import Json, sha256_file
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.files import replacing
from deepsound.pipeline import Step
from tasks.job import EXCERPT, PLAN, Job


def delivered_places(out: Location, name: str, published: FinishedStep) -> dict[str, Location]:
    """Where each published artifact goes, by role; `sidecar` too."""
    suffixes = {"video": str(published.result["suffix"]), "audio": ".wav", "sidecar": ".json"}
    roles = [*published.outputs, "sidecar"]
    return {role: out / f"{name}{suffixes.get(role, f'.{role}.wav')}" for role in roles}


def deliver(job: Job, published: FinishedStep) -> None:
    """Bring every published file to its place; what already lies there with the right bytes stays.

    Raises DeepSoundError (OUTPUT_NOT_WRITABLE, DISK_FULL, STORE_*, ARTIFACT_*).
    """
    targets = delivered_places(job.settings.out, job.name, published)
    said = json.dumps(_sidecar(job, published, targets), indent=2, ensure_ascii=False) + "\n"
    for role, artifact in published.outputs.items():
        _bring(job, artifact, targets[role])
    _write(job, said.encode(), targets["sidecar"])


def _bring(job: Job, artifact: Artifact, target: Location) -> None:
    if isinstance(target, InBucket):
        with job.worker.store.local(artifact.sha256) as kept:
            _upload(kept, target, artifact.media_type, artifact.sha256)
        return
    with writable(target.parent):
        if target.is_file() and target.stat().st_size == artifact.size and sha256_file(target) == artifact.sha256:
            return
        with job.worker.store.local(artifact.sha256) as kept, replacing(target) as temporary:
            shutil.copyfile(kept, temporary)


def _write(job: Job, body: bytes, target: Location) -> None:
    if isinstance(target, InBucket):
        with job.worker.scratch() as scratch:
            (scratch / "sidecar").write_bytes(body)
            _upload(scratch / "sidecar", target, "application/json", sha256(body).hexdigest())
        return
    with writable(target.parent), replacing(target) as temporary:
        temporary.write_bytes(body)


def _upload(source: Path, target: InBucket, media_type: str, sha256: str) -> None:
    # Here, since only buckets need the client and the time its import takes.
    from deepsound.artifacts.bucket_files import upload

    upload(source, target, media_type, sha256)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """The folder, made if need be; what the system says against writing there becomes one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DeepSoundError(
            ErrorCode.OUTPUT_NOT_WRITABLE,
            f"results can't be written here: {(error.strerror or 'refused').lower()}",
            where=speakable(folder),
            remedy="check the folder and its disk, or choose another with -o",
        ) from error


def _sidecar(job: Job, published: FinishedStep, targets: Mapping[str, Location]) -> Json:
    """The decision and the ledger ids behind it."""
    judged = job.done.get(StepRef(Step.JUDGE, 2)) or job.done.get(StepRef(Step.JUDGE, 1))
    review = None if judged is None else job.ruling(judged.at.round)
    return {
        "run": job.run_id,
        "item": job.item_id,
        "source": {"path": speakable(job.source), "sha256": job.video_sha256, **_cut(job)},
        "outcome": published.result["outcome"],
        "why": published.result["why"],
        "judgement": None if judged is None else dict(judged.result),
        "review": None if review is None else review.to_json(),
        "loudness": published.result["loudness"],
        "outputs": {
            role: {"file": speakable(PurePosixPath(str(targets[role])).name), "sha256": artifact.sha256}
            for role, artifact in published.outputs.items()
        },
        "attempts": {f"{at.step}/{at.round}": finished.attempt_id for at, finished in job.done.items()},
    }


def _cut(job: Job) -> dict[str, Json]:
    """From when to when the result is of the source, in seconds; nothing where it is all of it."""
    excerpt = job.done[PLAN].result.get(EXCERPT) if job.part is not None else None
    return {"start": excerpt["start"], "end": excerpt["end"]} if isinstance(excerpt, dict) else {}


def speakable(name: object) -> str:
    """File names may hold bytes that are no text, which JSON and terminals can't show."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
