"""The whole model: SigLIP and BEATs see and hear, two projectors translate, Qwen2 reads and writes.

In a prompt stand the words before the media, the video's tokens, the audio's tokens, and the words after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from deepsound.reasoning.videollama2.beats import Beats, BeatsConfig
from deepsound.reasoning.videollama2.stc import STCConnector

AudioProjector = Literal["linear", "mlp2x_gelu"]


@dataclass(frozen=True, slots=True)
class VideoLlama2Config:
    """Sizes of the parts. `frames` is how many frames of a video are shown."""

    language: Qwen2Config
    vision: SiglipVisionConfig
    audio: BeatsConfig
    audio_projector: AudioProjector
    frames: int


class VisionTower(nn.Module):
    """SigLIP up to the input of its last layer, which is all that is read of it."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        shorter = SiglipVisionConfig(**config.to_dict())
        shorter.num_hidden_layers = config.num_hidden_layers - 1
        whole = SiglipVisionModel(shorter)
        self.embeddings = whole.embeddings
        self.encoder = whole.encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (n, 3, size, size) in ±1 to patches (n, (size // 14)², channels)."""
        return self.encoder(inputs_embeds=self.embeddings(pixels)).last_hidden_state


def audio_projector(kind: AudioProjector, channels: int, hidden: int) -> nn.Sequential:
    """From BEATs' width to the language model's: one layer, or two with GELU between."""
    first = nn.Linear(channels, hidden)
    return nn.Sequential(first) if kind == "linear" else nn.Sequential(first, nn.GELU(), nn.Linear(hidden, hidden))


class VideoLlama2(nn.Module):
    """VideoLLaMA2.1-AV."""

    def __init__(self, config: VideoLlama2Config) -> None:
        super().__init__()
        self.config = config
        hidden = config.language.hidden_size
        self.vision = VisionTower(config.vision)
        self.connector = STCConnector(config.vision.hidden_size, hidden)
        self.audio = Beats(config.audio)
        self.audio_projector = audio_projector(config.audio_projector, config.audio.dim, hidden)
        self.language = Qwen2ForCausalLM(config.language)

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Frames (frames, 3, size, size) in ±1 to tokens (tokens, hidden)."""
        return self.connector(self.vision(pixels)[None])[0]

    def encode_sound(self, fbank: Tensor) -> Tensor:
        """Log mel energies (frames, 128) to tokens (frames // 16 × 8, hidden)."""
        return self.audio_projector(self.audio(fbank[None]))[0]

    def embed_tokens(self, ids: Sequence[int]) -> Tensor:
        """Token ids as vectors (len(ids), hidden)."""
        table = self.language.get_input_embeddings()
        return table(torch.tensor(ids, dtype=torch.long, device=next(self.language.parameters()).device))
