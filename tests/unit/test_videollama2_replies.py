"""Replies written side by side, over what was read before: the same as one written alone, from the beginning."""

import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepsound.backends import load_reasoner
from deepsound.cot import ReplyForm
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.decode import decode_video
from deepsound.media.observers import Footage
from deepsound.reasoning.local import greedy_decoder
from deepsound.reasoning.local.prefix_cache import PrefixCache
from deepsound.reasoning.local.quantisation import Precision, quantise
from deepsound.reasoning.local.token_generation import KeyValues, Prompt, apply_repetition_penalty, generate
from deepsound.reasoning.protocol import Reply
from deepsound.reasoning.videollama2.chat_session import SiglipFrames, VideoLlama2ChatSession, VideoLlama2Question
from deepsound.reasoning.videollama2.checkpoint import load_network
from deepsound.reasoning.videollama2.network import VideoLlama2
from deepsound.reasoning.videollama2.qwen2_decoding import forward_pass, prefill_embeddings
from deepsound.reasoning.videollama2.reasoner import VideoLlama2Cot
from deepsound.reasoning.videollama2.vocabulary import Media, read_vocabulary
from tests.concurrent_asks import ask_together, check_same_in_company
from tests.made_clips import write_clip
from tests.parity.filling import fill, rand
from tests.parity.videollama2 import TINY
from tests.videollama2_release import CONFIG, write_release

HIDDEN = TINY.language.hidden_size


class TokenRecorder:
    """Writes `count` tokens and keeps the logits they were chosen from."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.said: list[int] = []
        self.logits: list[Tensor] = []

    def __call__(self, logits: Tensor) -> int | None:
        self.logits.append(logits)
        self.said.append(int(apply_repetition_penalty(logits, self.said, 1.05).argmax()))
        return self.said[-1] if len(self.said) < self._count else None


@pytest.fixture(scope="module")
def language():
    """A language model whose every weight matters: filled by the rule of the golden files."""
    network = VideoLlama2(TINY).language.eval().requires_grad_(False)
    filled = fill({name: list(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict(filled.tensors)
    return network


def prompt(language, name: str, before: int, after: int) -> Prompt:
    vectors = rand(f"prompt/{name}", (before + after, HIDDEN))
    return Prompt(prefill_embeddings(language, vectors[:before]), vectors[before:])


def written(language, prompts: Sequence[Prompt], counts: Sequence[int]) -> list[TokenRecorder]:
    writers = [TokenRecorder(count) for count in counts]
    generate(forward_pass(language), prompts, writers)
    return writers


sizes = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(1, 9))


@settings(max_examples=10, deadline=None)
@given(st.lists(sizes, min_size=2, max_size=4))
def test_a_reply_is_the_same_in_whatever_company(language, rows: list[tuple[int, int, int]]):
    # Positions may leap at the end of a prompt, as those of some models do after a video.
    prompts = [
        replace(prompt(language, str(number), *row[:2]), position_offset=7 * number)
        for number, row in enumerate(rows)
    ]
    together = written(language, prompts, [row[2] for row in rows])
    for one, row, beside in zip(prompts, rows, together, strict=True):
        [alone] = written(language, [one], [row[2]])
        assert beside.said == alone.said
        torch.testing.assert_close(torch.stack(beside.logits), torch.stack(alone.logits), atol=1e-4, rtol=1e-4)


def test_different_prompts_get_different_replies(language):
    one, other = written(language, [prompt(language, name, 20, 5) for name in ("one", "other")], [8, 8])
    assert one.said != other.said, "or the tests beside this one would prove nothing"


def test_what_was_read_once_serves_again_and_is_the_same_as_read_anew(language):
    vectors = rand("prompt/video", (25, HIDDEN))
    kept = prefill_embeddings(language, vectors[:20])
    before = [tensor.clone() for pair in kept.layers for tensor in pair]
    first = written(language, [Prompt(kept, vectors[20:])], [12])[0]
    again = written(language, [Prompt(kept, vectors[20:])], [12])[0]
    anew = written(language, [Prompt(prefill_embeddings(language, vectors[:20]), vectors[20:])], [12])[0]
    assert first.said == again.said == anew.said
    assert all(map(torch.equal, first.logits, again.logits))
    assert all(map(torch.equal, first.logits, anew.logits))
    assert all(map(torch.equal, before, [tensor for pair in kept.layers for tensor in pair]))


def test_it_matters_where_the_rest_begins_in_the_prompt_s_order_alone(language):
    vectors = rand("prompt/video", (25, HIDDEN))
    whole = [
        written(language, [Prompt(prefill_embeddings(language, vectors[:cut]), vectors[cut:])], [8])[0]
        for cut in (1, 13, 24)
    ]
    assert whole[0].said == whole[1].said == whole[2].said


def small(kilobytes: int) -> KeyValues:
    return KeyValues(
        ((torch.zeros(1, kilobytes * 64, 1), torch.zeros(1, kilobytes * 64, 1, dtype=torch.float64)),)
    )


def test_no_more_is_kept_than_there_is_room_for_and_the_latest_used_stays():
    kept = PrefixCache(most_bytes=3 * small(1).size)
    made: list[str] = []

    def ask(key: str, kilobytes: int = 1) -> None:
        kept.get(key, lambda: made.append(key) or small(kilobytes))
        assert kept.size <= 3 * small(1).size

    for key in ("a", "b", "c", "a", "d", "a", "c", "b"):
        ask(key)
    assert made == ["a", "b", "c", "d", "b"], "b was used least recently when d came"
    ask("huge", 9)
    ask("huge", 9)
    assert made[-2:] == ["huge", "huge"]


# Questions


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def talker(release: Path) -> Callable[[], VideoLlama2ChatSession]:
    """Makes interlocutors that have read nothing yet, over one network in which all it sees and hears matters."""
    vocabulary = read_vocabulary(release)
    network = VideoLlama2(TINY).eval().requires_grad_(False)
    filled = fill({name: list(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict(filled.tensors)
    return lambda: VideoLlama2ChatSession(network, vocabulary, 1.05)


def question(video: int | None, sound: int | None, form: ReplyForm | None = None) -> VideoLlama2Question:
    size = TINY.vision.image_size
    media = Media.AUDIO if video is None else Media.VIDEO
    draw = np.random.default_rng
    shown = (
        None
        if video is None
        else SiglipFrames(
            draw(video).integers(0, 256, (TINY.frames, size, size, 3), np.uint8),
            np.full((TINY.frames, 32), video, np.uint8),
        )
    )
    energies = None if sound is None else torch.from_numpy(draw(sound).normal(10, 5, (64, 128)))
    return VideoLlama2Question(f"<|im_start|>user\n{media}\nWhat is it?", media, shown, energies, form)


ASKED = [(1, None), (1, 1), (1, 2), (2, 2), (2, None), (None, 1)]


def test_replies_depend_on_what_is_seen_and_heard_and_not_on_what_was_asked_before_or_beside(
    talker: Callable[[], VideoLlama2ChatSession], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(greedy_decoder, "MAX_NEW_TOKENS", 24)  # What random weights have to say has no end.
    questions = [question(video, sound) for video, sound in ASKED]
    alone = [talker().answer([one])[0] for one in questions]
    assert len({one.raw for one in alone}) == len(ASKED), "or nothing is shown here"
    used = talker()
    one_by_one = [used.answer([one])[0] for one in (*questions, *reversed(questions))]
    assert [one.raw for one in one_by_one] == [one.raw for one in (*alone, *reversed(alone))]
    beside = talker().answer(questions)
    assert [one.raw for one in beside] == [one.raw for one in alone]
    assert [one.prompt_tokens for one in beside] == [one.prompt_tokens for one in alone]
    assert {one.batch for one in beside} == {len(ASKED)}


# The backend


@pytest.fixture(scope="module")
def videos(release: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Footage]:
    folder = tmp_path_factory.mktemp("videos")
    clips = [write_clip(folder / f"{size}.mp4", seconds=0.4, rate=10, size=(size, 120)) for size in (160, 240)]
    return [decode_video(clip, cot(release).observers()) for clip in clips]


def noise(path: Path, number: int) -> Path:
    soundfile.write(path, np.random.default_rng(number).uniform(-0.3, 0.3, 16_000), 16_000)
    return path


def cot(folder: Path, precision: str = "") -> VideoLlama2Cot:
    return VideoLlama2Cot(precision, folder=folder, config=CONFIG, device="cpu", dtype=torch.float32)


def test_threads_that_ask_at_once_share_a_batch_and_hear_what_one_alone_hears(
    release: Path, videos: list[Footage], tmp_path: Path
):
    sounds = [noise(tmp_path / f"{number}.wav", number) for number in range(3)]

    def asked(judge: VideoLlama2Cot, number: int) -> Reply:
        if number == 2:
            return judge.is_silent(sounds[number])
        return judge.judge(videos[number], sounds[number])

    first = cot(release)
    alone = [asked(first, number) for number in range(3)]
    judge = cot(release)
    check_same_in_company(ask_together(lambda number: asked(judge, number), 3), alone)


@pytest.mark.parametrize("name", ["videollama2-cot", "videollama2-qa"])
def test_an_unknown_precision_is_refused_naming_those_there_are(name: str):
    with pytest.raises(
        DeepSoundError, match=f"there is no precision '3bit'; name it as {name}, {name}:4bit"
    ) as caught:
        load_reasoner(f"{name}:3bit")
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_without_bitsandbytes_fewer_bits_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, release: Path):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DeepSoundError, match=r"need bitsandbytes.*pip install bitsandbytes") as caught:
        cot(release, "4bit")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", [Precision.BITS_4, Precision.BITS_8])
def test_only_the_language_model_s_layers_are_quantised(release: Path, precision: Precision):
    pytest.importorskip("bitsandbytes", reason="fewer bits need bitsandbytes")
    network = load_network(release, CONFIG, dtype=torch.float32, device=torch.device("cpu"), precision=precision)
    whole = {name for name, value in network.named_parameters() if value.is_floating_point()}
    fewer = {name for name, value in network.named_parameters() if not value.is_floating_point()}
    assert all(name.startswith("language.model.layers.") for name in fewer)
    assert len(fewer) == 7 * CONFIG.language.num_hidden_layers, "q, k, v, o, gate, up, down"
    assert {"language.lm_head.weight", "language.model.embed_tokens.weight"} <= whole


@pytest.mark.parametrize(("precision", "error"), [(Precision.BITS_4, 0.3), (Precision.BITS_8, 0.03)])
def test_fewer_bits_say_nearly_the_same(language, precision: Precision, error: float):
    pytest.importorskip("bitsandbytes", reason="fewer bits need bitsandbytes")
    fewer = deepcopy(language)
    quantise(fewer.model.layers, precision, dtype=torch.float32, device=torch.device("cpu"))
    [exact], [near] = (written(model, [prompt(model, "one", 20, 5)], [1]) for model in (language, fewer))
    difference = torch.linalg.vector_norm(near.logits[0] - exact.logits[0]) / torch.linalg.vector_norm(
        exact.logits[0]
    )
    assert 0 < difference < error


@pytest.mark.parametrize("precision", ["4bit", "8bit"])
def test_fewer_bits_judge_too_and_are_another_version(
    release: Path, videos: list[Footage], tmp_path: Path, precision: str
):
    pytest.importorskip("bitsandbytes", reason="fewer bits need bitsandbytes")
    judge, whole = cot(release, precision), cot(release)
    reply = judge.judge(videos[0], noise(tmp_path / "a.wav", 0))
    assert reply.raw == whole.judge(videos[0], tmp_path / "a.wav").raw
    assert (judge.name, reply.parameters["precision"]) == (f"videollama2-cot:{precision}", precision)
    assert judge.version != whole.version
    assert judge.models == whole.models, "the same weights, held in fewer bits"
