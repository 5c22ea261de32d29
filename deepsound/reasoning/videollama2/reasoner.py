"""The paper's reasoners as backends: the released models look, listen, and reason or answer with a letter."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from deepsound import cot
from deepsound.cot import ReplyForm
from deepsound.errors import InternalError, ModelFailedError
from deepsound.media.observers import Footage, Observation, Observer
from deepsound.models.file_hashes import checkpoint_sha256
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.models.local import find_file, known_model
from deepsound.reasoning.local.greedy_decoder import StopReason
from deepsound.reasoning.local.quantisation import parse_precision
from deepsound.reasoning.local.reply_batches import GeneratedReply, concurrency_on, question_batcher
from deepsound.reasoning.protocol import Reply
from deepsound.reasoning.videollama2.audio_input import read_fbank
from deepsound.reasoning.videollama2.chat_session import SiglipFrames, VideoLlama2ChatSession, VideoLlama2Question
from deepsound.reasoning.videollama2.checkpoint import load_network, weight_files
from deepsound.reasoning.videollama2.configuration import read_config
from deepsound.reasoning.videollama2.network import VideoLlama2Config
from deepsound.reasoning.videollama2.observer import FRAMES, FramesObserver
from deepsound.reasoning.videollama2.vocabulary import Media, Vocabulary, read_vocabulary


class _VideoLlama2:
    """A release of VideoLLaMA2.1-AV from its official shards in `folder`, by default the one in the models folder.

    Decoding is greedy, with the release's own repetition penalty. `precision` is that of the language model's
    layers: "4bit", "8bit", or "" for the dtype. `dtype` is float16 on a GPU, as released, else bfloat16. Questions
    that several threads ask at once are answered side by side. Raises BadSettingsError for a precision
    that there is not, or not here.
    """

    name: str
    release: str
    form: ReplyForm
    """The form of reply that decoding aims at."""

    def __init__(
        self,
        precision: str = "",
        *,
        folder: Path | None = None,
        config: VideoLlama2Config | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        kind = self.name
        self._precision = parse_precision(precision, kind)
        self._folder = folder or _official_folder(kind)
        self._given = config
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = dtype or (torch.float16 if self._device.type == "cuda" else torch.bfloat16)
        self._kind = kind
        self.name = f"{kind}:{precision}" if precision else kind
        # Whatever changes the words belongs to the version, and so to the step key.
        self.version = "/".join(filter(None, ("2", str(self._dtype).removeprefix("torch."), self._precision)))
        self._batcher = question_batcher(self._answer)

    @cached_property
    def models(self) -> Sequence[ModelIdentity]:
        """The shards, hashed once. Raises ModelMissingError, ModelFailedError."""
        files = {path.name: checkpoint_sha256(path) for path in weight_files(self._folder)}
        return (ModelIdentity(self._kind, self.release, "unstated", files),)

    @property
    def concurrency(self) -> int:
        """How many questions it is worth having asked at once."""
        return concurrency_on(self._device)

    def observers(self) -> Sequence[Observer]:
        """Frames evenly spaced over the video, as many as the release's config says."""
        return (FramesObserver(self._config.frames),)

    def plan(self, footage: Footage) -> Reply:
        """Ask for a plan of the chosen frames. Raises DeepSoundError as `judge` does."""
        seen = self._observation(footage)
        prompt = self._vocabulary.prompt(cot.PLAN_PROMPT, Media.VIDEO)
        with self._batcher.joined() as ask:
            [generated] = ask([VideoLlama2Question(prompt, Media.VIDEO, _shown(seen), None, None)])
        return self._reply(prompt, generated, _frames(seen))

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Ask the protocol's question of the chosen frames and `audio`.

        Raises InternalError for footage without this reasoner's observation, and what loading and
        reading raise.
        """
        seen = self._observation(footage)
        prompt = self._vocabulary.prompt(cot.JUDGE_PROMPT, Media.VIDEO)
        with self._batcher.joined() as ask:
            [generated] = ask(
                [VideoLlama2Question(prompt, Media.VIDEO, _shown(seen), read_fbank(audio), self.form)]
            )
        return self._reply(prompt, generated, _frames(seen))

    def is_silent(self, audio: Path) -> Reply:
        """Ask the third trained question of `audio` alone. Raises DeepSoundError as `judge` does."""
        prompt = self._vocabulary.prompt(cot.SILENCE_PROMPT, Media.AUDIO)
        with self._batcher.joined() as ask:
            [generated] = ask([VideoLlama2Question(prompt, Media.AUDIO, None, read_fbank(audio), None)])
        return self._reply(prompt, generated, ())

    def _answer(self, questions: Sequence[VideoLlama2Question]) -> list[GeneratedReply]:
        return self._interlocutor.answer(questions)

    def _reply(self, prompt: str, generated: GeneratedReply, frames: tuple[ShownFrame, ...]) -> Reply:
        stopped = generated.stop_reason is StopReason.LETTER
        return Reply(
            raw=generated.raw,
            prompt=prompt,
            probability=generated.probability,
            frames=frames,
            parameters={
                "ended": generated.stop_reason,
                "repetition_penalty": self._penalty,
                "dtype": str(self._dtype).removeprefix("torch."),
                "precision": self._precision or None,
                "batch": generated.batch,
            },
            form=self.form if stopped or self.form is ReplyForm.LETTER else ReplyForm.STAGES,
            prompt_tokens=generated.prompt_tokens,
            reply_tokens=generated.reply_tokens,
            seconds=generated.seconds,
        )

    def _observation(self, footage: Footage) -> Observation:
        if FRAMES not in footage.observations:
            raise InternalError(
                "the footage was not seen by this reasoner's observer",
                where=self.name,
                remedy="decode the video with the reasoner's observers",
            )
        return footage.observations[FRAMES]

    @cached_property
    def _config(self) -> VideoLlama2Config:
        return self._given or read_config(self._folder)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return read_vocabulary(self._folder)

    @cached_property
    def _interlocutor(self) -> VideoLlama2ChatSession:
        network = load_network(
            self._folder, self._config, dtype=self._dtype, device=self._device, precision=self._precision
        )
        return VideoLlama2ChatSession(network, self._vocabulary, self._penalty)

    @cached_property
    def _penalty(self) -> float:
        """The release's repetition penalty, which applies to greedy decoding too; 1 where it names none."""
        path = self._folder / "generation_config.json"
        if not path.is_file():
            return 1.0
        try:
            return float(json.loads(path.read_text("utf-8")).get("repetition_penalty", 1.0))
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelFailedError("is damaged", where=str(path), remedy="fetch it again") from error


class VideoLlama2Cot(_VideoLlama2):
    """VideoLLaMA2.1-7B-AV-CoT: reasons in four stages, and is stopped at the letter it concludes with."""

    name = "videollama2-cot"
    release = "VideoLLaMA2.1-7B-AV-CoT"
    form = ReplyForm.STAGES_TO_LETTER


class VideoLlama2Qa(_VideoLlama2):
    """VideoLLaMA2.1-7B-AV-QA: answers with the letter alone, and ends its turn by itself."""

    name = "videollama2-qa"
    release = "VideoLLaMA2.1-7B-AV-QA"
    form = ReplyForm.LETTER


def _official_folder(name: str) -> Path:
    model = known_model(name)
    return find_file(model, model.files[0]).parent


def _shown(seen: Observation) -> SiglipFrames:
    return SiglipFrames(np.asarray(seen["pixels"], np.uint8), np.asarray(seen["sha256"], np.uint8))


def _frames(seen: Observation) -> tuple[ShownFrame, ...]:
    return tuple(
        ShownFrame(float(time), bytes(digest).hex())
        for time, digest in zip(seen["time"], seen["sha256"], strict=True)
    )
