"""The served reasoner as a backend: shows frames, plays the sound, and keeps every word of the answer."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.errors import ModelFailedError
from deepsound.media.observers import Footage, Observer
from deepsound.models.identity import ModelIdentity
from deepsound.reasoning.chat_prompts import judge_question, plan_question, silence_question
from deepsound.reasoning.protocol import Reply
from deepsound.reasoning.served.address import parse_address, read_api_key
from deepsound.reasoning.served.answer_probability import answer_probability
from deepsound.reasoning.served.audio_input import WavWindow, wav_windows
from deepsound.reasoning.served.chat_client import MAX_NEW_TOKENS, TEMPERATURE, ChatClient
from deepsound.reasoning.served.chat_messages import ReplyChoice, user_message
from deepsound.reasoning.served.transport import CONCURRENT_REQUESTS, RetryPolicy
from deepsound.reasoning.still_frames import StillsObserver, jpegs, shown_frames, stills_of


class Served:
    """The model at `url`, or `url#model` where the server has several.

    `version` is raised whenever the same frames and sound would be asked about in another way. Server and model
    belong to the step key as `name` and `models`: what weights a server holds, nobody outside can tell. The key
    is read from the environment when this is made. Raises BadSettingsError for a URL or key that is
    none; the server is first asked for `models`.
    """

    version = "1"

    def __init__(self, url: str, *, patience: RetryPolicy | None = None) -> None:
        address = parse_address(url)
        self._url = address.url
        self._named = address.model
        self._server = ChatClient(address.url, read_api_key(), patience or RetryPolicy())
        self.name = f"served:{address.url}"

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """The model's name and the server's URL; it has no files here. Raises what `Server.only_model` does."""
        return (ModelIdentity(self._model, self._url, "unstated"),)

    @property
    def concurrency(self) -> int:
        """As many as the server may be asked at once: videos wait for it, not for the processor."""
        return CONCURRENT_REQUESTS

    def observers(self) -> Sequence[Observer]:
        """Sixteen frames, evenly spread, as JPEG."""
        return (StillsObserver(),)

    def plan(self, footage: Footage) -> Reply:
        """Ask for a plan of the chosen frames. Raises DeepSoundError as `judge` does."""
        shown = stills_of(footage, self.name)
        prompt = plan_question([float(moment) for moment in shown["time"]])
        return replace(self._asked(jpegs(shown), (), prompt), frames=shown_frames(shown))

    def judge(self, footage: Footage, audio: Path) -> Reply:
        """Ask the protocol's question of the chosen frames and all of `audio`.

        A refusal in words is reply like any other words. Raises ModelFailedError for a reply
        without words or too much sound, InternalError for footage without this reasoner's observation, and what
        `Server.complete` raises.
        """
        shown, heard = stills_of(footage, self.name), wav_windows(audio)
        prompt = judge_question([float(moment) for moment in shown["time"]], [window.span for window in heard])
        return replace(self._asked(jpegs(shown), heard, prompt), frames=shown_frames(shown))

    def is_silent(self, audio: Path) -> Reply:
        """Ask the protocol's third question of `audio` alone. Raises DeepSoundError as `judge` does."""
        return self._asked((), wav_windows(audio), silence_question())

    def _asked(self, pictures: Sequence[bytes], heard: Sequence[WavWindow], prompt: str) -> Reply:
        model, began = self._model, time.monotonic()
        completion = self._server.complete(model, user_message(pictures, heard, prompt))
        choice, usage = completion.choices[0], completion.usage
        raw = self._words(choice)
        tokens = choice.logprobs.content if choice.logprobs else None
        return Reply(
            raw=raw,
            prompt=prompt,
            probability=answer_probability(raw, tokens) if tokens else None,
            parameters=self._parameters(choice, len(heard)),
            prompt_tokens=usage.prompt_tokens if usage else None,
            reply_tokens=usage.completion_tokens if usage else None,
            seconds=time.monotonic() - began,
        )

    @cached_property
    def _model(self) -> str:
        return self._named or self._server.only_model()

    def _words(self, choice: ReplyChoice) -> str:
        raw = choice.message.content or choice.message.refusal
        if raw:
            return raw
        raise ModelFailedError(
            f"the model said nothing (finish reason: {choice.finish_reason or 'none'})",
            where=self._url,
            remedy="check the server's chat template and content filter",
        )

    def _parameters(self, choice: ReplyChoice, sounds: int) -> dict[str, Json]:
        return {
            "url": self._url,
            "model": self._model,
            "sounds": sounds,
            "temperature": TEMPERATURE,
            "most_tokens": MAX_NEW_TOKENS,
            "finish_reason": choice.finish_reason,
            "refused": bool(choice.message.refusal),
            "thinking": choice.message.reasoning_content,
        }
