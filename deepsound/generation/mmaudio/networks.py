"""The five networks that make up one MMAudio generator: their sizes, their files, and loading when first used."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar, cast
from weakref import WeakSet

import torch
from torch import nn
from torch.backends import cudnn
from transformers import CLIPConfig

from deepsound.errors import MemoryExhaustedError, is_out_of_memory
from deepsound.generation.mmaudio.bigvgan import (
    BIGVGAN_16K,
    BIGVGAN_44K,
    BigVGAN,
    BigVGANConfig,
    load_bigvgan,
)
from deepsound.generation.mmaudio.clip import CLIP, load_clip, vit_h_14_378
from deepsound.generation.mmaudio.flow import EXACT, FlowNetwork, load_flow
from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, VARIANTS, FlowConfig, MelFormat
from deepsound.generation.mmaudio.synchformer import Synchformer, SynchformerConfig, load_synchformer
from deepsound.generation.mmaudio.vae import VAE, VAE_16K, VAE_44K, VAEConfig, load_vae
from deepsound.models.checkpoints import give_back_memory, move_to_device
from deepsound.models.identity import ModelIdentity
from deepsound.models.local import KnownModel, checked_sha256, find_set

Precision = Literal["float32", "bfloat16"]
Part = TypeVar("Part", bound=nn.Module)

_LOOKING = frozenset({"clip", "synchformer"})
_SOUNDING = frozenset({"reader", "flow", "vae", "vocoder"})


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the networks that work together."""

    audio: MelFormat
    flow: FlowConfig
    clip: CLIPConfig
    synchformer: SynchformerConfig
    vae: VAEConfig
    vocoder: BigVGANConfig


@dataclass(frozen=True, slots=True)
class Weights:
    """One network's file, and what is known of its origin. `published`: the official file's SHA-256."""

    name: str
    licence: str
    path: Path
    published: str | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one generator. `vocabulary` is CLIP's `tokenizer.json`."""

    flow: Weights
    clip: Weights
    synchformer: Weights
    vae: Weights
    vocoder: Weights
    vocabulary: Path

    def weights(self) -> tuple[Weights, ...]:
        """All weight files."""
        return self.flow, self.clip, self.synchformer, self.vae, self.vocoder


class Networks:
    """Each network is loaded once, when it is first needed.

    CLIP, Synchformer and the flow network compute in `precision`; the autoencoder and the vocoder, which cost
    little or lose their phase, stay in float32. `lean` networks are in memory only while they are at work, and
    loaded anew for the next video.
    """

    def __init__(
        self, sizes: Sizes, files: Files, *, device: str | None, precision: Precision, lean: bool = False
    ) -> None:
        self.sizes = sizes
        self.files = files
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision: Precision = precision
        self._turn = threading.RLock()
        self._lean = lean
        self._parts: dict[str, nn.Module] = {}
        # Observers of a video that could not be decoded to its end are never told so.
        self._watching: WeakSet[object] = WeakSet()
        self._sounding = 0

    @contextmanager
    def turn(self) -> Generator[None]:
        """One computation at a time, without gradients, and repeatable. Raises DeepSoundError OUT_OF_MEMORY.

        TensorFloat-32, PyTorch's default for convolutions on a GPU, would keep 10 of float32's 23 bits.
        """
        exact = cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with self._turn, torch.inference_mode(), exact:
            try:
                yield
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise MemoryExhaustedError(
                    f"the networks and what they work on do not fit the {self.device.type}",
                    where=self.files.flow.name,
                    remedy="free memory on the device, choose a smaller variant, or add `:bfloat16-lean`",
                ) from error

    @property
    def identities(self) -> Sequence[ModelIdentity]:
        """All weight files and CLIP's vocabulary; hashes are remembered from process to process.

        Raises DeepSoundError MODEL_FAILED for a file that is not the published one.
        """
        with self._turn:
            return self._hashed

    @cached_property
    def _hashed(self) -> Sequence[ModelIdentity]:
        return tuple(ModelIdentity(one.name, "1", one.licence, self._hashes(one)) for one in self.files.weights())

    def _hashes(self, weights: Weights) -> dict[str, str]:
        hashes = {weights.path.name: checked_sha256(weights.path, weights.published, weights.name)}
        if weights == self.files.clip:
            # Published with it, and what prompts mean depends on it.
            hashes[self.files.vocabulary.name] = checked_sha256(self.files.vocabulary, None, weights.name)
        return hashes

    def sha256(self, weights: Weights) -> str:
        """SHA-256 of one of the weight files."""
        index = self.files.weights().index(weights)
        return self.identities[index].files[weights.path.name]

    @contextmanager
    def sounding(self) -> Generator[None]:
        """While sound is made of what was seen."""
        with self._turn:
            self._sounding += 1
            self._put_aside(_LOOKING, unless=bool(self._watching))
        try:
            yield
        finally:
            with self._turn:
                self._sounding -= 1
                self._put_aside(_SOUNDING, unless=self._sounding > 0)
            # Buffers of other lengths than the next request's would lie idle between its own.
            give_back_memory()

    def done_with(self, name: str) -> None:
        """A request has come to what follows the network called `name`."""
        with self._turn:
            self._put_aside(frozenset({name}), unless=self._sounding > 1)

    def watched_with(self, watcher: object) -> None:
        """A video is seen until `watched` or the end of `watcher`."""
        with self._turn:
            self._watching.add(watcher)

    def watched(self, watcher: object) -> None:
        """`watcher` has seen its video."""
        with self._turn:
            self._watching.discard(watcher)
            self._put_aside(_LOOKING, unless=bool(self._watching))

    @property
    def clip(self) -> CLIP:
        """Picture features: CLIP without the tower that reads."""
        path, config = self.files.clip.path, self.sizes.clip
        return self._once("clip", lambda: load_clip(path, config, tower="pictures"), self._type)

    @property
    def reader(self) -> CLIP:
        """Text features: CLIP without the tower that looks."""
        path, config = self.files.clip.path, self.sizes.clip
        return self._once("reader", lambda: load_clip(path, config, tower="texts"), self._type)

    @property
    def synchformer(self) -> Synchformer:
        """Synchronisation features."""
        path, config = self.files.synchformer.path, self.sizes.synchformer
        return self._once("synchformer", lambda: load_synchformer(path, config), self._type)

    @property
    def flow(self) -> FlowNetwork:
        """The flow of latents."""
        return self._once("flow", lambda: load_flow(self.files.flow.path, self.sizes.flow), self._type, EXACT)

    @property
    def vae(self) -> VAE:
        """Latents to mel."""
        path, config = self.files.vae.path, self.sizes.vae
        return self._once("vae", lambda: load_vae(path, config), torch.float32)

    @property
    def vocoder(self) -> BigVGAN:
        """Mel to sound."""
        path, config = self.files.vocoder.path, self.sizes.vocoder
        return self._once("vocoder", lambda: load_bigvgan(path, config), torch.float32)

    @property
    def _type(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def _once(self, name: str, load: Callable[[], Part], dtype: torch.dtype, exact: tuple[str, ...] = ()) -> Part:
        """The network called `name`. Threads that ask while it is being loaded wait for it."""
        with self._turn:
            if name not in self._parts:
                self._parts[name] = move_to_device(load(), self.device, dtype, exact=exact)
            return cast(Part, self._parts[name])

    def _put_aside(self, names: frozenset[str], *, unless: bool) -> None:
        idle = names & self._parts.keys()
        if self._lean and idle and not unless:
            for name in idle:
                del self._parts[name]
            give_back_memory()


def official_networks(
    name: str, *, device: str | None = None, precision: Precision = "float32", lean: bool = False
) -> Networks:
    """The networks of generator `name` (`mmaudio-...`) from the models folder.

    Raises DeepSoundError MODEL_MISSING, saying what to put where.
    """
    variant = VARIANTS[name.removeprefix("mmaudio-")]
    small = variant.audio == AUDIO_16K
    sizes = Sizes(
        audio=variant.audio,
        flow=variant.flow,
        clip=vit_h_14_378(),
        synchformer=SynchformerConfig(),
        vae=VAE_16K if small else VAE_44K,
        vocoder=BIGVGAN_16K if small else BIGVGAN_44K,
    )
    # In the catalogue's order.
    flow, vae, vocoder, synchformer, (clip, (seeing, vocabulary)) = find_set(name)
    files = Files(
        flow=_weights(*flow),
        clip=_weights(clip, (seeing,)),
        synchformer=_weights(*synchformer),
        vae=_weights(*vae),
        vocoder=_weights(*vocoder),
        vocabulary=vocabulary,
    )
    return Networks(sizes, files, device=device, precision=precision, lean=lean)


def _weights(model: KnownModel, paths: tuple[Path, ...]) -> Weights:
    return Weights(model.name, model.licence, paths[0], model.files[0].sha256)
