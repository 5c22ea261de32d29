"""Audio-video chat models of transformers: what they are shown, what they say, which files they need."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.video_utils import VideoMetadata

from deepsound import cot
from deepsound.cot import ReplyForm, Verdict
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.reasoning import protocol
from deepsound.reasoning.omni import Omni
from deepsound.reasoning.omni.input_processing import InputProcessor, ShownVideo, load_input_processor
from deepsound.reasoning.omni.model_families import read_family
from deepsound.reasoning.omni.release import Release
from deepsound.reasoning.omni.video_processors import Gemma4VideoProcessor, QwenVideoProcessor
from deepsound.reasoning.still_frames import STILLS, StillsObserver, pictures
from tests.made_clips import write_clip
from tests.omni_releases import FAMILIES, QWEN

RATE = 16_000


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def release(family: str) -> Path:
        if family not in made:
            made[family] = FAMILIES[family](tmp_path_factory.mktemp(family))
        return made[family]

    return release


@pytest.fixture
def copy(releases: Callable[[str], Path], tmp_path: Path) -> Path:
    """The files of a release, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in releases("qwen2_5_omni").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=1.0, rate=10)


def sound(path: Path, seconds: float, *, rate: int = 44_100, seed: int | None = None) -> Path:
    """A rising tone, or noise; in two channels."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * 440 * time * (1 + time / 4))
    if seed is not None:
        wave = np.random.default_rng(seed).normal(size=len(time))
    write_float_wav(path, rate, 2, [np.repeat(0.3 * wave[:, None], 2, axis=1).astype(np.float32)])
    return path


def reasoner(folder: Path) -> Omni:
    return Omni(f"{folder}#float32", device="cpu")


def input_processor_of(folder: Path) -> InputProcessor:
    release = Release("", folder)
    return load_input_processor(release, read_family(release)[0])


def upside_down(footage: Footage) -> Footage:
    """The same video upside down."""
    observer = StillsObserver()
    seen = footage.observations[STILLS]
    observer.see(np.flip(pictures(seen), axis=1), seen["time"].astype(np.float64))
    return replace(footage, observations={STILLS: observer.finish()})


# A judgement


@pytest.mark.parametrize("family", FAMILIES)
def test_a_video_is_judged_in_four_thoughts_and_a_letter(
    releases: Callable[[str], Path], clip: Path, tmp_path: Path, family: str
) -> None:
    judge = reasoner(releases(family))
    footage = decode_video(clip, judge.observers())
    tone, noise = sound(tmp_path / "tone.wav", 1.0), sound(tmp_path / "noise.wav", 1.0, seed=1)
    first = judge.judge(footage, tone)
    assert first.form is ReplyForm.STAGES_TO_LETTER
    assert first.raw.endswith("<CONCLUSION> A"), "nothing is said after the letter"
    judgement = cot.parse_reply(first.raw, first.form)
    assert (judgement.verdict, judgement.caption) == (Verdict.YES, "A man speaks.")
    assert first.probability is not None
    assert 0.5 < first.probability < 1.0
    assert first.prompt_tokens is not None
    assert first.prompt_tokens > len(first.prompt) // 2
    assert first.reply_tokens == 11
    assert [frame.time for frame in first.frames] == [0.0, 0.2, 0.5, 0.7]
    assert judge.judge(footage, tone) == first, "the same, asked again"
    assert judge.judge(footage, noise).probability != first.probability, "sound is heard"
    assert judge.judge(upside_down(footage), tone).probability != first.probability, "frames are seen"


@pytest.mark.parametrize("family", FAMILIES)
def test_asked_for_a_plan_it_is_shown_the_stills_alone(
    releases: Callable[[str], Path], clip: Path, family: str
) -> None:
    judge = reasoner(releases(family))
    asked = judge.plan(decode_video(clip, judge.observers()))
    assert cot.PLAN_PROMPT in asked.prompt
    assert asked.raw.startswith("<SUMMARY>"), "what the small model says to everything"
    assert not cot.parse_plan(asked.raw).accepted
    assert [frame.time for frame in asked.frames] == [0.0, 0.2, 0.5, 0.7]


def test_it_computes_in_bfloat16_unless_told_otherwise(releases: Callable[[str], Path], tmp_path: Path) -> None:
    judge = Omni(str(releases("gemma4")), device="cpu")
    assert judge.version.endswith("/bfloat16")
    assert judge.name == f"omni:{releases('gemma4').name}"
    heard = sound(tmp_path / "a.wav", 0.3)
    half, full = judge.is_silent(heard).probability, reasoner(releases("gemma4")).is_silent(heard).probability
    assert half != full
    assert half == pytest.approx(full, abs=0.05)
    with pytest.raises(DeepSoundError, match="no dtype 'int3'; choose one of: bfloat16"):
        Omni(f"{releases('gemma4')}#int3")


def test_it_is_a_reasoner_that_hears_silence_too(releases: Callable[[str], Path], tmp_path: Path) -> None:
    judge: protocol.Reasoner = reasoner(releases("qwen2_5_omni"))
    assert judge.name == f"omni:{releases('qwen2_5_omni').name}"
    assert judge.version.endswith("/float32")
    assert isinstance(judge, protocol.SupportsSilenceCheck)
    asked = judge.is_silent(sound(tmp_path / "a.wav", 0.05))
    assert cot.SILENCE_PROMPT in asked.prompt
    assert "<|AUDIO|>" in asked.prompt
    assert "<|VIDEO|>" not in asked.prompt


def test_a_reply_without_a_conclusion_has_no_probability_and_decides_nothing(copy: Path, tmp_path: Path) -> None:
    state = load_file(copy / "model.safetensors")
    state["thinker.lm_head.weight"][QWEN.ids[QWEN.end], QWEN.ids["<CAPTION>"]] = 10.0
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    asked = reasoner(copy).is_silent(sound(tmp_path / "a.wav", 0.3))
    assert asked.raw == "<SUMMARY> I look and listen. </SUMMARY><CAPTION>"
    assert (asked.probability, asked.form) == (None, ReplyForm.STAGES)
    assert cot.parse_reply(asked.raw, asked.form).verdict is Verdict.UNDECIDED


def test_only_the_part_that_reasons_is_loaded(releases: Callable[[str], Path]) -> None:
    judge = reasoner(releases("qwen2_5_omni"))
    assert "talker.unread" in load_file(releases("qwen2_5_omni") / "model.safetensors")
    [identity] = judge.models
    assert set(identity.files) >= {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"}
    assert all(len(sha256) == 64 for sha256 in identity.files.values())


# What is shown and played


def test_long_sound_is_heard_in_windows_after_the_video(releases: Callable[[str], Path]) -> None:
    processor = input_processor_of(releases("gemma4"))
    prompt = processor.prompt("Is it?", sounds=2, video=True)
    assert prompt == "<bos><|turn>user\n<|video|><|audio|><|audio|>Is it?<turn|>\n<|turn>model\n"
    halves = [np.full(RATE // 2, 0.1, np.float32), np.full(RATE, 0.1, np.float32)]
    shown = ShownVideo(np.zeros((2, 90, 160, 3), np.uint8), np.array([1.25, 62.5]))
    ids = processor.tensors(prompt, shown, halves)["input_ids"][0]
    read = processor.tokenizer.decode(ids)
    assert read.count("<bos>") == 1
    assert "00:01 <|image>" in read
    assert "01:02 <|image>" in read
    assert [part.count("<|audio|>") for part in read.split("<|audio>")[1:]] == [13, 25], "40 ms a token"


def test_qwen_s_clock_runs_as_fast_as_the_frames(releases: Callable[[str], Path]) -> None:
    processor = input_processor_of(releases("qwen3_omni_moe"))
    shown = ShownVideo(np.zeros((4, 90, 160, 3), np.uint8), np.array([0.25, 0.75, 1.25, 1.75]))
    prompt = processor.prompt("Is it?", sounds=1, video=True)
    tensors = processor.tensors(prompt, shown, [np.zeros(RATE, np.float32)])
    assert tensors["video_second_per_grid"].tolist() == [1.0], "two frames a grid, half a second apart"
    assert tensors["video_grid_thw"][0, 0] == 2
    assert tensors["feature_attention_mask"].sum() == 100


def test_frames_are_paired_as_qwen_s_video_processor_does() -> None:
    """The layout of Qwen2VLVideoProcessor, which needs torchvision, computed here for frames of a fitting size."""
    frames = np.random.default_rng(0).integers(0, 256, (3, 56, 84, 3), np.uint8)
    pictures = Qwen2VLImageProcessorPil()
    made = QwenVideoProcessor(pictures, {})([frames])
    paired = np.concatenate([frames, frames[-1:]]).transpose(0, 3, 1, 2) / 255.0
    scale = [np.reshape(value, (3, 1, 1)) for value in (pictures.image_mean, pictures.image_std)]
    split = ((paired - scale[0]) / scale[1]).reshape(2, 2, 3, 2, 2, 14, 3, 2, 14)
    wanted = split.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(2 * 24, -1)
    np.testing.assert_allclose(made["pixel_values_videos"], wanted, atol=1e-5)
    assert made["video_grid_thw"].tolist() == [[2, 4, 6]]


def test_gemma_s_frames_are_pictures_of_as_many_tokens_as_the_release_says() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 96, 144, 3), np.uint8)
    clock = VideoMetadata(total_num_frames=3, fps=1.0, frames_indices=[0, 1, 2])
    few, more = (
        Gemma4VideoProcessor(Gemma4ImageProcessorPil(), settings)([frames], video_metadata=[clock])
        for settings in ({}, {"max_soft_tokens": 280})
    )
    assert few["pixel_values_videos"].shape == (3, 70 * 9, 768)
    assert few["num_soft_tokens_per_video"][0] <= 70 < more["num_soft_tokens_per_video"][0] <= 280
    alone = Gemma4ImageProcessorPil()(list(frames[1:2]), max_soft_tokens=70, return_tensors="np")
    np.testing.assert_array_equal(few["pixel_values_videos"][1], alone["pixel_values"][0])


def test_more_than_the_model_takes_is_refused_and_not_cut(copy: Path, tmp_path: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["thinker_config"]["text_config"]["max_position_embeddings"] = 2200
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(DeepSoundError, match="the reply may be 2048, where the model takes 2200 together"):
        reasoner(copy).is_silent(sound(tmp_path / "a.wav", 1.0))


# Which files


def test_a_model_is_a_folder_or_a_name_in_the_models_folder_or_in_hugging_face_s_cache(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--acme--Omni-7B"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("1234abcd" * 5)
    (cached / "snapshots").mkdir()
    copy.rename(cached / "snapshots" / ("1234abcd" * 5))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path / "models"))
    [identity] = Omni("acme/Omni-7B").models
    assert (identity.name, identity.revision) == ("acme/Omni-7B", "1234abcd" * 5)
    (tmp_path / "models" / "acme").mkdir(parents=True)
    (cached / "snapshots" / ("1234abcd" * 5)).rename(tmp_path / "models" / "acme" / "Omni-7B")
    assert Omni("acme/Omni-7B").name == "omni:acme/Omni-7B"
    assert Omni(str(tmp_path / "models" / "acme" / "Omni-7B")).name == "omni:Omni-7B"


@pytest.mark.parametrize("name", ["acme/Omni-7B", "/nowhere/at/all", "no model\x00"])
def test_a_model_that_is_not_here_is_one_line_that_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path / "models"))
    with pytest.raises(DeepSoundError, match="put the whole release") as caught:
        Omni(name)
    assert caught.value.code is ErrorCode.MODEL_MISSING
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Omni\n", "Apache-2.0"),
        ("---\nlicense: other\n---\n", "LicenseRef-other"),
        ("# Omni\nlicense: mit\n", "unstated"),
        ("---\nlicense: [\n---\n", "unstated"),
    ],
)
def test_the_licence_is_the_one_on_the_model_card(copy: Path, card: str, licence: str) -> None:
    (copy / "README.md").write_text(card)
    assert reasoner(copy).models[0].licence == licence


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", '{"model_type": "qwen2"}', "'qwen2', which is no audio-video chat model"),
        ("config.json", '{"model_type": "gemma4", "audio_config": null}', "takes no sound"),
        ("tokenizer.json", "{", "tokenizer, processor or chat template can't be used"),
        ("chat_template.jinja", "{% if %}", "chat template can't be used"),
        ("preprocessor_config.json", "{", "processor or chat template can't be used"),
        ("model.safetensors.index.json", '{"weight_map": 3}', "is no index of weights"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "b.safetensors"}}', "1 of 1 files of weights"),
        ("model.safetensors", "cut short", "the weights can't be loaded"),
    ],
)
def test_a_damaged_release_is_one_line_that_names_what_is_wrong(
    copy: Path, tmp_path: Path, file: str, text: str, told: str
) -> None:
    (copy / file).write_text(text)
    heard = sound(tmp_path / "a.wav", 0.3)
    with pytest.raises(DeepSoundError) as caught:
        reasoner(copy).is_silent(heard)
    assert told in str(caught.value)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("lacking", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_a_release_that_lacks_a_file_is_refused(copy: Path, tmp_path: Path, lacking: str) -> None:
    (copy / lacking).unlink()
    if lacking == "chat_template.jinja":
        settings = json.loads((copy / "tokenizer_config.json").read_text())
        (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": None}))
    with pytest.raises(DeepSoundError, match="put the whole release in that folder"):
        reasoner(copy).is_silent(sound(tmp_path / "a.wav", 0.3))


def test_weights_that_are_pickled_are_not_read(copy: Path, tmp_path: Path) -> None:
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(DeepSoundError, match=r"missing: model\.safetensors; .* weights as safetensors"):
        reasoner(copy).is_silent(sound(tmp_path / "a.wav", 0.3))


def test_a_network_is_never_half_loaded(copy: Path, tmp_path: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["thinker.audio_tower.conv1.weight"]
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(DeepSoundError, match=r"weights are missing: model\.audio_tower\.conv1\.weight"):
        reasoner(copy).is_silent(sound(tmp_path / "a.wav", 0.3))
    state["thinker.audio_tower.conv1.weight"] = torch.zeros(2, 2)
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(DeepSoundError, match="can't be loaded"):
        reasoner(copy).is_silent(sound(tmp_path / "a.wav", 0.3))
