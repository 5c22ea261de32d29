"""Settings: flags over variables over deepsound.toml over defaults; a run keeps them word for word."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.cli.settings import settings_from
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, VoicePolicy
from tasks.runtime.run_settings import PlanSource, RunSettings, SilenceJudge

words = st.text(max_size=20)
run_settings = st.builds(
    RunSettings,
    generator=words, reasoner=words, separator=words,
    fallback=st.sampled_from(Fallback), voice=st.sampled_from(VoicePolicy),
    prompt=words, negative_prompt=words, seed=st.integers(0, 2**63 - 1), loudness=st.booleans(),
    out=st.text("ab/. é", min_size=1, max_size=20).map(Path), licence=st.sampled_from(LicencePolicy),
    plan=st.sampled_from(PlanSource), silence=st.sampled_from(SilenceJudge),
    windows=st.booleans(),
)  # fmt: skip


@given(run_settings)
def test_a_run_reads_its_settings_back_as_they_were(settings: RunSettings):
    assert RunSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


@given(run_settings)
def test_a_run_from_before_there_were_licence_policies_may_use_any_weights(settings: RunSettings):
    kept = settings.to_json()
    del kept["licence"]
    assert RunSettings.from_json(kept) == replace(settings, licence=LicencePolicy.ANY)


@given(run_settings)
def test_a_run_from_before_a_reasoner_could_be_asked_more_asks_no_more(settings: RunSettings):
    kept = settings.to_json()
    del kept["plan"], kept["silence"], kept["windows"]
    asking_less = replace(settings, plan=PlanSource.CONSTANT, silence=SilenceJudge.MEASURED, windows=False)
    assert RunSettings.from_json(kept) == asking_less


@given(run_settings, words, st.integers(0, 2**63 - 1))
def test_what_a_line_of_the_list_says_goes_first(settings: RunSettings, prompt: str, seed: int):
    item = settings.with_overrides({"prompt": prompt, "seed": seed})
    assert (item.prompt, item.seed) == (prompt, seed)
    assert item.with_overrides({"prompt": settings.prompt, "seed": settings.seed}) == settings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A folder without a settings file, and an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in SPOKEN:
        monkeypatch.delenv(f"DEEPSOUND_{name.upper()}", raising=False)
    return monkeypatch


SPOKEN = {
    "generator": ("from-toml", "from-env", "from-flag"),
    "reasoner": ("from-toml", "from-env", "from-flag"),
    "separator": ("from-toml", "from-env", "from-flag"),
    "fallback": ("rm", "rep", "neg"),
    "voice": ("all", "voice-over", "all"),
    "prompt": ("of toml", "of env", "of flag"),
    "negative_prompt": ("of toml", "of env", "of flag"),
    "seed": ("1", "2", "3"),
    "loudness": ("false", "true", "false"),
    "licence": ("commercial", "any", "commercial"),
    "plan": ("model", "constant", "model"),
    "silence": ("both", "measured", "model"),
    "windows": ("true", "false", "true"),
    "out": ("toml", "env", "flag"),
    "db": ("sqlite:///toml", "sqlite:///env", "sqlite:///flag"),
    "store": ("toml", "env", "flag"),
}


@pytest.mark.parametrize("name", SPOKEN)
def test_flags_go_before_variables_and_these_before_the_file(here: pytest.MonkeyPatch, name: str):
    in_file, in_environment, as_flag = SPOKEN[name]

    def means(**flags: str) -> str:
        value = getattr(settings_from(**flags), name)
        return str(value).lower() if isinstance(value, bool) else str(value)

    Path("deepsound.toml").write_text(f'{name} = "{in_file}"\n')
    assert means() == in_file
    here.setenv(f"DEEPSOUND_{name.upper()}", in_environment)
    assert means() == in_environment
    assert means(**{name: as_flag}) == as_flag


def test_a_flag_that_was_not_given_says_nothing(here: pytest.MonkeyPatch):
    here.setenv("DEEPSOUND_SEED", "7")
    assert settings_from(seed=None).seed == 7


def test_a_flag_may_be_empty_or_off(here: pytest.MonkeyPatch):
    here.setenv("DEEPSOUND_PROMPT", "rain")
    settings = settings_from(prompt="", loudness=False, seed=0)
    assert (settings.prompt, settings.loudness, settings.seed) == ("", False, 0)


def test_results_go_where_the_command_was_started_wherever_a_worker_runs(here, tmp_path: Path):
    assert settings_from().for_run().out == tmp_path / "deepsound-out"


@pytest.mark.parametrize("out", [b"out-\xff", b"s3://bucket/out-\xff"])
def test_a_place_for_results_that_is_no_text_is_refused_since_no_run_could_keep_it(here, out: bytes):
    with pytest.raises(DeepSoundError, match=r"out-\\xff.*UTF-8.*-o") as caught:
        settings_from(out=os.fsdecode(out)).for_run()
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_a_run_keeps_no_place_for_its_books_which_may_hold_a_password(here: pytest.MonkeyPatch):
    settings = settings_from(db="postgresql://u:secret@host/db", store="s3://bucket/secret")
    assert "secret" not in json.dumps(settings.for_run().to_json())


@pytest.mark.parametrize(
    ("variable", "value"), [("SEED", "minus one"), ("SEED", "-1"), ("FALLBACK", "perhaps"), ("LOUDNESS", "loud")]
)
def test_a_bad_value_is_one_line_that_names_flag_and_variable(here: pytest.MonkeyPatch, variable: str, value: str):
    here.setenv(f"DEEPSOUND_{variable}", value)
    with pytest.raises(DeepSoundError) as caught:
        settings_from()
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert f"--{variable.lower()}" in str(caught.value)
    assert f"DEEPSOUND_{variable}" in str(caught.value)


def test_a_file_that_is_no_toml_is_one_line_that_names_it(here: pytest.MonkeyPatch):
    Path("deepsound.toml").write_text("seed = = 3")
    with pytest.raises(DeepSoundError, match=r"deepsound\.toml") as caught:
        settings_from()
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_a_misspelt_setting_in_the_file_is_one_line_that_names_it_and_those_there_are(here: pytest.MonkeyPatch):
    Path("deepsound.toml").write_text('fall_back = "rm"')
    with pytest.raises(DeepSoundError, match=r"deepsound\.toml: there is no setting 'fall_back'") as caught:
        settings_from()
    assert "fallback" in str(caught.value)
