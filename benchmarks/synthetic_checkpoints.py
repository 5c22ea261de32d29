"""Checkpoints of the official sizes and layout, filled from names (tests/parity/filling.py): nothing is fetched.

What they make is noise, at the true cost.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor, nn

from deepsound.generation.mmaudio.bigvgan import BIGVGAN_16K, BIGVGAN_44K, BigVGAN
from deepsound.generation.mmaudio.clip import load_clip, vit_h_14_378
from deepsound.generation.mmaudio.flow import FlowNetwork
from deepsound.generation.mmaudio.networks import Files, Networks, Precision, Sizes, Weights
from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, VARIANTS
from deepsound.generation.mmaudio.synchformer import Synchformer, SynchformerConfig
from deepsound.generation.mmaudio.tokens import read_tokenizer, tokenize
from deepsound.generation.mmaudio.vae import VAE, VAE_16K, VAE_44K
from deepsound.separation.bs_roformer.config import EP_317
from deepsound.separation.bs_roformer.network import BSRoformer
from tests.parity.clip import open_clip_shapes
from tests.parity.filling import Overrides, fill, floating_shapes

PREFIX = "vfeat_extractor."
VARIANT_NAMES = tuple(VARIANTS)

_STATISTICS = Path(__file__).parents[1] / "tests" / "parity" / "mel_statistics.json"
_LETTERS = "abcdefghijklmnopqrstuvwxyz "
_CLIP: Overrides = (("logit_scale", 4.6, 0.0), ("token_embedding|_embedding$", 0.0, 0.02))
_VAE: Overrides = ((r"\.weight$", 0.0, 1.0), ("learnable_gain", 0.1, 0.0))
_VOCODER: Overrides = (("weight_g$", 0.5, 0.05), ("weight_v$", 0.0, 1.0))


def sizes_of(variant: str) -> Sizes:
    """The official sizes of `small-16k`, `large-44k-v2`, ..."""
    published = VARIANTS[variant]
    small = published.audio == AUDIO_16K
    return Sizes(
        audio=published.audio,
        flow=published.flow,
        clip=vit_h_14_378(),
        synchformer=SynchformerConfig(),
        vae=VAE_16K if small else VAE_44K,
        vocoder=BIGVGAN_16K if small else BIGVGAN_44K,
    )


def filled_files(folder: Path, variant: str) -> Files:
    """All files of a variant; those that lie in the folder already are taken as they are."""
    sizes = sizes_of(variant)
    rate = sizes.audio.sample_rate // 1000
    clip, vocabulary = folder / "open_clip_pytorch_model.bin", folder / "tokenizer.json"
    _once(clip, lambda: fill(open_clip_shapes(sizes.clip), _CLIP).tensors)
    if not vocabulary.is_file():
        _write_vocabulary(vocabulary, sizes.clip.text_config.bos_token_id)
    files = Files(
        flow=_weights(folder / f"mmaudio_{variant.replace('-', '_')}.pth"),
        clip=_weights(clip),
        synchformer=_weights(folder / "synchformer_state_dict.pth"),
        vae=_weights(folder / f"v1-{rate}.pth"),
        vocoder=_weights(folder / ("best_netG.pt" if rate == 16 else "bigvgan_generator.pt")),
        vocabulary=vocabulary,
    )
    _once(files.synchformer.path, lambda: _synchformer(sizes.synchformer))
    _once(files.vae.path, lambda: _vae(sizes))
    _once(files.vocoder.path, lambda: {"generator": _vocoder(sizes)})
    _once(files.flow.path, lambda: _flow(sizes, files))
    return files


def networks(folder: Path, variant: str, precision: Precision, device: str = "cpu") -> Networks:
    """A variant's networks over the files in a folder, which are written where they are missing."""
    return Networks(sizes_of(variant), filled_files(folder, variant), device=device, precision=precision)


def filled_separator(folder: Path) -> Path:
    """BS-RoFormer's file."""
    path = folder / "model_bs_roformer_ep_317_sdr_12.9755.ckpt"

    def make() -> dict[str, Tensor]:
        network = BSRoformer(EP_317)
        return network.state_dict() | fill(floating_shapes(network.state_dict()), skip=["freqs"]).tensors

    _once(path, make)
    return path


def empty_text(sizes: Sizes, files: Files) -> dict[str, Tensor]:
    """What the flow network's published file holds for the empty text: CLIP's own features of it."""
    tokens = tokenize(read_tokenizer(files.vocabulary), "", sizes.flow.text_length)
    with torch.no_grad():
        return {"empty_string_feat": load_clip(files.clip.path, sizes.clip).texts(tokens)[0]}


def _once(path: Path, make) -> None:
    if not path.is_file():
        partial = path.with_name(f".{path.name}.part")
        torch.save(make(), partial)
        partial.replace(path)


def _weights(path: Path) -> Weights:
    return Weights(path.stem, "CC0-1.0", path)


def _flow(sizes: Sizes, files: Files) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        network = FlowNetwork(sizes.flow)
    state = fill(floating_shapes(network.state_dict())).tensors
    state["latent_std"].abs_()
    return state | empty_text(sizes, files)


def _synchformer(config: SynchformerConfig) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        encoder = Synchformer(config)
    filled = fill(floating_shapes(encoder.state_dict()), prefix=PREFIX)
    return {PREFIX + name: value for name, value in filled.tensors.items()}


def _vae(sizes: Sizes) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        vae = VAE(sizes.vae)
    bands = json.loads(_STATISTICS.read_text())[str(sizes.vae.mel_bands)]
    statistics = {f"data_{kind}": torch.tensor(values).view(1, -1, 1) for kind, values in bands.items()}
    return fill(floating_shapes(vae.state_dict()), _VAE, skip=["data_"]).tensors | statistics


def _vocoder(sizes: Sizes) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        vocoder: nn.Module = BigVGAN(sizes.vocoder)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in floating_shapes(vocoder.state_dict()).items():
        normed = name.endswith(".weight")
        shapes |= {f"{name}_g": (shape[0], 1, 1), f"{name}_v": shape} if normed else {name: shape}
    return fill(shapes, _VOCODER).tensors


def _write_vocabulary(path: Path, start: int) -> None:
    vocabulary = {letter: index for index, letter in enumerate(_LETTERS)}
    marks = {"<|startoftext|>": start, "<|endoftext|>": start + 1}
    Tokenizer(BPE(vocab=vocabulary | marks, merges=[])).save(str(path))
