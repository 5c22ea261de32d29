"""A small MMAudio in the published files' layout: same names, nesting and leftovers, random weights."""

from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor
from transformers import CLIPConfig

from deepsound.generation.mmaudio.bigvgan import BigVGAN, BigVGANConfig
from deepsound.generation.mmaudio.flow import FlowNetwork
from deepsound.generation.mmaudio.networks import Files, Networks, Precision, Sizes, Weights
from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, FlowConfig, MelFormat
from deepsound.generation.mmaudio.synchformer import Synchformer, SynchformerConfig
from deepsound.generation.mmaudio.vae import VAEConfig
from tests.parity.clip import open_clip_shapes
from tests.parity.filling import fill, floating_shapes
from tests.parity.vae_encoder import VAEWithEncoder

LETTERS = "abcdefghijklmnopqrstuvwxyz "


def small_sizes() -> Sizes:
    """Networks of the published shape that run in milliseconds."""
    tower = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_act": "quick_gelu"}
    vision = {"hidden_size": 16, "patch_size": 14, "image_size": 378}
    marks = {"bos_token_id": len(LETTERS), "eos_token_id": len(LETTERS) + 1}
    text = {"hidden_size": 20, "vocab_size": len(LETTERS) + 2} | marks
    return Sizes(
        audio=AUDIO_16K,
        flow=FlowConfig(8, 64, 4, 2, 2, clip_dim=24, sync_dim=16, text_dim=20),
        clip=CLIPConfig(vision_config=tower | vision, text_config=tower | text, projection_dim=24),
        synchformer=SynchformerConfig(width=16, heads=2, depth=1),
        vae=VAEConfig(mel_bands=80, width=16, latent_dim=8),
        vocoder=BigVGANConfig(80, (16, 16), second=False, width=64),
    )


def light_sizes() -> Sizes:
    """The least of everything, at two latents a second: for long videos."""
    sizes = small_sizes()
    sizes.clip.vision_config.patch_size = 126
    return replace(
        sizes,
        audio=MelFormat(2000, 512, 80),
        flow=FlowConfig(8, 64, 1, 0, 1, clip_dim=24, sync_dim=16, text_dim=20, text_length=8),
        synchformer=SynchformerConfig(width=16, heads=1, depth=0),
        vocoder=BigVGANConfig(80, (32, 16), second=False, width=8),
    )


def write_small_files(folder: Path, sizes: Sizes | None = None) -> Files:
    """All files of networks of some sizes, by default `small_sizes`, named as published."""
    sizes = sizes or small_sizes()
    with torch.device("meta"):
        flow, synchformer = FlowNetwork(sizes.flow), Synchformer(sizes.synchformer)
        vae, vocoder = VAEWithEncoder(sizes.vae), BigVGAN(sizes.vocoder)
    clip = fill(open_clip_shapes(sizes.clip)).tensors
    unused = {"vfeat_extractor.patch_embed.proj.bias": torch.ones(16), "afeat_extractor.norm.bias": torch.ones(4)}
    tables = {"latent_rot": torch.ones(3), "clip_rot": torch.ones(3), "t_embed.freqs": torch.ones(3)}
    return Files(
        flow=_saved(folder / "mmaudio_small_16k.pth", _filled(flow) | tables),
        clip=_saved(folder / "open_clip_pytorch_model.bin", clip),
        synchformer=_saved(
            folder / "synchformer_state_dict.pth", _filled(synchformer, "vfeat_extractor.") | unused
        ),
        vae=_saved(folder / "v1-16.pth", _filled(vae)),
        vocoder=_saved(folder / "best_netG.pt", {"generator": _with_weight_norm(_filled(vocoder))}),
        vocabulary=_write_vocabulary(folder / "tokenizer.json"),
    )


def small_networks(files: Files, precision: Precision = "float32") -> Networks:
    """Networks over `files`, on the CPU."""
    return Networks(small_sizes(), files, device="cpu", precision=precision)


def _filled(module: torch.nn.Module, prefix: str = "") -> dict[str, Tensor]:
    filled = fill(floating_shapes(module.state_dict()), prefix=prefix).tensors
    return {prefix + name: value for name, value in filled.items()}


def _with_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    split: dict[str, Tensor] = {"activation_post.upsample.filter": torch.ones(1, 1, 12)}
    for name, value in state.items():
        if name.endswith(".weight"):
            split[f"{name}_g"] = torch.full((len(value), 1, 1), 0.5)
            split[f"{name}_v"] = value
        else:
            split[name] = value
    return split


def _saved(path: Path, content: dict[str, Tensor] | dict[str, dict[str, Tensor]]) -> Weights:
    torch.save(content, path)
    return Weights(path.stem, "CC0-1.0", path)


def _write_vocabulary(path: Path) -> Path:
    vocabulary = {letter: index for index, letter in enumerate(LETTERS)}
    marks = {"<|startoftext|>": len(LETTERS), "<|endoftext|>": len(LETTERS) + 1}
    Tokenizer(BPE(vocab=vocabulary | marks, merges=[])).save(str(path))
    return path
