"""MMAudio from checkpoint files to a sound file, with small networks in the published layout."""

import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import av
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.generation.mmaudio.backend import MMAudio, _shown
from deepsound.generation.mmaudio.networks import Files, Networks, Precision, Weights
from deepsound.generation.mmaudio.observers import (
    _AT_ONCE,
    CLIP_OBSERVATION,
    SYNC_OBSERVATION,
    ClipObserver,
    SyncObserver,
)
from deepsound.generation.mmaudio.sampling_windows import blend, plan_windows
from deepsound.generation.mmaudio.sequence_config import AUDIO_16K, AUDIO_44K, MelFormat
from deepsound.generation.mmaudio.tokens import read_tokenizer, tokenize
from deepsound.generation.protocol import GenerationRequest
from deepsound.media.decode import decode_video
from tests.frame_times import RATES, chosen_by_the_reference, frame_times, taken
from tests.made_clips import edit_list, write_clip
from tests.mmaudio_checkpoints import LETTERS, small_networks, write_small_files

RATE = 16_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_small_files(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def networks(files: Files) -> Networks:
    return small_networks(files)


@pytest.fixture(scope="module")
def generator(networks: Networks) -> MMAudio:
    return MMAudio(networks)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=1.5)


@pytest.fixture(scope="module")
def request_for(generator: MMAudio, clip: Path) -> GenerationRequest:
    return GenerationRequest(clip, decode_video(clip, generator.observers()), "a knock", "", seed=3)


def generated(generator: MMAudio, request: GenerationRequest, folder: Path) -> NDArray[np.float32]:
    target = folder / "out.wav"
    result = generator.generate(request, target)
    samples, rate = soundfile.read(target, dtype="float32")
    assert (rate, len(samples)) == (result.sample_rate, result.samples) == (RATE, result.samples)
    return samples


def distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(first - second) / np.linalg.norm(first))


def flow_passes(generator: MMAudio) -> list[int]:
    """Filled with the batch size of each pass through the flow network: twice the windows, for guidance."""
    sizes: list[int] = []
    generator._networks.flow.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


def test_the_same_request_gives_the_same_samples(
    generator: MMAudio, files: Files, request_for: GenerationRequest, tmp_path: Path
) -> None:
    first = generated(generator, request_for, tmp_path)
    assert np.abs(first).max() > 0
    assert np.array_equal(first, generated(generator, request_for, tmp_path))
    assert np.array_equal(first, generated(MMAudio(small_networks(files)), request_for, tmp_path))


@pytest.mark.parametrize("change", [{"seed": 4}, {"prompt": "rain"}, {"negative_prompt": "human voice"}])
def test_seed_and_prompts_change_the_sound(
    generator: MMAudio, request_for: GenerationRequest, tmp_path: Path, change: dict[str, str | int]
) -> None:
    first = generated(generator, request_for, tmp_path)
    assert distance(first, generated(generator, replace(request_for, **change), tmp_path)) > 1e-5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("seconds", "rate"), [(0.04, 25), (0.2, 25), (1.37, 24), (2.0, 4)])
def test_the_sound_is_as_long_as_the_picture(
    files: Files, tmp_path: Path, seconds: float, rate: int, precision: Precision
) -> None:
    generator = MMAudio(small_networks(files, precision))
    clip = write_clip(tmp_path / "clip.mp4", seconds=seconds, rate=rate)
    footage = decode_video(clip, generator.observers())
    samples = generated(generator, GenerationRequest(clip, footage, "", "", seed=1), tmp_path)
    assert len(samples) == round(footage.info.duration * RATE)


def test_requests_of_several_threads_share_passes_and_sound_as_alone(files: Files, tmp_path: Path) -> None:
    alone, together = (MMAudio(small_networks(files), at_once=at_once) for at_once in (1, 4))
    lengths = (0.4, 0.4, 0.4, 0.7)
    requests: list[GenerationRequest] = []
    for index, seconds in enumerate(lengths):
        clip = write_clip(tmp_path / f"{index}.mp4", seconds=seconds, rate=4, size=(64, 48))
        footage = decode_video(clip, alone.observers())
        requests.append(GenerationRequest(clip, footage, "rain", "voice" if index else "", seed=index))
    passes = flow_passes(together)
    with ThreadPoolExecutor(len(lengths)) as pool:
        targets = [tmp_path / f"{index}.wav" for index in range(len(lengths))]
        list(pool.map(together.generate, requests, targets))
    assert len(passes) < 25 * len(lengths)
    assert sum(passes) == 2 * 25 * len(lengths)
    for request, target in zip(requests, targets, strict=True):
        shared = soundfile.read(target, dtype="float32")[0]
        assert distance(generated(alone, request, tmp_path), shared) < 1e-4


def test_a_text_is_read_once_a_process(files: Files, request_for: GenerationRequest, tmp_path: Path) -> None:
    networks = small_networks(files)
    generator, read = MMAudio(networks), []
    networks.reader.model.text_model.register_forward_hook(lambda *_: read.append(1))
    for prompt in ("a knock", "human voice", "a knock", ""):
        generator.generate(
            replace(request_for, prompt=prompt, negative_prompt="human voice"), tmp_path / "out.wav"
        )
    assert len(read) == 2


def test_threads_that_need_a_network_at_once_load_it_once(files: Files) -> None:
    networks = small_networks(files)
    everybody = Barrier(8)

    def flow(_: int) -> int:
        everybody.wait()
        return id(networks.flow)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(flow, range(8)))) == 1


def test_a_long_video_is_generated_in_windows(generator: MMAudio, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=10.43, rate=7, size=(64, 48))
    footage = decode_video(clip, generator.observers())
    request = GenerationRequest(clip, footage, "", "", seed=1)
    assert generator.generate(request, tmp_path / "out.wav").notes["windows"] == 2
    samples = soundfile.read(tmp_path / "out.wav", dtype="float32")[0]
    assert len(samples) == round(footage.info.duration * RATE)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("audio", [AUDIO_16K, AUDIO_44K])
@pytest.mark.parametrize("seconds", [0.1, 9.9, 10.1, 15.0, 600.3])
def test_windows_cover_the_video_and_keep_in_step_with_it(seconds: float, audio: MelFormat) -> None:
    windows = plan_windows(seconds, audio)
    latents_a_second = audio.sample_rate / audio.hop / 2
    assert windows[-1].stop >= seconds * latents_a_second
    for before, after in pairwise(windows):
        assert before.stop - after.start >= 1.5 * latents_a_second
    for window in windows:
        assert abs(window.start / latents_a_second - window.seconds) < 0.02
        assert window.seconds == pytest.approx(window.segment * 8 / 25)


@pytest.mark.parametrize("audio", [AUDIO_16K, AUDIO_44K])
@given(st.floats(0.04, 90), st.lists(st.floats(0.04, 90), max_size=8).map(sorted))
def test_no_window_is_heard_beyond_a_cut(audio: MelFormat, seconds: float, cuts: list[float]) -> None:
    windows = plan_windows(seconds, audio, cuts)
    whole = blend(windows, (torch.ones(1, window.lengths.latent, 1) for window in windows))
    assert torch.allclose(whole, torch.ones(()))
    bounds = {window.part.start for window in windows} | {window.part.end for window in windows}
    assert bounds <= {0.0, seconds, *cuts}
    assert all(window.part.end - window.part.start >= min(4.0, seconds) for window in windows)
    for cut in bounds - {0.0, seconds}:
        before = [window for window in windows if window.part.end <= cut]
        marks = (torch.full((1, window.lengths.latent, 1), float(window in before)) for window in windows)
        marked = blend(windows, marks)[0, :, 0]
        latent = cut * audio.sample_rate / audio.hop / 2
        assert bool((marked == (torch.arange(len(marked)) + 0.5 < latent)).all())


def test_a_window_that_starts_before_its_cut_is_shown_no_picture_of_the_other_shot() -> None:
    numbers = np.arange(72)
    seen = {"time": numbers / 8, "feature": numbers[:, None].astype(np.float32)}
    before, after = plan_windows(9.0, AUDIO_16K, [4.5])
    assert after.seconds < 4.5
    assert _shown(seen, before).max() < 36
    assert _shown(seen, after).min() == 36


def test_the_sound_of_a_shot_does_not_depend_on_the_pictures_after_its_cut(files: Files, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    shots = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(2)]
    clip = write_clip(
        tmp_path / "clip.mp4", seconds=9.0, rate=8, size=(64, 48), frames=lambda time: shots[time >= 4.5]
    )
    generator = MMAudio(small_networks(files), mode="float32-shots")
    footage = decode_video(clip, generator.observers())
    seen = footage.observations[CLIP_OBSERVATION]
    second = np.where(seen["time"][:, None] >= 4.5, -seen["feature"], seen["feature"])
    other = replace(footage, observations={**footage.observations, CLIP_OBSERVATION: {**seen, "feature": second}})
    one, two = (
        generated(generator, GenerationRequest(clip, each, "", "", seed=1), tmp_path) for each in (footage, other)
    )
    assert np.array_equal(one[: 4 * RATE], two[: 4 * RATE])
    assert distance(one[5 * RATE :], two[5 * RATE :]) > 1e-5


def test_bfloat16_makes_nearly_the_same_sound(
    generator: MMAudio, files: Files, request_for: GenerationRequest, tmp_path: Path
) -> None:
    halved = MMAudio(small_networks(files, "bfloat16"))
    assert halved.version != generator.version
    first = generated(generator, request_for, tmp_path)
    assert distance(first, generated(halved, request_for, tmp_path)) < 0.5


@given(frame_times)
def test_clip_is_shown_the_references_frames(times: list[Fraction]) -> None:
    kept = taken(times, 8)
    seen = {
        "time": np.array([float(times[number]) for number in kept]),
        "feature": np.array(kept, np.float32)[:, None],
    }
    [window] = plan_windows(min(float(times[-1]) + 0.04, 10.0), AUDIO_16K)
    chosen = chosen_by_the_reference(times, 8)
    chosen += [chosen[-1]] * window.lengths.clip
    assert _shown(seen, window)[:, 0].tolist() == chosen[: window.lengths.clip]


@pytest.mark.parametrize("rate", [*RATES, None])
def test_synchformer_is_shown_the_references_frames(networks: Networks, rate: Fraction | None) -> None:
    """Of a varying rate too. In as many blocks as frames, or in one."""
    varying = [Fraction(n * n % 97, 90) for n in range(12)]
    times = sorted(set(varying)) if rate is None else [n / rate for n in range(int(rate * Fraction(9, 8)))]
    pictures = np.random.default_rng(1).integers(0, 256, (len(times), 24, 32, 3), np.uint8)
    chosen = chosen_by_the_reference(times, 25)
    kept = taken(times, 25)
    theirs = tokens_of(networks, pictures[chosen], np.arange(len(chosen)) / 25)
    ours = tokens_of(networks, pictures[kept], np.array([float(times[number]) for number in kept]))
    assert np.array_equal(ours, theirs)


def tokens_of(networks: Networks, frames: NDArray[np.uint8], times: NDArray[np.float64]) -> NDArray[np.generic]:
    observer = SyncObserver(networks)
    observer.see(frames, times)
    return observer.finish()["token"]


def test_windows_are_shown_the_nearest_pictures_that_clip_saw() -> None:
    seen = {"time": np.arange(160) / 8, "feature": np.arange(160, dtype=np.float32)[:, None]}
    first, second, third = plan_windows(20.0, AUDIO_16K)
    assert (first.seconds, second.seconds, third.seconds) == pytest.approx((0.0, 6.4, 12.16))
    assert _shown(seen, first)[:3, 0].tolist() == [0, 1, 2]
    assert _shown(seen, second)[:3, 0].tolist() == [51, 52, 53]
    assert _shown(seen, third)[:3, 0].tolist() == [97, 98, 99]


def test_a_picture_held_for_long_is_what_both_networks_see_until_the_next(networks: Networks) -> None:
    times, numbers = np.array([0.0, 0.125, 3.0, 3.125]), np.array([0, 1, 2, 3])
    [window] = plan_windows(3.25, AUDIO_16K)
    seen = {"time": times, "feature": numbers[:, None].astype(np.float32)}
    assert _shown(seen, window)[:, 0].tolist() == [0] + 23 * [1] + [2, 3]
    pictures = np.random.default_rng(1).integers(0, 256, (4, 24, 32, 3), np.uint8)
    at = np.arange(79) / 25
    shown = np.where(at == 0, 0, np.where(at < 3 - 1e-6, 1, np.where(at < 3.001, 2, 3)))
    assert np.array_equal(tokens_of(networks, pictures, times), tokens_of(networks, pictures[shown], at))


def test_a_picture_held_until_the_end_is_seen_as_held(networks: Networks, tmp_path: Path) -> None:
    """A title after something that moved: the motion is not repeated for as long as the title stays."""
    moving = np.random.default_rng(1).integers(0, 256, (20, 24, 32, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mp4", size=(32, 24), frames=moving, times=(np.arange(20) / 25).tolist())
    with av.open(str(clip)) as container:
        *_, last = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
    footage = decode_video(edit_list(clip, [(0.76 + 5.0, 0.0)]), MMAudio(networks).observers())
    assert footage.info.duration == pytest.approx(0.76 + 5.0)
    tokens = footage.observations[SYNC_OBSERVATION]["token"]
    still = tokens_of(networks, np.asarray([last]), np.zeros(1))
    assert len(tokens) == 17
    assert not np.allclose(tokens[2], still[0], atol=1e-3)
    assert np.allclose(tokens[3:], still, atol=1e-5)


def test_a_picture_held_for_ten_minutes_costs_no_more_than_one_held_for_two_seconds(networks: Networks) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (3, 24, 32, 3), np.uint8)
    with passes_of(networks.synchformer) as sizes:
        tokens = tokens_of(networks, pictures, np.array([0.0, 0.04, 600.0]))
    assert max(sizes) <= 2
    assert sum(sizes) < 8
    assert len(tokens) == 1875
    assert np.array_equal(tokens[3], tokens[-4])
    assert not np.array_equal(tokens[0], tokens[3])


@contextmanager
def passes_of(network: torch.nn.Module) -> Iterator[list[int]]:
    """Filled with the batch size of each pass."""
    sizes: list[int] = []
    hook = network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    yield sizes
    hook.remove()


@pytest.mark.parametrize("observer", [ClipObserver, SyncObserver])
def test_on_a_gpu_more_share_a_pass_as_far_as_memory_goes(
    networks: Networks, monkeypatch: pytest.MonkeyPatch, observer: type[ClipObserver | SyncObserver]
) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (160, 24, 32, 3), np.uint8)
    network = networks.clip.model.vision_model.embeddings if observer is ClipObserver else networks.synchformer

    def kept() -> NDArray[np.generic]:
        seeing = observer(networks)
        for start in range(0, 160, 32):
            seeing.see(pictures[start : start + 32], np.arange(start, start + 32) / 25)
        return max(seeing.finish().values(), key=lambda array: array.ndim)

    def fits(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if len(inputs[0]) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with passes_of(network) as sizes:
        few = kept()
    assert max(sizes) == 2
    monkeypatch.setitem(_AT_ONCE, "cpu", _AT_ONCE["cuda"])
    with passes_of(network) as sizes:
        hook = network.register_forward_pre_hook(fits)
        many = kept()
        hook.remove()
    assert sizes[:2] == [16, 8]
    assert max(sizes[1:]) == 8
    np.testing.assert_allclose(many, few, atol=1e-5)


def test_what_the_networks_kept_of_a_long_video_is_not_in_memory(networks: Networks) -> None:
    seen, moved = ClipObserver(networks), SyncObserver(networks)
    picture = np.zeros((1, 24, 32, 3), np.uint8)
    tracemalloc.start()
    for observer in (seen, moved):
        observer.see(picture, np.zeros(1))
    moved.shown_until(7200.0)
    features, tokens = seen.finish()["feature"], moved.finish()["token"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (features.shape, tokens.shape) == ((1, 24), (22_499, 8, 16))
    assert peak < tokens.nbytes / 2


def test_synchronisation_tokens_do_not_depend_on_the_blocks(generator: MMAudio, files: Files) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (45, 60, 80, 3)).astype(np.uint8)
    times = np.arange(45) / 25
    tokens = []
    for size in (45, 7):
        observer = SyncObserver(small_networks(files))
        for start in range(0, 45, size):
            observer.see(frames[start : start + size], times[start : start + size])
        tokens.append(observer.finish()["token"])
    assert tokens[0].shape == (5, 8, 16)
    np.testing.assert_allclose(tokens[0], tokens[1], atol=1e-5)


def test_footage_that_was_not_looked_at_is_refused(
    generator: MMAudio, request_for: GenerationRequest, tmp_path: Path
) -> None:
    unseen = replace(request_for, footage=replace(request_for.footage, observations={}))
    with pytest.raises(DeepSoundError, match="mmaudio-clip") as raised:
        generator.generate(unseen, tmp_path / "out.wav")
    assert raised.value.code is ErrorCode.INTERNAL
    assert not list(tmp_path.iterdir())


def test_the_ledger_learns_every_checkpoint(generator: MMAudio, files: Files) -> None:
    named = {name for identity in generator.models for name in identity.files}
    assert named == {file.path.name for file in files.weights()} | {files.vocabulary.name}


def test_another_vocabulary_is_another_generator(files: Files, tmp_path: Path) -> None:
    changed = tmp_path / files.vocabulary.name
    changed.write_text(files.vocabulary.read_text("utf-8").replace("<|endoftext|>", "<|end|>"), "utf-8")
    others = MMAudio(small_networks(replace(files, vocabulary=changed))).models
    assert list(others) != list(MMAudio(small_networks(files)).models)


def test_a_checkpoint_of_another_network_is_named(
    files: Files, request_for: GenerationRequest, tmp_path: Path
) -> None:
    mixed = replace(files, vae=Weights("vae", "CC0-1.0", files.vocoder.path))
    with pytest.raises(DeepSoundError, match=r"best_netG\.pt") as raised:
        MMAudio(small_networks(mixed)).generate(request_for, tmp_path / "out.wav")
    assert raised.value.code is ErrorCode.MODEL_FAILED


def test_texts_are_marked_cut_and_padded(files: Files) -> None:
    tokenizer = read_tokenizer(files.vocabulary)
    start, end = len(LETTERS), len(LETTERS) + 1
    assert tokenize(tokenizer, "", 5).tolist() == [[start, end, 0, 0, 0]]
    assert tokenize(tokenizer, "  B  &amp;#97; ", 6).tolist() == [[start, 1, 26, 0, end, 0]]
    assert tokenize(tokenizer, "abcdef", 4).tolist() == [[start, 0, 1, end]]


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("a dog\u2019s bark", "a dog's bark"),
        ("\u201crain\u201d \u2018on\u2018 tin", "\"rain\" 'on' tin"),
        ("\uff32\uff21\uff29\uff2e\u3000here", "rain here"),
        ("\ufb01re", "fire"),
        ("cafe\u0301", "caf\u00e9"),
        ("dog&rsquo;s &amp;amp; cat", "dog's & cat"),
        ("rain\x00\x07 falls", "rain falls"),
        ("a caf\u00c3\u00a9", "a caf\u00e9"),
    ],
    ids=["apostrophe", "quotes", "full width", "ligature", "accent", "escaped", "control", "wrong encoding"],
)
def test_catalogue_texts_are_read_as_plain_signs(typed: str, plain: str) -> None:
    signs = sorted({*LETTERS, *plain, *typed.lower()})
    vocabulary = {sign: index for index, sign in enumerate([*signs, "<|startoftext|>", "<|endoftext|>"])}
    ids = tokenize(Tokenizer(BPE(vocab=vocabulary, merges=[])), typed, 40)[0].tolist()
    assert [signs[index] for index in ids[1 : ids.index(len(signs) + 1)]] == list(plain)
