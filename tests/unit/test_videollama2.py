"""VideoLLaMA2.1-AV: the reference's numbers, its release's layout, what it sees, hears and says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from deepsound import cot
from deepsound.cot import ReplyForm
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.reasoning.local.greedy_decoder import GreedyDecoder, StopReason
from deepsound.reasoning.videollama2.audio_input import read_fbank, window_starts
from deepsound.reasoning.videollama2.beats import relative_buckets
from deepsound.reasoning.videollama2.checkpoint import load_network
from deepsound.reasoning.videollama2.configuration import read_config
from deepsound.reasoning.videollama2.observer import FRAMES, FramesObserver, evenly_spaced
from deepsound.reasoning.videollama2.reasoner import VideoLlama2Cot, VideoLlama2Qa
from deepsound.reasoning.videollama2.vocabulary import Media, read_vocabulary
from tests.made_clips import write_clip
from tests.parity.__main__ import check_file
from tests.videollama2_release import (
    CONFIG,
    HESITANT,
    LETTER,
    PLANS,
    SCRIPT,
    SILENT,
    SOUNDING,
    SURENESS,
    official_config,
    write_release,
)

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """The release's files, to be damaged."""
    for file in release.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def tone(path: Path, seconds: float, rate: int = 48_000, channels: int = 2) -> Path:
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time * (1 + time / 20))
    soundfile.write(path, np.repeat(wave[:, None], channels, 1).astype(np.float32), rate, subtype="FLOAT")
    return path


def reasoner(folder: Path, kind: type[VideoLlama2Cot | VideoLlama2Qa] = VideoLlama2Cot) -> VideoLlama2Cot:
    return kind(folder=folder, config=CONFIG, device="cpu", dtype=torch.float32)


def seen(folder: Path, judge: VideoLlama2Cot) -> Footage:
    return decode_video(write_clip(folder / "clip.mp4", seconds=1.0, rate=10), judge.observers())


@pytest.mark.parametrize("name", ["beats_tiny", "stc_v35_tiny", "fbank", "videollama2_av_tiny"])
def test_the_numbers_and_tokens_are_those_of_the_reference(name: str) -> None:
    path = GOLDEN / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip("the golden files are not beside this checkout")
    failed = [result for result in check_file(path) if not result.passed]
    assert not failed


def test_near_distances_have_buckets_of_their_own_and_far_ones_share_the_last() -> None:
    distance = torch.tensor([-5000, -80, -79, -1, 0, 1, 79, 80, 5000])
    buckets = relative_buckets(distance, 320, 800).tolist()
    assert buckets == [159, 80, 79, 1, 0, 161, 239, 240, 319]


# What is shown and heard


def test_sixteen_frames_of_three_hundred_are_the_reference_s() -> None:
    assert evenly_spaced(300, 16).tolist()[:2] == [9, 28]
    assert evenly_spaced(300, 16)[-1] == 290


@pytest.mark.parametrize(("shown", "gap"), [(3, 1), (300, 1), (700, 4)])
def test_the_chosen_frames_are_those_wanted_or_the_nearest_held(shown: int, gap: int) -> None:
    observer = FramesObserver(8)
    levels = np.arange(shown) % 251
    for first in range(0, shown, 32):
        part = levels[first : first + 32, None, None, None].astype(np.uint8)
        block = np.broadcast_to(part, (len(part), 6, 8, 3))
        observer.see(block, np.arange(first, first + len(block)) / 25)
    kept = observer.finish()
    chosen = np.round(kept["time"] * 25).astype(int)
    assert np.abs(chosen - evenly_spaced(shown, 8)).max() <= gap // 2
    assert (kept["pixels"][:, 0, 0, 0] == levels[chosen]).all()
    assert kept["pixels"].shape == (8, 384, 384, 3)


def test_ten_seconds_are_heard_a_second_apart_and_short_clips_whole() -> None:
    assert window_starts(10.0) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert window_starts(1.5) == (0,) * 8


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1), (16_000, 1)])
def test_windows_of_two_seconds_follow_one_another_and_silence_fills_up(
    tmp_path: Path, rate: int, channels: int
) -> None:
    energies = read_fbank(tone(tmp_path / "a.wav", 10.0, rate, channels)).float()
    assert energies.shape == (2998, 128)
    # The second window begins a second into the sound, so its first second is the first window's last.
    again, first = energies[210:290], energies[110:190]
    torch.testing.assert_close(again[first > 10], first[first > 10], atol=0.1, rtol=0)
    assert (first > 10).sum() > 300
    silence = energies[1605:]
    assert (silence == silence[0, 0]).all()
    assert energies[:1590].max() > 15


def test_a_clip_shorter_than_a_window_is_heard_eight_times(tmp_path: Path) -> None:
    energies = read_fbank(tone(tmp_path / "a.wav", 0.5, 16_000)).float()
    loud = (energies.max(dim=1).values > 5).nonzero()[:, 0]
    assert 395 <= int(loud.max()) <= 400


# The release


def test_a_release_loads_shard_by_shard_and_rotary_angles_stay_float32(release: Path) -> None:
    network = load_network(release, CONFIG, dtype=torch.bfloat16, device=CPU)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    assert network.language.model.rotary_emb.inv_freq.dtype == torch.float32
    assert not any(tensor.is_meta for tensor in (*network.parameters(), *network.buffers()))


def test_the_older_bin_layout_gives_the_same_network(release: Path, tmp_path: Path) -> None:
    expected = load_network(release, CONFIG, dtype=torch.float32, device=CPU).state_dict()
    index = json.loads((release / "model.safetensors.index.json").read_text())["weight_map"]
    state = {}
    for shard in sorted(set(index.values())):
        state |= load_file(release / shard)
    torch.save(state, tmp_path / "pytorch_model.bin")
    loaded = load_network(tmp_path, CONFIG, dtype=torch.float32, device=CPU).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_config_says_frames_and_projector(copy: Path) -> None:
    config = read_config(copy)
    assert (config.frames, config.audio_projector) == (16, "mlp2x_gelu")
    assert config.language.rope_parameters["rope_theta"] == 1e6
    (copy / "config.json").write_text(json.dumps(official_config() | {"mm_projector_a_type": "linear"}))
    assert read_config(copy).audio_projector == "linear"


@pytest.mark.parametrize(
    ("key", "value"),
    [("mm_projector_type", "mlp2x_gelu"), ("mm_vision_tower", "openai/clip"), ("hidden_size", None)],
)
def test_another_model_s_config_is_refused_naming_the_key(copy: Path, key: str, value: object) -> None:
    (copy / "config.json").write_text(json.dumps(official_config() | {key: value}))
    with pytest.raises(DeepSoundError, match=key) as caught:
        read_config(copy)
    assert "config.json" in str(caught.value)


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError, match="no weights: expected model") as caught:
        load_network(tmp_path, CONFIG, dtype=torch.float32, device=CPU)
    assert caught.value.code is ErrorCode.MODEL_MISSING


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DeepSoundError, match="1 of 2 shards are missing: model-00002") as caught:
        load_network(copy, CONFIG, dtype=torch.float32, device=CPU)
    assert caught.value.code is ErrorCode.MODEL_MISSING


def test_a_truncated_shard_is_named(copy: Path) -> None:
    shard = copy / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DeepSoundError, match="model-00001-of-00002"):
        load_network(copy, CONFIG, dtype=torch.float32, device=CPU)


def test_weights_of_other_sizes_name_the_part_and_the_shapes(release: Path) -> None:
    wider = replace(CONFIG, audio=replace(CONFIG.audio, wide=80))
    with pytest.raises(DeepSoundError, match=r"BEATs.*fc1\.weight \[64, 48\] for \[80, 48\]"):
        load_network(release, wider, dtype=torch.float32, device=CPU)


# The conversation


def test_the_prompt_is_the_chat_template_s_with_one_place_for_media(release: Path) -> None:
    vocabulary = read_vocabulary(release)
    prompt = vocabulary.prompt("Is it?", Media.VIDEO)
    assert prompt.startswith(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<video>\n"
    )
    assert prompt.endswith("Is it?<|im_end|>\n<|im_start|>assistant\n")
    before, after = vocabulary.split_at_media(prompt, Media.VIDEO)
    assert vocabulary.tokenizer.decode([*before, *after]) == prompt.replace("<video>", "")
    assert "<audio>\nIs it?" in vocabulary.prompt("Is it?", Media.AUDIO)


def test_a_folder_without_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeepSoundError, match="no tokenizer"):
        read_vocabulary(tmp_path)


TO_LETTER = "".join(SCRIPT[: SCRIPT.index(" A") + 1])
"""What is written of the script: its writer is stopped at the letter."""


def test_a_reply_is_every_word_up_to_the_letter_and_the_model_s_own_probability(
    release: Path, tmp_path: Path
) -> None:
    judge = reasoner(release)
    footage = seen(tmp_path, judge)
    reply = judge.judge(footage, tone(tmp_path / "a.wav", 1.0))
    assert reply.raw == TO_LETTER
    judgement = cot.parse_reply(reply.raw, reply.form)
    assert (judgement.verdict, judgement.conclusion) == (cot.Verdict.YES, "A")
    assert reply.probability == pytest.approx(1 / (1 + np.exp(-SURENESS)), abs=1e-3)
    assert cot.JUDGE_PROMPT in reply.prompt
    assert reply.reply_tokens == SCRIPT.index(" A") + 1
    assert reply.prompt_tokens > 1496, "the sound alone has as many"
    assert reply.seconds > 0
    assert reply.parameters["ended"] == "letter"
    assert [frame.time for frame in reply.frames] == footage.observations[FRAMES]["time"].tolist()
    assert judge.judge(footage, tmp_path / "a.wav") == reply, "what is kept of the video changes nothing"


def test_once_the_conclusion_is_opened_only_the_letters_are_offered(tmp_path: Path) -> None:
    judge = reasoner(write_release(tmp_path / "release", script=HESITANT))
    reply = judge.judge(seen(tmp_path, judge), tone(tmp_path / "a.wav", 1.0))
    assert reply.raw.endswith("<CONCLUSION> B")
    assert cot.parse_reply(reply.raw, reply.form).verdict is cot.Verdict.NO
    # Both letters count with and without a space before; all but " B" have a logit of 0.
    assert reply.probability == pytest.approx(2 / (2 + 1 + np.exp(SURENESS)), abs=1e-3)


def test_a_reply_that_never_concludes_is_undecided(tmp_path: Path) -> None:
    judge = reasoner(write_release(tmp_path / "release", script=("I", " would", " rather", " not.")))
    reply = judge.judge(seen(tmp_path, judge), tone(tmp_path / "a.wav", 1.0))
    assert (reply.parameters["ended"], reply.reply_tokens) == ("turn", 4)
    assert reply.probability is None
    assert cot.parse_reply(reply.raw, reply.form).verdict is cot.Verdict.UNDECIDED


def test_a_reply_without_end_is_ended_by_its_budget(release: Path) -> None:
    writer = GreedyDecoder(read_vocabulary(release), 1.05, ReplyForm.STAGES_TO_LETTER)
    logits = torch.eye(CONFIG.language.vocab_size)[65]
    while writer(logits) is not None:
        pass
    assert (writer.stop_reason, len(writer.tokens), writer.probability) == (StopReason.BUDGET, 2048, None)
    assert writer(logits) is None


def test_the_qa_release_answers_with_the_letter_alone(tmp_path: Path) -> None:
    judge = reasoner(write_release(tmp_path / "release", script=LETTER), VideoLlama2Qa)
    reply = judge.judge(seen(tmp_path, judge), tone(tmp_path / "a.wav", 1.0))
    assert (reply.raw, reply.parameters["ended"]) == ("A", "turn")
    assert cot.parse_reply(reply.raw, reply.form).verdict is cot.Verdict.YES
    assert reply.probability == pytest.approx(1 / (1 + np.exp(-SURENESS)), abs=1e-3)
    assert judge.models[0].name == "videollama2-qa"


def test_a_qa_release_that_says_more_is_undecided(release: Path, tmp_path: Path) -> None:
    judge = reasoner(release, VideoLlama2Qa)
    reply = judge.judge(seen(tmp_path, judge), tone(tmp_path / "a.wav", 1.0))
    assert reply.raw == "".join(SCRIPT)
    assert cot.parse_reply(reply.raw, reply.form).verdict is cot.Verdict.UNDECIDED
    assert reply.probability is None


def test_asked_for_a_plan_the_model_itself_answers(tmp_path: Path) -> None:
    judge = reasoner(write_release(tmp_path / "release", script=PLANS))
    reply = judge.plan(seen(tmp_path, judge))
    assert (reply.raw, reply.reply_tokens) == (cot.PLAN, len(PLANS))
    assert cot.PLAN_PROMPT in reply.prompt
    assert len(reply.frames) == CONFIG.frames


def test_another_plan_is_kept_as_it_was_said(release: Path, tmp_path: Path) -> None:
    judge = reasoner(release)
    reply = judge.plan(seen(tmp_path, judge))
    assert reply.raw == "".join(SCRIPT), "a plan has no letter to stop at"
    assert not cot.parse_plan(reply.raw).accepted


@pytest.mark.parametrize(("script", "silent"), [(SILENT, True), (SOUNDING, False), (SCRIPT, None)])
def test_asked_about_silence_it_hears_the_sound_alone(
    tmp_path: Path, script: tuple[str, ...], silent: bool | None
) -> None:
    judge = reasoner(write_release(tmp_path / "release", script=script))
    reply = judge.is_silent(tone(tmp_path / "a.wav", 1.0))
    assert cot.parse_silence(reply.raw).silent is silent
    assert cot.SILENCE_PROMPT in reply.prompt
    assert "<audio>" in reply.prompt
    assert reply.frames == ()


def test_footage_that_was_not_seen_is_refused(release: Path, tmp_path: Path) -> None:
    footage = decode_video(write_clip(tmp_path / "clip.mp4", seconds=0.2), [])
    with pytest.raises(DeepSoundError, match="observer"):
        reasoner(release).judge(footage, tone(tmp_path / "a.wav", 1.0))


def test_the_identity_is_every_shard_by_its_hash(release: Path) -> None:
    (model,) = reasoner(release).models
    assert list(model.files) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
