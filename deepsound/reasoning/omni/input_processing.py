"""From frames, sounds and a question to what a network reads, through the release's own processor and template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.video_processing_utils import VideoProcessorMixin
from transformers.video_utils import VideoMetadata

from deepsound.errors import ModelFailedError
from deepsound.reasoning.omni.model_families import ModelFamily
from deepsound.reasoning.omni.release import Release, release_error
from deepsound.reasoning.omni.video_processors import Frames

_SHORTEST_SECONDS = 0.2
"""Shorter sounds are filled up with silence: the encoders' strides leave nothing of them."""

_MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class ShownVideo:
    """A video as a chat model is shown it: frames, and when each is on show (n,), in seconds."""

    frames: Frames
    times: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """Frames a second, from the middle of the gaps between them; one frame counts as one a second."""
        return float(1 / np.median(np.diff(self.times))) if len(self.times) > 1 else 1.0


@dataclass(frozen=True, slots=True)
class InputProcessor:
    """The processor of a release. `sample_rate` is that of the sounds it takes, in Hz."""

    processor: Any
    tokenizer: PreTrainedTokenizerBase
    sample_rate: int

    def prompt(self, question: str, *, sounds: int, video: bool) -> str:
        """The processor up to the model's turn, by the release's template: video, sounds, question."""
        media = [*[{"type": "video"}] * video, *[{"type": "audio"}] * sounds]
        turn = {"role": "user", "content": [*media, {"type": "text", "text": question}]}
        return str(self.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))

    def tensors(
        self, prompt: str, shown: ShownVideo | None, sounds: Sequence[NDArray[np.float32]]
    ) -> dict[str, Tensor]:
        """What the network reads, a batch of one."""
        least = round(_SHORTEST_SECONDS * self.sample_rate)
        begins = cast(Any, self.tokenizer).bos_token
        made = self.processor(
            text=[prompt],
            audio=[np.pad(sound, (0, max(least - len(sound), 0))) for sound in sounds] or None,
            # Templates of families that begin with a token of their own spell it out.
            add_special_tokens=not (begins and prompt.startswith(begins)),
            return_tensors="pt",
            **(_video(shown) if shown else {}),
        )
        return dict(made)


def _video(shown: ShownVideo) -> dict[str, Any]:
    """A video as processors take it. Families of one kind read `fps`, of the other the time of each frame."""
    moments = [round(time * _MILLISECONDS) for time in shown.times]
    clock = VideoMetadata(total_num_frames=len(moments), fps=_MILLISECONDS, frames_indices=moments)
    return {"videos": [shown.frames], "videos_kwargs": {"fps": shown.rate, "video_metadata": [clock]}}


class _AnyVideoProcessor:
    """Before a processor's class: lets it have a video processor where transformers, without torchvision, knows of
    none.
    """

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> object:
        """The class the part has to be of; asked of every part."""
        if argument_name == "video_processor":
            return VideoProcessorMixin
        return super().check_argument_for_proper_class(argument_name, argument)  # pyright: ignore


def load_input_processor(release: Release, family: ModelFamily) -> InputProcessor:
    """The processor in a release's folder; nothing is fetched and no code in the folder is run.

    Raises ModelFailedError where a part of it is missing or damaged.
    """
    try:
        processor = _assembled(release, family)
        processor = InputProcessor(processor, processor.tokenizer, int(processor.feature_extractor.sampling_rate))
        processor.prompt("", sounds=1, video=True)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, TemplateError) as error:
        what = f"tokenizer, processor or chat template can't be used ({error})"
        raise release_error(release, ModelFailedError, what) from error
    return processor


def _assembled(release: Release, family: ModelFamily) -> Any:
    # Not by the processor's own from_pretrained, which asks for a video processor, and that for torchvision.
    here: dict[str, Any] = {"pretrained_model_name_or_path": release.folder, "local_files_only": True}
    kind = cast(
        "type[ProcessorMixin]", type(family.processor.__name__, (_AnyVideoProcessor, family.processor), {})
    )
    settings, _ = kind.get_processor_dict(**here)
    video_settings, _ = VideoProcessorMixin.get_video_processor_dict(**here)
    pictures = family.image_processor.from_pretrained(**here)
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(**here, trust_remote_code=False),
        "feature_extractor": AutoFeatureExtractor.from_pretrained(**here, trust_remote_code=False),
        "image_processor": pictures,
        "video_processor": family.video_processor(pictures, video_settings),
    }
    return kind.from_args_and_dict([parts[name] for name in kind.get_attributes()], settings)
