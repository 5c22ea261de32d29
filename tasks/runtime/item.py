"""One item in the hands of one worker: its settings, what was done so far, and the footage all steps share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from db.schema.records import NO_RETRIES, DecisionRef, FinishedStep, ItemRetries, StepRef
from db.write.reviews import Review
from deepsound.backends import load_generator, load_reasoner
from deepsound.canonical_json import Json
from deepsound.cot import Verdict
from deepsound.errors import DeepSoundError, SourceChangedError, SourceMissingError, SourceNotMediaError
from deepsound.generation.protocol import Generator
from deepsound.media.decode import decode_video
from deepsound.media.excerpt import cut_excerpt
from deepsound.media.media_files import check_source as check_readable
from deepsound.media.media_info import Excerpt
from deepsound.media.observation_files import load_observations
from deepsound.media.observers import Footage, Observation, Observer
from deepsound.media.probe import probe
from deepsound.models.file_hashes import source_sha256
from deepsound.pipeline import Action, ChainState, Fallback, OutcomeKind, Round, Step, next_action
from deepsound.reasoning.protocol import Reasoner
from deepsound.reasoning.windowed import windowed
from deepsound.storage.location import Location
from deepsound.storage.protocol import Artifact
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.time_range import TimeRange
from tasks.runtime.worker import Worker

PLAN = StepRef(Step.PLAN)

EXCERPT = "excerpt"
"""Role of the part of the video that an item is, among what its plan step makes and later steps read."""


class ItemInProgress:
    """The state of one item while it is worked on; rebuilt from the ledger by whoever takes it up next.

    `part` is what of its video the item is, None for all of it; `retries` what was taken back of it, `deaths` how
    many workers vanished while they held its present step, `reviews` what people decided, by the judgement.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        run_id: str,
        item_id: int,
        source: Location,
        output_name: str,
        video_sha256: str | None,
        settings: RunSettings,
        part: TimeRange | None = None,
        done: Mapping[StepRef, FinishedStep],
        retries: ItemRetries = NO_RETRIES,
        deaths: int = 0,
        reviews: Mapping[StepRef, Review] | None = None,
    ) -> None:
        self.worker = worker
        self.run_id = run_id
        self.item_id = item_id
        self.source = source
        self.name = output_name
        self.video_sha256 = video_sha256
        self.settings = settings
        self.part = part
        self.done = dict(done)
        self.retries = retries
        self.deaths = deaths
        self.reviews = reviews or {}

    def next_action(self) -> Action | None:
        """What the decision table says comes next."""
        return self.after(self.done)

    def after(self, done: Mapping[StepRef, FinishedStep]) -> Action | None:
        """What comes next once these steps are done."""
        ruled = {at: review.verdict for at, review in self.reviews.items()}
        return next_action(self.settings.policy, chain_state(done, ruled))

    def review(self, number: int) -> Review | None:
        """What a person decided on the judgement of a round, if anybody did."""
        return self.reviews.get(StepRef(Step.JUDGE, number))

    def reviewed(self, number: int) -> dict[str, Json]:
        """The same for the parameters and results of steps that follow from it; nothing where nobody did."""
        review = self.review(number)
        return {} if review is None else {"review": review.to_json()}

    @property
    def outcome(self) -> OutcomeKind | None:
        """How the item ended; None while it is open."""
        published = [step for at, step in self.done.items() if at.step is Step.PUBLISH]
        return OutcomeKind(str(published[0].result["outcome"])) if published else None

    def generator(self, number: int) -> Generator:
        """The generator of a round: round 2 is made by whoever can answer the `neg` fallback."""
        first = load_generator(self.settings.generator)
        again = None if number == 1 else first.regenerates_with
        return first if again is None else load_generator(again)

    @property
    def reasoner(self) -> Reasoner:
        """The reasoner; asked of windows too where the run wants that."""
        reasoner = load_reasoner(self.settings.reasoner)
        return windowed(reasoner) if self.settings.windows else reasoner

    def observers(self) -> list[Observer]:
        """Fresh observers for every backend that may want to have seen this video, each kind once."""
        looking = [*self.generator(1).observers(), *self.reasoner.observers()]
        if self.settings.fallback is Fallback.NEG:
            looking += self.generator(2).observers()
        return list({observer.name: observer for observer in looking}.values())

    def check_source(self) -> None:
        """Raise DeepSoundError where the video is not to be had any more as the run holds it."""
        self._here()

    @property
    def picture(self) -> Mapping[str, Artifact]:
        """The excerpt, as an input of steps that read the video itself; nothing where the item is all of it."""
        return {} if self.part is None else {EXCERPT: self.made(PLAN, EXCERPT)}

    @property
    def registered(self) -> str:
        """The SHA-256 that the run holds of the video.

        Raises DeepSoundError where it holds none: no result may be known by a video that nobody can name.
        """
        if self.video_sha256 is not None:
            return self.video_sha256
        if isinstance(self.source, Path):
            _refuse_folder(self.source)
            check_readable(self.source)
        raise SourceMissingError(
            "it could not be read when the run was registered",
            where=str(self.source),
            remedy="run the command again, which registers it anew",
        )

    @property
    def whole(self) -> str | None:
        """The same as an input of those steps; None where the item is an excerpt."""
        return self.registered if self.part is None else None

    @contextmanager
    def video(self) -> Iterator[Path]:
        """What later steps take for the video: the source, or the excerpt that the plan step cut out of it.

        Raises DeepSoundError (STORE_*, ARTIFACT_*); errors of the block speak of the source by its own name.
        """
        if self.part is None:
            with self.original() as path:
                yield path
            return
        with self.worker.store.local(self.made(PLAN, EXCERPT).sha256) as path, self._called_by_name(path):
            yield path

    def cut(self, part: TimeRange, target: Path) -> Excerpt:
        """Write a part of the source to `target`. Raises DeepSoundError."""
        with self.original() as path:
            return cut_excerpt(path, part.start, part.end, target)

    @contextmanager
    def original(self) -> Iterator[Path]:
        """The source as a file of this machine: where it lies, or from the store, which a submitted run put it in.

        Raises DeepSoundError (SOURCE_*, STORE_*, ARTIFACT_*); errors of the block speak of the source by its own
        name.
        """
        if (here := self._here()) is not None:
            yield here
            return
        with self.worker.store.local(self.registered) as path, self._called_by_name(path):
            yield path

    @contextmanager
    def _called_by_name(self, path: Path) -> Iterator[None]:
        """Errors of the block about a copy or a part of the source speak of the source by its own name."""
        try:
            yield
        except DeepSoundError as error:
            if error.where != str(path):
                raise
            raise error.renamed(str(self.source)) from error

    def _here(self) -> Path | None:
        """The source where it lies; None where only the store has it as it was registered.

        Raises DeepSoundError (SOURCE_*, STORE_*) where neither has it.
        """
        known = self.registered
        if not isinstance(self.source, Path):
            return None
        trouble = _trouble(self.source, known)
        if trouble is None:
            return self.source
        if self.worker.store.has(known):
            return None
        raise trouble

    def look(self, excerpt: Path | None = None) -> Footage:
        """Decode the video, unless this process did so already. Raises DeepSoundError.

        `excerpt` is the item's part of it, where that was cut already.
        """
        observers = self.observers()
        return self.worker.footage.get(self._footage_key, lambda: self._look(observers, excerpt))

    def _look(self, observers: Sequence[Observer], excerpt: Path | None) -> Footage:
        if self.part is None:
            with self.original() as path:
                return decode_video(path, observers)
        with self.worker.scratch() as scratch:
            if excerpt is None:
                excerpt = scratch / EXCERPT
                self.cut(self.part, excerpt)
            with self._called_by_name(excerpt):
                return decode_video(excerpt, observers)

    def footage(self) -> Footage:
        """What the plan step saw: from memory, or from the store where another process did the looking."""
        return self.worker.footage.get(self._footage_key, self._restore)

    def _restore(self) -> Footage:
        with self.worker.store.local(self.made(PLAN, "observations").sha256) as path:
            return self._restored(load_observations(path))

    @property
    def _footage_key(self) -> str:
        # Items of one video share what was seen of it where they want the same of it to be seen.
        return f"{self.run_id}/{self.video_sha256 or self.item_id}/{self.part}/{self.settings.generator}"

    def _restored(self, observations: Mapping[str, Observation]) -> Footage:
        seen = self.done[PLAN].result
        with self.video() as path:
            info = probe(path)
        return Footage(
            info=info,
            observations=observations,
            decoder=str(seen["decoder"]),
            frames=int(str(seen["frames"])),
            damage=None if seen["damage"] is None else str(seen["damage"]),
        )

    def made(self, at: StepRef, role: str) -> Artifact:
        """What a finished step made."""
        return self.done[at].outputs[role]

    def coarse(self, number: int) -> Artifact:
        """The coarse audio of a round."""
        return self.made(StepRef(Step.GENERATE, number), "coarse")

    def decision(self, at: StepRef, key: str) -> DecisionRef:
        """A decision of a finished step, as effects refer to it."""
        return next(decision.ref for decision in self.done[at].decisions if decision.key == key)

    def let_go(self) -> None:
        """Forget what was seen; the store has it."""
        self.worker.footage.let_go(self._footage_key)


def _trouble(source: Path, sha256: str) -> DeepSoundError | None:
    """Why a file can't be taken for the one that has this hash."""
    try:
        check_readable(source)
        if source_sha256(source) == sha256:
            return None
    except DeepSoundError as error:
        return error
    except OSError as error:
        what, remedy = f"the file can't be read ({error.strerror})", "check the disk and its permissions"
        return SourceMissingError(what, where=str(source), remedy=remedy)
    return SourceChangedError(
        "the file was changed after the run had registered it",
        where=str(source),
        remedy="run the command again, which registers it anew",
    )


def _refuse_folder(source: Path) -> None:
    if os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        raise SourceNotMediaError(
            "this is a folder, and nothing in it is part of this run",
            where=str(source),
            remedy="check its permissions, then run the command again",
        )


def chain_state(
    done: Mapping[StepRef, FinishedStep], ruled: Mapping[StepRef, Verdict] | None = None
) -> ChainState:
    """What the decision table wants to know, read from the results of finished steps.

    `ruled`: verdicts of people on judgements; they go before the judge's, and say whether the voice has to go.
    """
    plan, fell_back = done.get(PLAN), done.get(StepRef(Step.FALL_BACK))
    return ChainState(
        plan_accepted=None if plan is None else bool(plan.result["accepted"]),
        first=_round(done, ruled or {}, 1),
        fell_back=None if fell_back is None else Fallback(str(fell_back.result["mode"])),
        second=_round(done, ruled or {}, 2),
        published=any(at.step is Step.PUBLISH for at in done),
    )


def _round(done: Mapping[StepRef, FinishedStep], ruled: Mapping[StepRef, Verdict], number: int) -> Round:
    known = Round(
        generated=StepRef(Step.GENERATE, number) in done, separated=StepRef(Step.SEPARATE, number) in done
    )
    if judged := done.get(StepRef(Step.JUDGE, number)):
        heard = judged.result["voice_heard"]
        known = replace(
            known,
            verdict=Verdict(str(judged.result["verdict"])),
            voice_heard=None if heard is None else bool(heard),
        )
        if verdict := ruled.get(judged.at):
            # Who says no has listened to what would be put out, so the sound stays, whatever voices may go.
            known = replace(known, verdict=verdict, voice_heard=verdict is Verdict.YES)
    if checked := done.get(StepRef(Step.CHECK_SILENCE, number)):
        known = replace(known, silent=bool(checked.result["silent"]))
    return known
