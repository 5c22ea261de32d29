"""The paper's reasoner as a backend: the released chain-of-thought model looks, listens and reasons."""
# PyTorch leaves from_numpy without types.
# pyright: reportUnknownMemberType=false

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicCache

from deepsound import cot
from deepsound.canonical import sha256_file
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.identity import ModelIdentity, ShownFrame
from deepsound.media.footage import Footage, Observation, Observer
from deepsound.models import find_file, known_model
from deepsound.reasoning.protocol import Testimony
from deepsound.reasoning.videollama2.checkpoint import load_network, weight_files
from deepsound.reasoning.videollama2.configuration import read_config
from deepsound.reasoning.videollama2.decoding import greedy
from deepsound.reasoning.videollama2.listening import heard
from deepsound.reasoning.videollama2.network import VideoLlama2, VideoLlama2Config
from deepsound.reasoning.videollama2.observer import FRAMES, FramesObserver
from deepsound.reasoning.videollama2.prompting import Vocabulary, read_vocabulary

_RELEASE = "VideoLLaMA2.1-7B-AV-CoT"
_MOST_TOKENS = 2048
_OPENS = f"<{cot.Stage.CONCLUSION.name}>"
_CLOSES = f"</{cot.Stage.CONCLUSION.name}>"


@dataclass(frozen=True, slots=True)
class _Reply:
    """What was said, in how many tokens, and P(A) against P(B) where the conclusion was chosen."""

    raw: str
    tokens: int
    probability: float | None


class VideoLlama2Cot:
    """VideoLLaMA2.1-7B-AV-CoT from its official shards in `folder`, by default the one in the models
    folder.

    Decoding is greedy, with the release's own repetition penalty, and stops once the conclusion is closed.
    `dtype` is float16 on a GPU, as released, else bfloat16. Calls from several threads run one after another.
    """

    name = "videollama2-cot"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        config: VideoLlama2Config | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._folder = folder or _official_folder()
        self._given = config
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._dtype = dtype or (torch.float16 if self._device.type == "cuda" else torch.bfloat16)
        self._turn = threading.Lock()
        # Whatever changes the words belongs to the version, and so to the step key.
        self.version = f"1/{str(self._dtype).removeprefix('torch.')}"

    @cached_property
    def models(self) -> Sequence[ModelIdentity]:
        """The shards, hashed once. Raises DeepSoundError MODEL_MISSING, MODEL_FAILED."""
        files = {path.name: sha256_file(path) for path in weight_files(self._folder)}
        return (ModelIdentity(self.name, _RELEASE, "unstated", files),)

    def observers(self) -> Sequence[Observer]:
        """Frames evenly spaced over the video, as many as the release's config says."""
        return (FramesObserver(self._config.frames),)

    def plan(self, footage: Footage) -> Testimony:  # noqa: ARG002 - the protocol's signature
        """The protocol's own plan: decoding greedily, the model gives this one for every video."""
        return Testimony(raw=cot.PLAN, prompt=cot.PLAN_PROMPT)

    def judge(self, footage: Footage, audio: Path) -> Testimony:
        """Ask the protocol's question of the chosen frames and `audio`.

        Raises DeepSoundError: INTERNAL for footage without this reasoner's observation, and what loading and
        reading raise.
        """
        shown = _observation(footage)
        prompt = self._vocabulary.prompt(cot.JUDGE_PROMPT)
        with self._turn, torch.inference_mode():
            reply = self._answer(prompt, np.asarray(shown["pixels"], np.uint8), heard(audio))
        return Testimony(
            raw=reply.raw,
            prompt=prompt,
            probability=reply.probability,
            frames=tuple(
                ShownFrame(float(time), bytes(digest).hex())
                for time, digest in zip(shown["time"], shown["sha256"], strict=True)
            ),
            parameters={
                "tokens": reply.tokens,
                "repetition_penalty": self._penalty,
                "dtype": str(self._dtype).removeprefix("torch."),
            },
        )

    def _answer(self, prompt: str, pixels: NDArray[np.uint8], fbank: Tensor) -> _Reply:
        network, vocabulary = self._network, self._vocabulary
        frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        media = [
            network.see(frames.to(self._device, self._dtype)),
            network.hear(fbank.to(self._device, self._dtype)),
        ]
        embedded = network.embed(vocabulary.tokens(prompt), media)
        said: list[int] = []
        text, probability = "", None
        for token, logits in greedy(network.language, embedded, DynamicCache(), self._penalty):
            if token == vocabulary.end or len(said) == _MOST_TOKENS:
                break
            if text.rstrip().endswith(_OPENS):
                probability = _probability(logits, vocabulary)
            said.append(token)
            text = vocabulary.text(said)
            if _CLOSES in text:
                break
        return _Reply(text, len(said), probability)

    @cached_property
    def _config(self) -> VideoLlama2Config:
        return self._given or read_config(self._folder)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return read_vocabulary(self._folder)

    @cached_property
    def _network(self) -> VideoLlama2:
        return load_network(self._folder, self._config, dtype=self._dtype, device=self._device)

    @cached_property
    def _penalty(self) -> float:
        """The release's repetition penalty, which applies to greedy decoding too; 1 where it names none."""
        path = self._folder / "generation_config.json"
        if not path.is_file():
            return 1.0
        try:
            return float(json.loads(path.read_text("utf-8")).get("repetition_penalty", 1.0))
        except (ValueError, TypeError, AttributeError) as error:
            raise DeepSoundError(
                ErrorCode.MODEL_FAILED, "is damaged", where=str(path), remedy="fetch it again"
            ) from error


def _official_folder() -> Path:
    model = known_model(VideoLlama2Cot.name)
    return find_file(model, model.files[0]).parent


def _observation(footage: Footage) -> Observation:
    if FRAMES not in footage.observations:
        raise DeepSoundError(
            ErrorCode.INTERNAL,
            "the footage was not seen by this reasoner's observer",
            where=VideoLlama2Cot.name,
            remedy="decode the video with the reasoner's observers",
        )
    return footage.observations[FRAMES]


def _probability(logits: Tensor, vocabulary: Vocabulary) -> float:
    """P(A) / (P(A) + P(B)) at the answer's token."""
    yes, no = (logits[list(tokens)].logsumexp(0) for tokens in vocabulary.answers)
    return float(torch.sigmoid(yes - no))
