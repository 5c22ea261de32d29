"""Chat models run here: replies side by side, over what was read before, are what each would be alone."""

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from deepsound.backends import load_reasoner
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.reasoning.local import greedy_decoder
from deepsound.reasoning.local.answer_tokens import AnswerVocabulary, find_answer_tokens
from deepsound.reasoning.local.quantisation import Precision
from deepsound.reasoning.omni import Omni
from deepsound.reasoning.omni.chat_session import OmniChatSession, OmniQuestion
from deepsound.reasoning.omni.input_processing import InputProcessor, ShownVideo, load_input_processor
from deepsound.reasoning.omni.model_families import ModelFamily, check_quantisable, read_family
from deepsound.reasoning.omni.network import end_tokens, load_network
from deepsound.reasoning.omni.release import Release
from deepsound.reasoning.protocol import Reply
from deepsound.reasoning.still_frames import StillsObserver
from tests.concurrent_asks import ask_together, check_same_in_company
from tests.made_clips import write_clip
from tests.omni_releases import FAMILIES

CPU = torch.device("cpu")
RATE = 16_000
SOME = 8  # tokens: what random weights have to say has no end

DEEP: Mapping[str, Mapping[str, object]] = {
    "qwen2_5_omni": {"num_hidden_layers": 2},
    "qwen3_omni_moe": {"num_hidden_layers": 2},
    # Layers that see a few tokens back, layers that keep nothing of their own, pictures seen from both sides.
    "gemma4": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 24,
        "num_kv_shared_layers": 2,
        "use_bidirectional_attention": "vision",
    },
}


class Talker:
    """A family's network in which all it sees and hears matters, and makers of interlocutors over it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.release = Release(kind, FAMILIES[kind](folder, **DEEP[kind]))
        self.family: ModelFamily
        self.family, config = read_family(self.release)
        self.processor: InputProcessor = load_input_processor(self.release, self.family)
        self.network: PreTrainedModel = load_network(
            self.release, self.family, config, dtype=torch.float32, device=CPU, precision=Precision.AS_LOADED
        )
        tokenizer = self.processor.tokenizer
        self.words = AnswerVocabulary(
            tokenizer, end_tokens(self.network, tokenizer), find_answer_tokens(tokenizer, folder)
        )

    def shuffled(self) -> "Talker":
        torch.manual_seed(1)
        for name, weight in self.network.named_parameters():
            if weight.dim() > 1 and ("language_model" in name or "lm_head" in name):
                weight.data.normal_(0.0, 0.1)
        return self

    def fresh(self) -> OmniChatSession:
        return OmniChatSession(self.network, self.family, self.processor, self.words)

    def generated(self, question: OmniQuestion) -> str:
        """What transformers' own loop says to the whole prompt, read from its beginning."""
        tensors = self.processor.tensors(question.prompt, question.shown, question.sounds)
        said = cast(Any, self.network).generate(
            **tensors, do_sample=False, repetition_penalty=1.0, pad_token_id=0, max_new_tokens=SOME
        )
        return self.words.text(said[0, tensors["input_ids"].shape[1] :].tolist())

    def question(self, video: int | None, *sounds: int) -> OmniQuestion:
        prompt = self.processor.prompt("Is it?", sounds=len(sounds), video=video is not None)
        return OmniQuestion(prompt, None if video is None else frames(video), [noise(number) for number in sounds])

    def sound_first(self, video: int, sound: int) -> OmniQuestion:
        """As a template might have it that asks of the sound before the video: nothing can be shared."""
        turn = {
            "role": "user",
            "content": [{"type": "audio"}, {"type": "video"}, {"type": "text", "text": "Is it?"}],
        }
        prompt = self.processor.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
        return OmniQuestion(prompt, frames(video), [noise(sound)])

    @contextmanager
    def looks(self) -> Generator[list[object]]:
        """Grows by one whenever frames are looked at."""
        network, looked = cast(Any, self.network).model, list[object]()
        tower = network.visual if hasattr(network, "visual") else network.vision_tower
        hook = tower.register_forward_hook(lambda *_: looked.append(tower))
        yield looked
        hook.remove()


def frames(number: int) -> ShownVideo:
    count = 3 + number % 2
    pixels = np.random.default_rng(number).integers(0, 256, (count, 60, 80, 3), np.uint8)
    return ShownVideo(pixels, np.arange(count) * 0.5)


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(0, 0.3, 1600 * (2 + number)).astype(np.float32)


@pytest.fixture(scope="module", params=list(FAMILIES))
def talker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Talker:
    return Talker(tmp_path_factory.mktemp(request.param), request.param).shuffled()


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(greedy_decoder, "MAX_NEW_TOKENS", SOME)
    return


@pytest.mark.usefixtures("briefly")
def test_replies_are_what_transformers_generates_whatever_was_asked_before_or_beside(talker: Talker) -> None:
    asked = [(1,), (1, 1), (2, 2, 1), (None, 1)]
    questions = [*(talker.question(*media) for media in asked), talker.sound_first(1, 2)]
    alone = [talker.fresh().answer([one])[0] for one in questions]
    assert len({one.raw for one in alone}) == len(questions), "or nothing is shown here"
    assert [one.raw for one in alone] == [talker.generated(one) for one in questions]
    used = talker.fresh()
    with talker.looks() as looks:
        before = [used.answer([one])[0] for one in reversed(questions[:4])]
    assert [one.raw for one in reversed(before)] == [one.raw for one in alone[:4]]
    assert len(looks) == 2, "a video is looked at once, whatever is asked about it"
    beside = talker.fresh().answer(questions)
    assert [one.raw for one in beside] == [one.raw for one in alone]
    assert [one.prompt_tokens for one in beside] == [one.prompt_tokens for one in alone]
    assert {one.batch for one in beside} == {len(questions)}


# The backend


def sound(path: Path, number: int) -> Path:
    write_float_wav(path, RATE, 1, [noise(number)[:, None]])
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Footage]:
    folder = tmp_path_factory.mktemp("videos")
    clips = [write_clip(folder / f"{size}.mp4", seconds=0.4, rate=10, size=(size, 60)) for size in (80, 120)]
    return [decode_video(clip, [StillsObserver()]) for clip in clips]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # 64 weights share a scale in 4 bits.
    return FAMILIES["qwen2_5_omni"](tmp_path_factory.mktemp("release"), intermediate_size=64)


def reasoner(folder: Path, bits: str = "") -> Omni:
    return Omni(f"{folder}{bits}#float32", device="cpu")


def test_threads_that_ask_at_once_share_a_batch_and_hear_what_one_alone_hears(
    release: Path, videos: list[Footage], tmp_path: Path
) -> None:
    sounds = [sound(tmp_path / f"{number}.wav", number) for number in range(3)]

    def asked(judge: Omni, number: int) -> Reply:
        return judge.judge(videos[number], sounds[number]) if number < 2 else judge.is_silent(sounds[number])

    alone = [asked(reasoner(release), number) for number in range(3)]
    assert len({one.probability for one in alone}) == 3, "or nothing is shown here"
    judge = reasoner(release)
    check_same_in_company(ask_together(lambda number: asked(judge, number), 3), alone)
    assert judge.judge(videos[0], sounds[0]).probability == alone[0].probability, "from what was kept, bit for bit"


@pytest.mark.parametrize(
    ("bits", "told"),
    [("4bit", r"need bitsandbytes.*pip install"), ("8bit", "need bitsandbytes"), ("3bit", "no precision")],
)
def test_fewer_bits_that_are_not_to_be_had_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, bits: str, told: str
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DeepSoundError, match=told) as caught:
        load_reasoner(f"omni:acme/Omni-7B:{bits}")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "\n" not in str(caught.value)


def test_experts_are_not_held_in_fewer_bits(talker: Talker) -> None:
    config = talker.network.config
    check_quantisable(talker.release, config, Precision.AS_LOADED)
    if talker.release.name != "qwen3_omni_moe":
        check_quantisable(talker.release, config, Precision.BITS_4)
        return
    with pytest.raises(DeepSoundError, match="experts can't be held in 4 bits") as caught:
        check_quantisable(talker.release, config, Precision.BITS_4)
    assert caught.value.code is ErrorCode.BAD_SETTINGS


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_fewer_bits_judge_too_and_are_another_version(
    release: Path, videos: list[Footage], tmp_path: Path, bits: str
) -> None:
    pytest.importorskip("bitsandbytes", reason="fewer bits need bitsandbytes")
    judge, whole = reasoner(release, f":{bits}"), reasoner(release)
    reply = judge.judge(videos[0], sound(tmp_path / "a.wav", 1))
    exact = whole.judge(videos[0], tmp_path / "a.wav")
    assert (reply.raw, reply.probability) == (exact.raw, pytest.approx(exact.probability, abs=0.05))
    assert reply.probability != exact.probability
    assert (judge.name, reply.parameters["precision"]) == (f"omni:{release.name}:{bits}", bits)
    assert judge.version != whole.version
    assert judge.models == whole.models, "the same weights, held in fewer bits"


@pytest.mark.parametrize("kind", ["qwen2_5_omni", "gemma4"])
@pytest.mark.parametrize("precision", [Precision.BITS_4, Precision.BITS_8])
def test_only_the_language_model_s_layers_are_quantised(tmp_path: Path, kind: str, precision: Precision) -> None:
    pytest.importorskip("bitsandbytes", reason="fewer bits need bitsandbytes")
    release = Release(kind, FAMILIES[kind](tmp_path))
    family, config = read_family(release)
    network = load_network(release, family, config, dtype=torch.float32, device=CPU, precision=precision)
    fewer = {name for name, value in network.named_parameters() if not value.is_floating_point()}
    assert all(name.startswith("model.language_model.layers.") for name in fewer)
    assert len(fewer) >= 7, "q, k, v, o, gate, up, down"
