"""The omni reasoner as a backend: an audio-video chat model of transformers looks, listens and reasons."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig

from deepsound.cot import ReplyForm
from deepsound.errors import BadSettingsError
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity, ShownFrame
from deepsound.reasoning.chat_prompts import judge_question, plan_question, silence_question
from deepsound.reasoning.local.answer_tokens import AnswerVocabulary, find_answer_tokens
from deepsound.reasoning.local.greedy_decoder import MAX_NEW_TOKENS
from deepsound.reasoning.local.quantisation import parse_precision
from deepsound.reasoning.local.reply_batches import GeneratedReply, concurrency_on, question_batcher
from deepsound.reasoning.omni.chat_session import OmniChatSession, OmniQuestion
from deepsound.reasoning.omni.input_processing import InputProcessor, ShownVideo, load_input_processor
from deepsound.reasoning.omni.model_families import ModelFamily, check_quantisable, read_family
from deepsound.reasoning.omni.network import end_tokens, load_network
from deepsound.reasoning.omni.release import find_release, release_identity
from deepsound.reasoning.protocol import Reply
from deepsound.reasoning.sound_windows import SoundWindow, read_windows
from deepsound.reasoning.still_frames import StillsObserver, pictures, shown_frames, stills_of

REVISION = "2"  # raise it whenever the same frames and sound would be asked about in another way


_BITS = re.compile(r":(\d+bit)\Z")
"""A precision, after the name of a model."""

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Omni:
    """The audio-video chat model `model`: a folder, its name in the models folder, or a Hugging Face repository
    in the local cache. Nothing is fetched. `model#float32` where it is not to be computed in bfloat16,
    `model:4bit` or `model:8bit` for the language model's layers in fewer bits, or both, in the other order.

    Decoding is greedy; once the conclusion is opened, only A and B are allowed, and decoding stops at the letter.
    Questions of several threads are answered in one batch. Raises ModelMissingError if the model is not on this
    machine, BadSettingsError for an unknown dtype or precision. `models`, `judge` and `is_silent` read the files.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        given, _, dtype = model.partition("#")
        named, bits = _parted(given)
        self._dtype = _dtype(dtype or "bfloat16", model)
        self._precision = parse_precision(bits, f"omni:{named}")
        self._release = find_release(named)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._batcher = question_batcher(self._answer)
        self.name = ":".join(filter(None, ("omni", self._release.name, self._precision)))
        # Whatever changes the words belongs to the version, and so to the step key.
        self.version = "/".join(filter(None, (REVISION, _name(self._dtype), self._precision)))

    @cached_property
    def models(self) -> Sequence[ModelIdentity]:
        """All files that are read, hashed once. Raises ModelMissingError, ModelFailedError."""
        _ = self._family  # a model that can't be run is refused before tens of gigabytes are read
        return (release_identity(self._release),)

    @property
    def concurrency(self) -> int:
        """How many questions it is worth having asked at once."""
        return concurrency_on(self._device)

    def observers(self) -> Sequence[Observer]:
        """Sixteen stills, evenly spread."""
        return (StillsObserver(),)

    def plan(self, footage: Footage) -> Reply:
        """Ask for a plan of the stills. Raises DeepSoundError as `judge` does."""
        shown, frames = self._shown(footage)
        asked = self._asked(shown, None, lambda _: plan_question(_moments(shown)))
        return replace(asked, frames=frames)

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Ask the protocol's question of the stills and all of `audio`.

        Raises InternalError for footage without this reasoner's observation, ModelFailedError for more
        sound than the model takes, and what loading and reading raise.
        """
        shown, frames = self._shown(footage)
        asked = self._asked(
            shown, audio, lambda heard: judge_question(_moments(shown), [sound.span for sound in heard])
        )
        return replace(asked, frames=frames)

    def is_silent(self, audio: Path) -> Reply:
        """Ask the protocol's third question of `audio` alone. Raises DeepSoundError as `judge` does."""
        return self._asked(None, audio, lambda _: silence_question())

    def _shown(self, footage: Footage) -> tuple[ShownVideo, tuple[ShownFrame, ...]]:
        stills = stills_of(footage, self.name)
        return ShownVideo(pictures(stills), stills["time"].astype(np.float64)), shown_frames(stills)

    def _asked(
        self, shown: ShownVideo | None, audio: Path | None, worded: Callable[[Sequence[SoundWindow]], str]
    ) -> Reply:
        with self._batcher.joined() as ask:
            heard = read_windows(audio, self._processor.sample_rate) if audio else []
            prompt = self._processor.prompt(worded(heard), sounds=len(heard), video=shown is not None)
            [generated] = ask([OmniQuestion(prompt, shown, [sound.samples for sound in heard])])
        return self._reply(prompt, generated, len(heard))

    def _reply(self, prompt: str, generated: GeneratedReply, sounds: int) -> Reply:
        return Reply(
            raw=generated.raw,
            prompt=prompt,
            probability=generated.probability,
            parameters={
                "model": self._release.name,
                "ended": generated.stop_reason,
                "dtype": _name(self._dtype),
                "precision": self._precision or None,
                "sounds": sounds,
                "most_tokens": MAX_NEW_TOKENS,
                "batch": generated.batch,
            },
            form=ReplyForm.STAGES if generated.probability is None else ReplyForm.STAGES_TO_LETTER,
            prompt_tokens=generated.prompt_tokens,
            reply_tokens=generated.reply_tokens,
            seconds=generated.seconds,
        )

    def _answer(self, questions: Sequence[OmniQuestion]) -> list[GeneratedReply]:
        return self._interlocutor.answer(questions)

    @cached_property
    def _family(self) -> tuple[ModelFamily, PreTrainedConfig]:
        family, config = read_family(self._release)
        check_quantisable(self._release, config, self._precision)
        return family, config

    @cached_property
    def _processor(self) -> InputProcessor:
        return load_input_processor(self._release, self._family[0])

    @cached_property
    def _interlocutor(self) -> OmniChatSession:
        (family, config), tokenizer = self._family, self._processor.tokenizer
        network = load_network(
            self._release, family, config, dtype=self._dtype, device=self._device, precision=self._precision
        )
        words = AnswerVocabulary(
            tokenizer, end_tokens(network, tokenizer), find_answer_tokens(tokenizer, self._release.folder)
        )
        return OmniChatSession(network, family, self._processor, words)


def _parted(given: str) -> tuple[str, str]:
    """The name of a model, and the precision after it, if any."""
    bits = _BITS.search(given)
    return (given[: bits.start()], bits[1]) if bits else (given, "")


def _moments(shown: ShownVideo) -> list[float]:
    return [float(moment) for moment in shown.times]


def _dtype(name: str, model: str) -> torch.dtype:
    if name not in _DTYPES:
        what, remedy = f"there is no dtype {name!r}", f"choose one of: {', '.join(_DTYPES)}"
        raise BadSettingsError(what, where=f"omni:{model}", remedy=remedy)
    return _DTYPES[name]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
