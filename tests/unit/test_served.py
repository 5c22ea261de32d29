"""The served reasoner against a real HTTP server: what it sends and keeps, and what may go wrong on the way."""

import base64
import io
import json
import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from deepsound import cot
from deepsound.canonical_json import canonical_json
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.audio import write_float_wav
from deepsound.media.decode import decode_video
from deepsound.media.observation_files import load_observations, save_observations
from deepsound.media.observers import Footage
from deepsound.reasoning import protocol
from deepsound.reasoning.served import Served
from deepsound.reasoning.served.address import KEY_VARIABLE, parse_address
from deepsound.reasoning.served.answer_probability import answer_probability
from deepsound.reasoning.served.chat_messages import ReplyToken
from deepsound.reasoning.served.transport import CONCURRENT_REQUESTS, MAX_RESPONSE_BYTES, RetryPolicy
from deepsound.reasoning.still_frames import MAX_STILLS, STILL_LONG_SIDE, STILLS, StillsObserver, jpegs
from tests.chat_server import MODEL, YES, FakeChatServer, chat_server, cut, drip, says, spoken, status
from tests.made_clips import read_number, tone, write_clip

KEY = "sk-test.0123456789"
HASTE = RetryPolicy(connect=1.0, answer=5.0, attempts=3, pause=0.01, longest_pause=2.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with chat_server() as server:
        yield server


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    clip = write_clip(tmp_path_factory.mktemp("clips") / "numbered.mp4", seconds=8.0, rate=4, size=(640, 360))
    return decode_video(clip, [StillsObserver()])


@cache
def sound(folder: Path, seconds: float = 1.0) -> Path:
    path = folder / f"sound-{seconds}.wav"
    write_float_wav(path, 48_000, 2, [tone(440, seconds, channels=2)])
    return path


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return sound(tmp_path)


def failure(
    server: FakeChatServer, footage: Footage, audio: Path, patience: RetryPolicy = HASTE
) -> DeepSoundError:
    with pytest.raises(DeepSoundError) as caught:
        Served(server.url, patience=patience).judge(footage, audio)
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)
    assert caught.value.remedy
    return caught.value


# What is sent


def test_it_is_a_reasoner(server: FakeChatServer):
    reasoner: protocol.Reasoner = Served(server.url)
    assert reasoner.observers()[0].name == STILLS


def test_asked_for_a_plan_it_shows_the_frames_and_keeps_every_word(server: FakeChatServer, footage: Footage):
    server.says = cot.PLAN
    reply = Served(server.url).plan(footage)
    assert cot.parse_plan(reply.raw).accepted
    assert len(reply.frames) == MAX_STILLS
    [message] = server.requests[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url"] * MAX_STILLS + ["text"]
    assert cot.PLAN_PROMPT in message["content"][-1]["text"]
    server.says = "First I would look for music."
    assert not cot.parse_plan(Served(server.url).plan(footage).raw).accepted


def test_asked_about_silence_it_plays_the_sound_alone(server: FakeChatServer, audio: Path):
    server.says = "The audio is not silent."
    reasoner = Served(server.url)
    assert isinstance(reasoner, protocol.SupportsSilenceCheck)
    reply = reasoner.is_silent(audio)
    assert cot.parse_silence(reply.raw).silent is False
    [message] = server.requests[0]["messages"]
    assert [part["type"] for part in message["content"]] == ["input_audio", "text"]
    assert cot.SILENCE_PROMPT in message["content"][-1]["text"]
    assert reply.probability is None


def test_frames_sound_and_question_are_sent_greedily(server: FakeChatServer, footage: Footage, audio: Path):
    reply = Served(server.url).judge(footage, audio)
    [request] = server.requests
    assert (request["model"], request["temperature"]) == (MODEL, 0)
    [message] = request["messages"]
    parts = [part["type"] for part in message["content"]]
    assert parts == ["image_url"] * MAX_STILLS + ["input_audio", "text"]
    assert message["content"][-1]["text"] == reply.prompt
    assert cot.JUDGE_PROMPT in reply.prompt
    assert all(f"<{stage.name}>" in reply.prompt for stage in cot.Stage)
    url = message["content"][0]["image_url"]["url"]
    assert url.startswith("data:image/jpeg;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (picture.format, picture.size) == ("JPEG", (STILL_LONG_SIDE, 288))


def test_the_sound_is_sent_whole_at_16_khz_in_equal_windows(
    server: FakeChatServer, footage: Footage, tmp_path: Path
):
    Served(server.url).judge(footage, sound(tmp_path, 31.0))
    sounds = [
        part["input_audio"] for part in server.requests[0]["messages"][0]["content"] if "input_audio" in part
    ]
    assert [one["format"] for one in sounds] == ["wav", "wav"]
    read = [soundfile.read(io.BytesIO(base64.b64decode(one["data"])), dtype="float32") for one in sounds]
    assert [(len(samples), rate) for samples, rate in read] == [(248_000, 16_000)] * 2
    whole = np.concatenate([samples for samples, _ in read])
    assert np.abs(whole - tone(440, 31.0, rate=16_000)[:, 0])[1000:-1000].max() < 1e-3


def test_more_sound_than_a_server_is_sent_is_refused_before_it_is_asked(
    server: FakeChatServer, footage: Footage, tmp_path: Path
):
    endless = tmp_path / "endless.wav"
    soundfile.write(endless, np.zeros(1801 * 100, np.float32), 100)
    with pytest.raises(DeepSoundError, match=r"30 minutes of sound .*evidence"):
        Served(server.url).judge(footage, endless)
    assert not server.times


def test_frames_are_spread_evenly_over_the_whole_video(footage: Footage):
    seen = footage.observations[STILLS]
    pictures = [np.asarray(Image.open(io.BytesIO(file))) for file in jpegs(seen)]
    assert [read_number(picture) for picture in pictures] == [round(4 * time) for time in seen["time"]]
    assert len(pictures) == MAX_STILLS
    assert np.ptp(np.diff(seen["time"])) <= 0.25
    assert seen["time"][0] <= 0.5
    assert seen["time"][-1] >= 7.0


@pytest.mark.parametrize("seen", [1, 3, 16, 129, 1000])
def test_any_number_of_frames_is_shown_evenly_and_none_twice(seen: int):
    observer = StillsObserver()
    times = np.arange(seen) / 4
    for first in range(0, seen, 50):
        part = times[first : first + 50]
        observer.see(np.zeros((len(part), 8, 8, 3), np.uint8), part)
    chosen = observer.finish()["time"]
    assert len(chosen) == min(seen, MAX_STILLS)
    assert len(set(chosen)) == len(chosen)
    if seen >= MAX_STILLS:
        assert np.ptp(np.diff(chosen)) <= 0.25 * max(seen // 64, 1)
        assert chosen[-1] > 0.9 * times[-1]


def test_a_judgement_needs_no_decoding_once_the_frames_are_stored(
    server: FakeChatServer, footage: Footage, audio: Path, tmp_path: Path
):
    save_observations(footage.observations, tmp_path / "kept.safetensors")
    kept = Footage(footage.info, load_observations(tmp_path / "kept.safetensors"), footage.decoder, footage.frames)
    for each in (footage, kept):
        Served(server.url).judge(each, audio)
    assert server.requests[0] == server.requests[1]


def test_footage_that_was_not_seen_is_refused(server: FakeChatServer, footage: Footage, audio: Path):
    with pytest.raises(DeepSoundError, match=STILLS):
        Served(server.url).judge(Footage(footage.info, {}, "pyav", 1), audio)


# What is kept


def test_the_reply_is_kept_word_for_word_with_frames_and_token_counts(
    server: FakeChatServer, footage: Footage, audio: Path
):
    server.says = f"\n {YES}  \n"
    reply = Served(server.url).judge(footage, audio)
    assert reply.raw == server.says
    assert cot.parse_judgement(reply.raw).verdict is cot.Verdict.YES
    assert [frame.time for frame in reply.frames] == list(footage.observations[STILLS]["time"])
    kept = json.loads(canonical_json(dict(reply.parameters)))
    assert (kept["url"], kept["model"]) == (f"{server.url}/v1", MODEL)
    assert kept["finish_reason"] == "stop"
    assert (reply.prompt_tokens, reply.reply_tokens) == (3210, 99)
    assert reply.seconds is not None


def test_the_probability_is_that_of_the_letters_at_the_answer(
    server: FakeChatServer, footage: Footage, audio: Path
):
    reply = Served(server.url).judge(footage, audio)
    assert reply.probability == pytest.approx(0.8)
    assert (server.requests[0]["logprobs"], server.requests[0]["top_logprobs"]) == (True, 20)


def test_a_server_without_logprobs_gives_no_probability(server: FakeChatServer, footage: Footage, audio: Path):
    server.chances = None
    assert Served(server.url).judge(footage, audio).probability is None


def test_a_server_that_refuses_logprobs_is_asked_without_them_from_then_on(
    server: FakeChatServer, footage: Footage, audio: Path
):
    reasoner = Served(f"{server.url}#{MODEL}")
    server.faults.append(status(400, "'logprobs' is not supported with this model"))
    for _ in range(2):
        reply = reasoner.judge(footage, audio)
        assert (reply.raw, reply.probability) == (YES, None)
    assert ["logprobs" in request for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("reply", "chances", "expected"),
    [
        (YES, {"A": 0.5, "B": 0.5}, 0.5),
        (YES, {"A": 0.98, "C": 0.01}, None),
        (YES, {"A": 0.6, "AB": 0.2, "b": 0.1}, None),
        (YES.replace("> A", ">A"), {"A": 0.3, " B ": 0.1}, 0.75),
        (YES.replace("> A", "> C"), {"A": 0.6, "B": 0.4}, None),
        ("A man says A.", {"A": 0.6, "B": 0.4}, None),
    ],
)
def test_a_probability_is_never_made_up(reply: str, chances: dict[str, float], expected: float | None):
    tokens = [ReplyToken.model_validate(token) for token in spoken(reply, chances)]
    assert answer_probability(reply, tokens) == (None if expected is None else pytest.approx(expected))


def test_tokens_that_spell_something_else_give_no_probability():
    tokens = [ReplyToken.model_validate(token) for token in spoken(YES, {"A": 0.6, "B": 0.4})]
    assert answer_probability(YES, tokens[1:]) is None
    thinking = ReplyToken(token="<think>A</think>", logprob=0.0)
    assert answer_probability(YES, [thinking, *tokens]) == pytest.approx(0.6)


def test_infinitely_unlikely_tokens_count_for_nothing():
    tokens = [ReplyToken.model_validate(token) for token in spoken(YES, {"A": 0.6, "B": 0.4})]
    for chance in (place for token in tokens for place in token.top_logprobs if place.token == "B"):
        chance.logprob = float("-inf")
    assert answer_probability(YES, tokens) == 1.0


@pytest.mark.parametrize(
    "message",
    [
        {"content": "I'm sorry, I can't help with that."},
        {"content": None, "refusal": "I can't judge recordings of people."},
        {"content": YES[: YES.index("</CONCLUSION>")]},
    ],
)
def test_words_that_are_no_judgement_are_undecided_and_kept(
    server: FakeChatServer, footage: Footage, audio: Path, message: dict[str, str | None]
):
    server.message = dict(message)
    reply = Served(server.url).judge(footage, audio)
    assert reply.raw == message["content"] or reply.raw == message["refusal"]
    assert reply.parameters["refused"] == ("refusal" in message)
    assert cot.parse_judgement(reply.raw).verdict is cot.Verdict.UNDECIDED
    assert reply.probability is None


def test_thinking_aloud_is_kept_beside_the_reply(server: FakeChatServer, footage: Footage, audio: Path):
    server.message = {"content": YES, "reasoning_content": "Hm. B? No."}
    reply = Served(server.url).judge(footage, audio)
    assert (reply.raw, reply.parameters["thinking"]) == (YES, "Hm. B? No.")
    assert reply.probability == pytest.approx(0.8)


# Which model


def test_the_one_model_served_is_the_one_asked(server: FakeChatServer):
    reasoner = Served(server.url)
    [identity] = reasoner.models
    assert (identity.name, identity.revision, dict(identity.files)) == (MODEL, f"{server.url}/v1", {})
    assert reasoner.name == f"served:{server.url}/v1"
    assert len(server.times) == 1
    assert list(reasoner.models) == [identity]
    assert len(server.times) == 1, "it is asked once"


def test_several_models_are_listed_and_one_has_to_be_named(server: FakeChatServer, footage: Footage, audio: Path):
    server.models = ["small", "large"]
    error = failure(server, footage, audio)
    assert error.code is ErrorCode.BAD_SETTINGS
    assert "2 models (small, large)" in error.what
    assert error.remedy.endswith("#<model>")
    Served(f"{server.url}#large").judge(footage, audio)
    assert server.requests[-1]["model"] == "large"


def test_a_server_without_models_says_so(server: FakeChatServer, footage: Footage, audio: Path):
    server.models = []
    assert "has no model" in failure(server, footage, audio).what


def test_a_named_model_is_not_looked_up(server: FakeChatServer):
    [identity] = Served(f"{server.url}/v1/#org/Name").models
    assert identity.name == "org/Name"
    assert not server.times


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://gpu-7:8000", "http://gpu-7:8000/v1"),
        ("http://gpu-7:8000/", "http://gpu-7:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("https://api.example.org/openai/v2/#m", "https://api.example.org/openai/v2"),
    ],
)
def test_a_url_without_a_path_means_the_usual_one(text: str, url: str):
    assert parse_address(text).url == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpu-7:8000",
        "ftp://gpu-7",
        "http://",
        "http://h:99999",
        "http://h\n",
        "http://[",
        "http://a..b",
        "#model",
    ],
)
def test_a_bad_url_is_bad_settings(text: str):
    with pytest.raises(DeepSoundError, match="served:http://host:port") as caught:
        Served(text)
    assert caught.value.code is ErrorCode.BAD_SETTINGS


# What may go wrong


@pytest.mark.parametrize("fault", [status(500), status(503), status(429), cut], ids=["500", "503", "429", "cut"])
def test_what_passes_is_tried_again(server: FakeChatServer, footage: Footage, audio: Path, fault):
    reasoner = Served(f"{server.url}#{MODEL}", patience=HASTE)
    server.faults += [fault, fault]
    assert reasoner.judge(footage, audio).raw == YES
    assert len(server.requests) == 3
    assert server.requests[0] == server.requests[2]


@pytest.mark.parametrize("fault", [status(500), status(429), cut], ids=["500", "429", "cut"])
def test_what_does_not_pass_is_left_for_later(server: FakeChatServer, footage: Footage, audio: Path, fault):
    server.faults += [fault] * 3
    error = failure(server, footage, audio)
    assert error.code is ErrorCode.SERVER_UNAVAILABLE
    assert error.is_retryable
    assert "asked 3 times" in error.what
    assert len(server.times) == 3


def test_pauses_grow_and_no_two_are_alike(
    server: FakeChatServer, footage: Footage, audio: Path, monkeypatch: pytest.MonkeyPatch
):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    for _ in range(8):
        server.faults += [status(429), status(500), cut]
        Served(f"{server.url}#{MODEL}", patience=RetryPolicy(attempts=4, pause=1.0, longest_pause=3.0)).judge(
            footage, audio
        )
    pauses = np.array([pause for pause in slept if pause]).reshape(8, 3)  # The server itself sleeps for nothing.
    assert (pauses <= [1.0, 2.0, 3.0]).all(), "twice the last one, and never more than the longest"
    assert len(np.unique(pauses)) == pauses.size, (
        "random, so that those who failed together don't come back together"
    )
    assert (pauses.max(axis=0) > [0.1, 0.2, 0.3]).all()


def test_a_server_that_is_not_there_is_left_for_later(server: FakeChatServer, footage: Footage, audio: Path):
    server.close()
    assert failure(server, footage, audio).code is ErrorCode.SERVER_UNAVAILABLE


def test_a_server_that_asks_for_patience_gets_it(server: FakeChatServer, footage: Footage, audio: Path):
    server.faults.append(status(429, Retry_After="1"))
    Served(f"{server.url}#{MODEL}", patience=HASTE).judge(footage, audio)
    assert server.times[1] - server.times[0] >= 1.0


def test_patience_may_be_asked_for_until_a_date(server: FakeChatServer, footage: Footage, audio: Path):
    until = datetime.now(UTC) + timedelta(seconds=1)
    server.faults.append(status(503, Retry_After=format_datetime(until, usegmt=True)))
    Served(f"{server.url}#{MODEL}", patience=HASTE).judge(footage, audio)
    assert datetime.now(UTC) >= until.replace(microsecond=0)


def test_a_server_that_asks_for_more_patience_than_there_is_is_left_alone(
    server: FakeChatServer, footage: Footage, audio: Path
):
    server.faults.append(status(429, Retry_After="3600"))
    assert failure(server, footage, audio).code is ErrorCode.SERVER_UNAVAILABLE
    assert len(server.times) == 1


@pytest.mark.parametrize("slow", [lambda _: time.sleep(0.5), drip], ids=["silent", "dripping"])
def test_a_slow_server_is_not_asked_twice(server: FakeChatServer, footage: Footage, audio: Path, slow):
    server.faults.append(slow)
    error = failure(server, footage, audio, RetryPolicy(answer=0.2))
    assert error.code is ErrorCode.TIMED_OUT
    assert len(server.times) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b'{"choices": [{"message": {"content": "<SUMM',
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": 7}}]}',
        b'{"choices": [{"message": {"content": "caf\xe9"}}]}',
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b'{"choices": [{"message": {"content": "nul \\u0000"}}]}',
        b"[" * 100_000,
    ],
    ids=["empty", "html", "half", "no choice", "no text", "not utf-8", "half a character", "nul", "deep"],
)
def test_a_broken_answer_is_not_a_reply(server: FakeChatServer, footage: Footage, audio: Path, body: bytes):
    reasoner = Served(f"{server.url}#{MODEL}", patience=HASTE)
    server.faults.append(says(body))
    with pytest.raises(DeepSoundError, match="none of the chat protocol") as caught:
        reasoner.judge(footage, audio)
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert not caught.value.is_retryable
    assert len(str(caught.value)) < 500
    assert len(server.requests) == 1


def test_an_endless_answer_is_cut_short(server: FakeChatServer, footage: Footage, audio: Path):
    def pour(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * (1 << 20))
        except OSError:
            handler.close_connection = True

    server.faults.append(pour)
    error = failure(server, footage, audio)
    assert error.code is ErrorCode.MODEL_FAILED
    assert f"longer than {MAX_RESPONSE_BYTES >> 20} MiB" in error.what


@pytest.mark.parametrize("content", [None, ""])
def test_a_model_that_says_nothing_is_an_error(
    server: FakeChatServer, footage: Footage, audio: Path, content: str | None
):
    server.message, server.finish_reason = {"content": content}, "content_filter"
    error = failure(server, footage, audio)
    assert error.code is ErrorCode.MODEL_FAILED
    assert "said nothing (finish reason: content_filter)" in error.what


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (302, ErrorCode.BAD_SETTINGS),
        (400, ErrorCode.MODEL_FAILED),
        (401, ErrorCode.BAD_SETTINGS),
        (403, ErrorCode.BAD_SETTINGS),
        (404, ErrorCode.BAD_SETTINGS),
        (413, ErrorCode.MODEL_FAILED),
    ],
)
def test_a_request_turned_down_is_not_repeated(
    server: FakeChatServer, footage: Footage, audio: Path, code: int, expected: ErrorCode
):
    server.faults.append(status(code, "No.\n\x1b[31m Too much " + "x" * 5000, location="http://127.0.0.1:9/"))
    error = failure(server, footage, audio)
    assert error.code is expected
    assert str(code) in error.what
    assert "\x1b" not in error.what
    assert len(str(error)) < 500
    assert len(server.times) == 1


def test_a_process_asks_no_more_than_a_few_things_at_once(server: FakeChatServer, footage: Footage, audio: Path):
    server.seconds = 0.1
    reasoners = [Served(f"{server.url}#{name}") for name in ("a", "b")]
    threads = [
        threading.Thread(target=reasoner.judge, args=(footage, audio)) for reasoner in reasoners for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == len(threads)
    assert 1 < server.most_at_once <= CONCURRENT_REQUESTS
    assert isinstance(reasoners[0], protocol.SupportsConcurrency)
    assert reasoners[0].concurrency == CONCURRENT_REQUESTS


# The key


@pytest.fixture
def keyed(server: FakeChatServer, monkeypatch: pytest.MonkeyPatch) -> FakeChatServer:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    return server


def test_the_key_is_sent_and_written_nowhere(
    keyed: FakeChatServer, footage: Footage, audio: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    reasoner = Served(keyed.url, patience=HASTE)
    keyed.faults += [status(500, KEY), cut]
    reply = reasoner.judge(footage, audio)
    assert set(keyed.authorizations) == {f"Bearer {KEY}"}
    assert KEY not in repr((reply, reasoner, reasoner.models, vars(reasoner), vars(reasoner._server)))
    assert caplog.text
    assert KEY not in caplog.text


def test_without_a_key_none_is_sent(server: FakeChatServer, footage: Footage, audio: Path):
    Served(server.url).judge(footage, audio)
    assert set(server.authorizations) == {None}


@pytest.mark.parametrize("code", [400, 401, 500])
def test_a_server_that_repeats_the_key_is_not_quoted(
    keyed: FakeChatServer, footage: Footage, audio: Path, code: int
):
    keyed.faults += [status(code, f"incorrect key {KEY}")] * 3
    assert KEY not in str(failure(keyed, footage, audio))


def test_a_reply_that_repeats_the_key_is_not_kept(keyed: FakeChatServer, footage: Footage, audio: Path):
    keyed.says = YES.replace("A man", KEY)
    error = failure(keyed, footage, audio)
    assert error.code is ErrorCode.MODEL_FAILED
    assert KEY not in str(error)


@pytest.mark.parametrize("text", ["http://user:hush@h/v1", "http://h/v1?api_key=hush"])
def test_a_url_with_a_secret_is_refused_without_repeating_it(text: str):
    with pytest.raises(DeepSoundError, match=KEY_VARIABLE) as caught:
        Served(text)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", '"quoted"', "naïve", "line\nbreak"])
def test_a_key_that_is_none_is_refused_without_repeating_it(
    server: FakeChatServer, monkeypatch: pytest.MonkeyPatch, key: str
):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(DeepSoundError, match=KEY_VARIABLE) as caught:
        Served(server.url)
    assert key not in str(caught.value)
