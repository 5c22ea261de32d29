"""What MMAudio keeps in memory: no checkpoint twice, nothing unused, no more for longer videos or in between.

Measured in a process of its own: the memory that is the process's alone or mapped from files (VmHWM, VmRSS).
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from deepsound.generation.mmaudio.backend import MMAudio
from deepsound.generation.mmaudio.bigvgan import BigVGANConfig
from deepsound.generation.mmaudio.flow import FlowNetwork
from deepsound.generation.mmaudio.networks import Files, Networks, Sizes
from deepsound.generation.mmaudio.observers import CLIP_OBSERVATION, SYNC_OBSERVATION
from deepsound.generation.mmaudio.sampling_windows import blend, plan_windows
from deepsound.generation.mmaudio.sequence_config import AUDIO_44K, SYNC_RATE, SYNC_STRIDE, FlowConfig
from deepsound.generation.protocol import GenerationRequest
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.models.checkpoints import give_back_memory
from tests.made_clips import write_clip
from tests.mmaudio_checkpoints import light_sizes, small_networks, small_sizes, write_small_files
from tests.parity.clip import open_clip_shapes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from Linux's /proc"),
]

MIB = 1 << 20


@pytest.fixture
def child() -> Iterator[ProcessPoolExecutor]:
    """A process that has nothing in memory but what a test has it do."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def memory(kind: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) * 1024


def forget_peak() -> None:
    """From now on VmHWM is the peak since now."""
    Path("/proc/self/clear_refs").write_text("5")


# No checkpoint twice


def heavy_sizes() -> Sizes:
    """Weights of hundreds of MiB, little to compute: few patches, few words."""
    tower = {"num_hidden_layers": 8, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}
    sizes = small_sizes()
    vision, text = sizes.clip.vision_config, sizes.clip.text_config
    vision.update(tower | {"patch_size": 126})
    text.update(tower)
    flow = FlowConfig(8, 448, 4, 2, 7, clip_dim=24, sync_dim=16, text_dim=768, text_length=8)
    return replace(sizes, flow=flow)


def write_heavy_files(folder: Path) -> Files:
    """The small files with heavy CLIP and flow, and a half of Synchformer's file that nothing uses."""
    sizes, files = heavy_sizes(), write_small_files(folder)
    with torch.device("meta"):
        flow = FlowNetwork(sizes.flow)
    shapes = {name: value.shape for name, value in flow.state_dict().items()}
    torch.save(random(shapes), files.flow.path)
    torch.save(random(open_clip_shapes(sizes.clip)), files.clip.path)
    unused = {"afeat_extractor.blocks.weight": torch.zeros(160 * MIB // 4)}
    torch.save(torch.load(files.synchformer.path, weights_only=True) | unused, files.synchformer.path)
    return files


def random(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape) * 0.02 for name, shape in shapes.items()}


def peak_of_a_clip(files: Files, clip: Path, *, lean: bool) -> int:
    """Bytes that looking at a clip and generating add at most, in bfloat16."""
    torch.set_num_threads(1)
    make(MMAudio(small_networks(write_small_files(clip.parent), "bfloat16")), clip)
    give_back_memory()
    before = memory("VmRSS")
    forget_peak()
    make(MMAudio(Networks(heavy_sizes(), files, device="cpu", precision="bfloat16", lean=lean)), clip)
    return memory("VmHWM") - before


def make(generator: MMAudio, clip: Path) -> None:
    footage = decode_video(clip, generator.observers())
    generator.generate(GenerationRequest(clip, footage, "rain", "", seed=1), clip.with_suffix(".wav"))


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_heavy_files(tmp_path_factory.mktemp("heavy"))


@pytest.mark.parametrize(("lean", "share"), [(False, 0.55), (True, 0.42)])
def test_no_weight_is_in_memory_twice_and_lean_networks_make_room_for_each_other(
    child: ProcessPoolExecutor, heavy: Files, tmp_path: Path, *, lean: bool, share: float
) -> None:
    """Half of the files is what bfloat16 takes of everything in them."""
    on_disk = sum(file.path.stat().st_size for file in heavy.weights())
    clip = write_clip(tmp_path / "clip.mp4", seconds=0.3, rate=10, size=(64, 48))
    peak = child.submit(peak_of_a_clip, heavy, clip, lean=lean).result()
    assert on_disk > 700 * MIB
    assert peak < share * on_disk, f"{peak / MIB:.0f} of {on_disk / MIB:.0f} MiB"


# As much for an hour as for a minute


def peaks_of_looking(folder: Path) -> list[int]:
    """Peaks in bytes over half a minute of video, and over ten minutes."""
    generator = light_generator(folder)
    clips = [
        write_clip(folder / f"{seconds}.mp4", seconds=seconds, rate=1, size=(32, 32)) for seconds in (30, 600)
    ]
    decode_video(clips[0], generator.observers())
    return [peak_of(lambda clip=clip: decode_video(clip, generator.observers())) for clip in clips]


def peaks_of_generating(folder: Path) -> list[int]:
    """Peaks in bytes over making the sound of three minutes, of which one piece is whole, and of ten."""
    generator = light_generator(folder)
    clip = write_clip(folder / "clip.mp4", seconds=2, rate=1, size=(32, 32))
    footage = decode_video(clip, generator.observers())
    requests = [GenerationRequest(clip, lasting(footage, minutes), "", "", seed=1) for minutes in (3, 10)]
    generator.generate(requests[0], folder / "sound.wav")
    return [peak_of(lambda asked=asked: generator.generate(asked, folder / "sound.wav")) for asked in requests]


def light_generator(folder: Path, vocoder: BigVGANConfig | None = None) -> MMAudio:
    torch.set_num_threads(1)
    sizes = light_sizes()
    sizes = replace(sizes, vocoder=vocoder or sizes.vocoder)
    files = write_small_files(folder, sizes)
    return MMAudio(Networks(sizes, files, device="cpu", precision="float32"), at_once=8)


def lasting(footage: Footage, minutes: int) -> Footage:
    """What was seen, over and over again, as of a video of so many minutes."""
    clip, sync = footage.observations[CLIP_OBSERVATION], footage.observations[SYNC_OBSERVATION]
    frames, segments = minutes * 60, round(minutes * 60 * SYNC_RATE / SYNC_STRIDE)
    observations = {
        CLIP_OBSERVATION: {
            "time": np.arange(frames, dtype=np.float64),
            "feature": np.resize(clip["feature"], (frames, clip["feature"].shape[1])),
        },
        SYNC_OBSERVATION: {"token": np.resize(sync["token"], (segments, *sync["token"].shape[1:]))},
    }
    return replace(footage, info=replace(footage.info, duration=minutes * 60.0), observations=observations)


def peak_of(work: Callable[[], object]) -> int:
    forget_peak()
    work()
    return memory("VmHWM")


@pytest.mark.parametrize("peaks", [peaks_of_looking, peaks_of_generating])
def test_memory_is_flat(child: ProcessPoolExecutor, tmp_path: Path, peaks: Callable[[Path], list[int]]) -> None:
    short, long = child.submit(peaks, tmp_path).result()
    assert long - short < 48 * MIB, f"{short / MIB:.0f}, then {long / MIB:.0f} MiB"


def bytes_of_blending() -> tuple[int, int]:
    """How large the mel of ten minutes is, and the most that blending it from windows adds."""
    torch.set_num_threads(1)
    windows = plan_windows(600.0, AUDIO_44K)
    parts = [torch.ones(1, 2 * window.lengths.latent, 128) for window in windows[:1]] * len(windows)
    give_back_memory()
    before = memory("VmRSS")
    made: list[torch.Tensor] = []
    peak = peak_of(lambda: made.append(blend(windows, parts, scale=2)))
    return made[0].nbytes, peak - before


def test_blending_needs_no_second_copy(child: ProcessPoolExecutor) -> None:
    size, added = child.submit(bytes_of_blending).result()
    assert size > 24 * MIB
    assert added < 1.5 * size, f"{added / MIB:.0f} for {size / MIB:.0f} MiB"


# Nothing between two requests


def idle_after_a_request(folder: Path) -> tuple[int, int]:
    """Bytes that a minute's sound adds at most, and those that the process then holds without using them."""
    generator = light_generator(folder, BigVGANConfig(80, (8, 4, 4, 4), second=False, width=512))
    clip = write_clip(folder / "clip.mp4", seconds=2, rate=1, size=(32, 32))
    request = GenerationRequest(clip, lasting(decode_video(clip, generator.observers()), 1), "", "", seed=1)
    generator.generate(request, folder / "sound.wav")
    before = memory("VmRSS")
    peak = peak_of(lambda: generator.generate(request, folder / "sound.wav"))
    after = memory("VmRSS")
    give_back_memory()
    return peak - before, after - memory("VmRSS")


def test_a_request_leaves_no_buffers_behind_for_the_next_which_has_another_length(
    child: ProcessPoolExecutor, tmp_path: Path
) -> None:
    added, idle = child.submit(idle_after_a_request, tmp_path).result()
    assert idle < 16 * MIB, f"{idle / MIB:.0f} MiB"
    assert added > 96 * MIB, "or there was nothing to leave behind"
