"""The omni reasoner as a backend: an audio-video chat model of transformers looks, listens and reasons."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from deepsound.cot import ReplyForm
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.identity import ModelIdentity
from deepsound.media.footage import Footage, Observer
from deepsound.reasoning.answering import Letters, read_letters
from deepsound.reasoning.omni.families import Family, read_family
from deepsound.reasoning.omni.network import MOST_TOKENS, answer, load_network
from deepsound.reasoning.omni.processing import Conversation, Shown, read_conversation
from deepsound.reasoning.omni.release import find_release, identify
from deepsound.reasoning.protocol import Testimony
from deepsound.reasoning.questions import judge_question, plan_question, silence_question
from deepsound.reasoning.sounds import Heard, windows
from deepsound.reasoning.stills import StillsObserver, pictures, shown_frames, stills_of

REVISION = "1"  # raise it whenever the same frames and sound would be asked about in another way


_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Omni:
    """The audio-video chat model `model`: a folder, its name in the models folder, or a Hugging Face repository
    in the local cache; `model#float32` where it is not to be computed in bfloat16. Nothing is fetched.

    Decoding is greedy, offers A and B alone once the conclusion is opened, and stops at the letter. Calls from
    several threads run one after another. Raises DeepSoundError: MODEL_MISSING for a model that is not here,
    BAD_SETTINGS for a dtype that there is not; files are first read for `models`, `judge` or `is_silent`.
    """

    def __init__(self, model: str, *, device: str | None = None) -> None:
        named, _, dtype = model.partition("#")
        self._dtype = _dtype(dtype or "bfloat16", model)
        self._release = find_release(named)
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._turn = threading.Lock()
        self.name = f"omni:{self._release.name}"
        # Whatever changes the words belongs to the version, and so to the step key.
        self.version = f"{REVISION}/{_name(self._dtype)}"

    @cached_property
    def models(self) -> Sequence[ModelIdentity]:
        """All files that are read, hashed once. Raises DeepSoundError MODEL_MISSING, MODEL_FAILED."""
        _ = self._family  # a model that can't be run is refused before tens of gigabytes are read
        return (identify(self._release),)

    def observers(self) -> Sequence[Observer]:
        """Sixteen stills, evenly spread."""
        return (StillsObserver(),)

    def plan(self, footage: Footage) -> Testimony:
        """Ask for a plan of the stills. Raises DeepSoundError as `judge` does."""
        stills = stills_of(footage, self.name)
        shown = Shown(pictures(stills), stills["time"].astype(np.float64))
        question = plan_question([float(moment) for moment in shown.times])
        return replace(self._asked(question, shown, ()), frames=shown_frames(stills))

    def judge(self, footage: Footage, audio: Path) -> Testimony:
        """Ask the protocol's question of the stills and all of `audio`.

        Raises DeepSoundError: INTERNAL for footage without this reasoner's observation, MODEL_FAILED for more
        sound than the model takes, and what loading and reading raise.
        """
        stills = stills_of(footage, self.name)
        shown = Shown(pictures(stills), stills["time"].astype(np.float64))
        heard = windows(audio, self._conversation.sample_rate)
        question = judge_question([float(moment) for moment in shown.times], [sound.span for sound in heard])
        return replace(self._asked(question, shown, heard), frames=shown_frames(stills))

    def is_silent(self, audio: Path) -> Testimony:
        """Ask the protocol's third question of `audio` alone. Raises DeepSoundError as `judge` does."""
        return self._asked(silence_question(), None, windows(audio, self._conversation.sample_rate))

    def _asked(self, question: str, shown: Shown | None, heard: Sequence[Heard]) -> Testimony:
        prompt = self._conversation.prompt(question, sounds=len(heard), video=shown is not None)
        with self._turn:
            network = self._network
            began = time.monotonic()
            tensors = self._conversation.tensors(prompt, shown, [sound.samples for sound in heard])
            reply = answer(network, tensors, self._conversation.tokenizer, self._letters)
        return Testimony(
            raw=reply.text,
            prompt=prompt,
            probability=reply.probability,
            parameters={
                "model": self._release.name,
                "dtype": _name(self._dtype),
                "sounds": len(heard),
                "most_tokens": MOST_TOKENS,
            },
            form=ReplyForm.STAGES if reply.probability is None else ReplyForm.STAGES_TO_LETTER,
            prompt_tokens=reply.prompt_tokens,
            reply_tokens=reply.tokens,
            seconds=time.monotonic() - began,
        )

    @cached_property
    def _family(self) -> tuple[Family, PreTrainedConfig]:
        return read_family(self._release)

    @cached_property
    def _conversation(self) -> Conversation:
        return read_conversation(self._release, self._family[0])

    @cached_property
    def _letters(self) -> Letters:
        return read_letters(self._conversation.tokenizer, self._release.folder)

    @cached_property
    def _network(self) -> PreTrainedModel:
        family, config = self._family
        return load_network(self._release, family, config, dtype=self._dtype, device=self._device)


def _dtype(name: str, model: str) -> torch.dtype:
    if name not in _DTYPES:
        what, remedy = f"there is no dtype {name!r}", f"choose one of: {', '.join(_DTYPES)}"
        raise DeepSoundError(ErrorCode.BAD_SETTINGS, what, where=f"omni:{model}", remedy=remedy)
    return _DTYPES[name]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
