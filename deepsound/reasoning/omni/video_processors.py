"""Frames of a video in the layout a family's network takes, made by the family's Pillow image processor.

The video processors of transformers need torchvision. Those of these families do to every frame what the image
processor does, and differ in how the patches are laid out; that is done here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from transformers import BaseImageProcessor
from transformers.image_processing_base import BatchFeature
from transformers.video_processing_utils import VideoProcessorMixin
from transformers.video_utils import VideoMetadata

Frames = NDArray[np.uint8]
"""RGB bytes (n, height, width, 3)."""


class PillowVideoProcessor(VideoProcessorMixin):
    """A video processor made of a family's image processor."""

    def __init__(self, pictures: BaseImageProcessor) -> None:
        super().__init__()
        self._pictures = cast(Any, pictures)

    def to_dict(self) -> dict[str, Any]:
        """Its settings; transformers writes them to its log."""
        return {name: value for name, value in super().to_dict().items() if name != "_pictures"}


class QwenVideoProcessor(PillowVideoProcessor):
    """Qwen's layout: consecutive frames share their patches (Qwen2-VL, arXiv 2409.12191, section 2.1).

    An odd last frame is paired with itself.
    """

    model_input_names = ("pixel_values_videos", "video_grid_thw")

    def __init__(self, pictures: BaseImageProcessor, settings: Mapping[str, Any]) -> None:  # noqa: ARG002
        super().__init__(pictures)
        # The processor of the family counts tokens by these.
        self.merge_size = int(self._pictures.merge_size)
        self.temporal_patch_size = int(self._pictures.temporal_patch_size)

    def __call__(self, videos: Sequence[Frames], **settings: Any) -> BatchFeature:
        """Patches `pixel_values_videos` (n, channels · frames · side²) and `video_grid_thw` (videos, 3)."""
        made = [self._patches(list(video), settings.get("size")) for video in videos]
        patches, grids = zip(*made, strict=True)
        return BatchFeature(
            {"pixel_values_videos": np.concatenate(patches), "video_grid_thw": np.stack(grids)},
            tensor_type=settings.get("return_tensors"),
        )

    def _patches(self, frames: list[Frames], size: object) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        together = self.temporal_patch_size
        frames = [*frames, *frames[-1:] * (-len(frames) % together)]
        single = self._pictures(frames, return_tensors="np", **({"size": size} if size else {}))
        _, high, wide = single["image_grid_thw"][0]
        # A picture is in its own patches `together` times over.
        each = single["pixel_values"].reshape(len(frames), high * wide, 3, together, -1)[:, :, :, 0]
        grouped = each.reshape(-1, together, high * wide, *each.shape[2:]).transpose(0, 2, 3, 1, 4)
        return grouped.reshape(len(grouped) * high * wide, -1), np.array([len(grouped), high, wide])


class Gemma4VideoProcessor(PillowVideoProcessor):
    """Gemma 4's layout: pictures of few tokens, each after the minute and second it is shown at."""

    model_input_names = ("pixel_values_videos", "video_position_ids", "num_frames_per_video")

    def __init__(self, pictures: BaseImageProcessor, settings: Mapping[str, Any]) -> None:
        super().__init__(pictures)
        # Where the release does not say, Gemma 4's own number for a frame.
        self.max_soft_tokens = int(settings.get("max_soft_tokens", 70))

    def __call__(self, videos: Sequence[Frames], **settings: Any) -> BatchFeature:
        """Patches (frames, patches, 3 · side²) of all videos, their places, frames and tokens a video, times."""
        frames = [frame for video in videos for frame in video]
        made = self._pictures(frames, max_soft_tokens=self.max_soft_tokens, return_tensors="np")
        lengths = [len(video) for video in videos]
        firsts = np.cumsum([0, *lengths[:-1]])
        times = cast("Sequence[VideoMetadata]", settings["video_metadata"])
        return BatchFeature(
            {
                "pixel_values_videos": made["pixel_values"],
                "video_position_ids": made["image_position_ids"],
                "num_frames_per_video": lengths,
                "num_soft_tokens_per_video": [made["num_soft_tokens_per_image"][first] for first in firsts],
                "video_metadata": list(times),
            }
        )
