"""BS-RoFormer: the reference's numbers, its checkpoint's layout, and what separation promises about sound."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepsound.backends import load_separator
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.licences import known_terms
from deepsound.separation.bs_roformer.chunked_separation import (
    Chunking,
    chunk_groups,
    economical_chunking,
    reference_chunking,
    voice_blocks,
)
from deepsound.separation.bs_roformer.config import EP_317
from deepsound.separation.bs_roformer.network import BSRoformer
from deepsound.separation.bs_roformer.separator import _AT_ONCE, BSRoformerSeparator
from deepsound.spans import Span
from tests.parity.__main__ import check_file
from tests.parity.bs_roformer import CHUNK, TINY, demixed, filled, wave

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
CHECKPOINT = "model_bs_roformer_ep_317_sdr_12.9755.ckpt"
CHUNKS = Chunking(CHUNK, CHUNK // 2, 4)
SMALL = replace(TINY, chunk=CHUNK)


@cache
def small_network() -> BSRoformer:
    return filled(TINY)[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network in the official file's layout."""
    path = tmp_path_factory.mktemp("weights") / CHECKPOINT
    torch.save(dict(small_network().state_dict()), path)
    return path


@pytest.fixture
def separator(checkpoint: Path) -> BSRoformerSeparator:
    return BSRoformerSeparator(checkpoint, config=SMALL, device="cpu")


def mix_file(folder: Path, seconds: float, rate: int = 44_100, channels: int = 2) -> Path:
    """A float WAV of noise."""
    noise = np.random.default_rng(5).normal(0, 0.2, (round(seconds * rate), channels))
    folder.mkdir(exist_ok=True)
    path = folder / "mix.wav"
    soundfile.write(path, noise.astype(np.float32), rate, subtype="FLOAT")
    return path


def stems(
    separator: BSRoformerSeparator, mix: Path, spans: list[Span] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Mix, voice and background as read back from the files."""
    voice, background = mix.with_name("voice.wav"), mix.with_name("background.wav")
    separator.separate(mix, voice, background, spans)
    assert sorted(path.name for path in mix.parent.iterdir()) == ["background.wav", "mix.wav", "voice.wav"]
    return tuple(soundfile.read(path, dtype="float32", always_2d=True)[0] for path in (mix, voice, background))


@pytest.mark.parametrize("name", ["bs_roformer_tiny", "bs_roformer_tiny_demix"])
def test_the_numbers_are_those_of_the_reference(name: str) -> None:
    path = GOLDEN / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip("the golden files are not beside this checkout")
    failed = [result for result in check_file(path) if not result.passed]
    assert not failed


def test_the_chunk_in_the_mirrored_tail_is_not_computed() -> None:
    computed: list[int] = []

    def estimate(chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        computed.append(len(chunks))
        return chunks

    mix = wave(441_000)[:, :44_100].numpy()
    chunking = Chunking(35_280, 17_640, 4)
    blocks = voice_blocks(lambda a, b: mix[:, a:b], 44_100, [(0, 44_100)], estimate, chunking)
    # A network that passes its input on: faded, averaged chunks are the mix again.
    np.testing.assert_allclose(np.concatenate(list(blocks), axis=1), mix, atol=1e-6)
    # Ten seconds to chunks of eight, at a tenth of the scale: the reference runs five.
    assert reference_chunking(441_000, EP_317) == Chunking(352_800, 176_400, 4)
    assert sum(len(group) for group in chunk_groups(44_100, chunking)) == 5
    assert sum(computed) == 4


@given(
    length=st.integers(1, 400),
    step=st.integers(20, 40),
    group=st.integers(1, 5),
    ends=st.tuples(st.integers(-50, 450), st.integers(-50, 450)),
)
def test_what_is_wanted_comes_out_of_chunks_as_it_went_in(
    length: int, step: int, group: int, ends: tuple[int, int]
) -> None:
    mix = np.random.default_rng(length).normal(0, 1, (2, length)).astype(np.float32)
    wanted = (min(ends), max(ends))
    chunking = Chunking(2 * step, step, group)
    blocks = voice_blocks(lambda a, b: mix[:, a:b], length, [wanted], lambda chunks: chunks, chunking)
    voice = np.concatenate(list(blocks), axis=1)
    assert voice.shape == mix.shape
    first, last = max(wanted[0], 0), max(wanted[1], 0)
    if step < length <= 2 * step and group > 1:
        # The reference leaves the first sample of such a mix at 0, and nothing else.
        first = max(first, 1)
    np.testing.assert_allclose(voice[:, first:last], mix[:, first:last], atol=1e-4)


@pytest.mark.parametrize(("seconds", "chunks"), [(0.0, 0), (0.3, 1), (8.0, 1), (10.0, 1), (12.0, 1), (20.0, 3)])
def test_economical_windows_hear_nearly_everything_once(seconds: float, chunks: int) -> None:
    mix = wave(round(seconds * 44_100)).numpy()
    length = mix.shape[1]
    heard: list[int] = []

    def estimate(chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        heard.extend(chunk.shape[-1] for chunk in chunks)
        return chunks

    blocks = voice_blocks(
        lambda a, b: mix[:, a:b], length, [(0, length)], estimate, economical_chunking(length, EP_317)
    )
    np.testing.assert_allclose(np.concatenate([*blocks, mix[:, :0]], axis=1), mix, atol=1e-5)
    assert len(heard) == chunks
    assert sum(heard) <= 1.35 * length + 441


@given(length=st.integers(1, 3000))
@example(881)
@example(882)
@settings(max_examples=15, deadline=None)
def test_a_sound_of_any_shortness_comes_out_as_long(length: int) -> None:
    mix = wave(length).numpy()

    def estimate(chunks: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return small_network()(torch.from_numpy(chunks)).numpy()

    for windows in (reference_chunking, economical_chunking):
        chunking = windows(length, replace(SMALL, chunk=4410))
        voice = np.concatenate(
            [*voice_blocks(lambda a, b: mix[:, a:b], length, [(0, length)], estimate, chunking)], 1
        )
        assert voice.shape == mix.shape
        assert np.isfinite(voice).all()


@pytest.mark.parametrize("lengths", [1, 2, 3])
def test_mixes_of_a_whole_number_of_steps_come_out_whole(
    separator: BSRoformerSeparator, tmp_path: Path, lengths: int
) -> None:
    mix, voice, _ = stems(separator, mix_file(tmp_path, lengths * CHUNKS.step / 44_100))
    expected = demixed(small_network(), mix.T, CHUNKS).numpy()
    np.testing.assert_allclose(voice.T, expected, atol=1e-6)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (16_000, 1), (48_000, 2), (48_000, 3)])
def test_voice_and_background_sum_to_the_mix_in_its_own_format(
    separator: BSRoformerSeparator, tmp_path: Path, rate: int, channels: int
) -> None:
    mix, voice, background = stems(separator, mix_file(tmp_path, 0.73, rate, channels))
    assert mix.shape == voice.shape == background.shape == (round(0.73 * rate), channels)
    assert soundfile.info(tmp_path / "voice.wav").samplerate == rate
    assert np.abs(voice + background - mix).max() <= 1e-6
    assert np.sqrt(np.mean(voice**2)) > 1e-3


def test_the_files_hold_what_the_chunked_network_says(separator: BSRoformerSeparator, tmp_path: Path) -> None:
    mix, voice, _ = stems(separator, mix_file(tmp_path, 0.73))
    expected = demixed(small_network(), mix.T, CHUNKS).numpy()
    np.testing.assert_allclose(voice.T, expected, atol=1e-6)


def test_economical_windows_are_chosen_by_name_and_said(checkpoint: Path, tmp_path: Path) -> None:
    thrifty = BSRoformerSeparator(checkpoint, mode="economical", config=SMALL, device="cpu")
    mix, voice, _ = stems(thrifty, mix_file(tmp_path, 0.73))
    expected = demixed(small_network(), mix.T, economical_chunking(len(mix), SMALL)).numpy()
    np.testing.assert_allclose(voice.T, expected, atol=1e-6)
    assert thrifty.name == "bs-roformer:economical"
    assert "economical" in thrifty.version
    paths = [tmp_path / name for name in ("mix.wav", "voice.wav", "background.wav")]
    assert thrifty.separate(*paths, []).notes["windows"] == "economical"


def test_windows_nobody_knows_are_refused_with_those_there_are() -> None:
    with pytest.raises(DeepSoundError, match="bs-roformer:economical, bs-roformer:bfloat16, ") as caught:
        load_separator("bs-roformer:thrifty")
    assert caught.value.code is ErrorCode.BAD_SETTINGS


@pytest.mark.parametrize(
    ("mode", "name", "version"),
    [
        ("", "bs-roformer", "1/reference windows/float32"),
        ("float32", "bs-roformer", "1/reference windows/float32"),
        ("reference", "bs-roformer", "1/reference windows/float32"),
        ("bfloat16", "bs-roformer:bfloat16", "1/reference windows/bfloat16"),
        ("economical", "bs-roformer:economical", "1/economical windows/float32"),
        ("bfloat16-economical", "bs-roformer:bfloat16-economical", "1/economical windows/bfloat16"),
    ],
)
def test_precision_and_windows_are_named_after_the_colon(
    checkpoint: Path, mode: str, name: str, version: str
) -> None:
    separator = BSRoformerSeparator(checkpoint, mode=mode, config=SMALL, device="cpu")
    assert (separator.name, separator.version) == (name, version)


def test_the_command_reaches_every_mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path))
    with pytest.raises(DeepSoundError) as caught:
        load_separator("bs-roformer:bfloat16-economical")
    assert caught.value.code is ErrorCode.MODEL_MISSING, "the name is understood"


def test_the_weights_licence_holds_whatever_the_windows() -> None:
    assert known_terms("bs-roformer:economical") == known_terms("bs-roformer") != ()


def test_a_mono_mix_is_the_mean_of_two_equal_channels(separator: BSRoformerSeparator, tmp_path: Path) -> None:
    mix, voice, _ = stems(separator, mix_file(tmp_path, 0.4, channels=1))
    expected = demixed(small_network(), np.repeat(mix.T, 2, axis=0), CHUNKS).mean(0).numpy()
    np.testing.assert_allclose(voice[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_only_the_named_spans_are_touched(checkpoint: Path, tmp_path: Path, rate: int) -> None:
    separator = BSRoformerSeparator(checkpoint, config=replace(TINY, chunk=8820), device="cpu")
    path = mix_file(tmp_path, 1.5, rate)
    _, everywhere, _ = stems(separator, path)
    mix, voice, background = stems(separator, path, [Span(0.6, 0.8)])
    start, stop = round(0.6 * rate), round(0.8 * rate)
    assert np.array_equal(background[:start], mix[:start])
    assert np.array_equal(background[stop:], mix[stop:])
    inside = slice(start + rate // 40, stop - rate // 40)
    np.testing.assert_allclose(voice[inside], everywhere[inside], atol=2e-5)
    # Cross-faded: no jump at the edge.
    assert np.abs(voice[start : start + 5]).max() < 0.01 * np.abs(voice[inside]).max()


def test_no_span_leaves_the_mix_as_it_is(separator: BSRoformerSeparator, tmp_path: Path) -> None:
    mix, voice, background = stems(separator, mix_file(tmp_path, 0.3), [])
    assert np.array_equal(background, mix)
    assert not voice.any()


def test_a_mix_that_is_not_numbers_is_named_and_leaves_nothing_behind(
    separator: BSRoformerSeparator, tmp_path: Path
) -> None:
    mix = tmp_path / "mix.wav"
    soundfile.write(mix, np.full((4000, 2), np.nan, np.float32), 44_100, subtype="FLOAT")
    with pytest.raises(DeepSoundError, match=f"{re.escape(str(mix))}: .* not a number"):
        separator.separate(mix, tmp_path / "voice.wav", tmp_path / "background.wav", None)
    assert [path.name for path in tmp_path.iterdir()] == ["mix.wav"]


def test_threads_that_ask_at_once_get_what_each_would_alone(checkpoint: Path, tmp_path: Path) -> None:
    shared = BSRoformerSeparator(checkpoint, config=SMALL, device="cpu")
    mixes = [mix_file(tmp_path / str(number), 0.05 * number + 0.05) for number in range(3)]
    with ThreadPoolExecutor() as threads:
        together = list(threads.map(lambda mix: stems(shared, mix)[1], mixes))
    for mix, voice in zip(mixes, together, strict=True):
        np.testing.assert_array_equal(stems(shared, mix)[1], voice)


def test_chunks_that_share_a_pass_come_out_as_alone(
    separator: BSRoformerSeparator, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixes = [mix_file(tmp_path / str(number), 0.3 + 0.01 * number) for number in range(2)]
    alone = [stems(separator, mix)[1] for mix in mixes]
    monkeypatch.setitem(_AT_ONCE, "cpu", _AT_ONCE["cuda"])
    shared = BSRoformerSeparator(checkpoint, config=SMALL, device="cpu")
    with ThreadPoolExecutor() as threads:
        together = list(threads.map(lambda mix: stems(shared, mix)[1], mixes))
    for voice, other in zip(alone, together, strict=True):
        assert np.linalg.norm(voice - other) < 1e-5 * np.linalg.norm(voice)


def test_bfloat16_is_near_float32(checkpoint: Path, tmp_path: Path) -> None:
    half = BSRoformerSeparator(checkpoint, mode="bfloat16", config=SMALL, device="cpu")
    mix, voice, background = stems(half, mix_file(tmp_path, 0.5))
    expected = demixed(small_network(), mix.T, CHUNKS).numpy().T
    assert np.linalg.norm(voice - expected) < 0.05 * np.linalg.norm(expected)
    assert np.abs(voice + background - mix).max() <= 1e-6


def test_the_identity_names_the_official_file_and_its_hash(separator: BSRoformerSeparator) -> None:
    (model,) = separator.models
    assert model.revision == "ep_317_sdr_12.9755"
    assert re.fullmatch("[0-9a-f]{64}", model.files[CHECKPOINT])


def refusal(path: Path, mix: Path) -> DeepSoundError:
    separator = BSRoformerSeparator(path, config=SMALL, device="cpu")
    with pytest.raises(DeepSoundError) as caught:
        separator.separate(mix, mix.with_name("voice.wav"), mix.with_name("background.wav"), None)
    assert str(path) in str(caught.value)
    assert [file.name for file in mix.parent.glob("*.wav")] == ["mix.wav"]
    return caught.value


def test_without_a_named_file_the_official_one_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path))
    with pytest.raises(DeepSoundError, match=re.escape(str(tmp_path / CHECKPOINT))):
        BSRoformerSeparator()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / CHECKPOINT, mix_file(tmp_path, 0.3))
    assert error.code is ErrorCode.MODEL_MISSING


def test_a_truncated_checkpoint_is_named(checkpoint: Path, tmp_path: Path) -> None:
    cut = tmp_path / CHECKPOINT
    cut.write_bytes(checkpoint.read_bytes()[:100_000])
    assert "truncated" in str(refusal(cut, mix_file(tmp_path, 0.3)))


def test_a_checkpoint_of_other_sizes_is_refused_with_what_was_expected(checkpoint: Path, tmp_path: Path) -> None:
    state = torch.load(checkpoint, weights_only=True)
    state["extra.weight"] = torch.zeros(1)
    state["final_norm.gamma"] = torch.zeros(32)
    del state["band_split.to_features.0.1.bias"]
    wrong = tmp_path / CHECKPOINT
    torch.save(state, wrong)
    message = str(refusal(wrong, mix_file(tmp_path, 0.3)))
    assert "missing: band_split.to_features.0.1.bias" in message
    assert "not part of it: extra.weight" in message
    assert "final_norm.gamma [32] for [64]" in message


def test_a_checkpoint_that_is_a_pickled_object_is_not_unpickled(tmp_path: Path) -> None:
    hostile = tmp_path / CHECKPOINT
    torch.save({"weights": Path("anything")}, hostile)
    assert "not readable as plain tensors" in str(refusal(hostile, mix_file(tmp_path, 0.3)))
