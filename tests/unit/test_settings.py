"""Settings: flags over variables over deepsound.toml over defaults, each declared once; a run freezes its own."""

import json
import os
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from console.cli.app import app
from console.cli.settings import settings_from
from deepsound.backends import available
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.media.loudness_standards import LoudnessTarget
from deepsound.models.licences import LicencePolicy
from deepsound.pipeline import Fallback, VoicePolicy
from deepsound.storage.location import location
from tasks.operations.manifest import collect
from tasks.runtime.run_settings import PlanSource, RunSettings, SilenceJudge
from tasks.runtime.setting_traits import traits_of
from tasks.runtime.stores import StoreUrls

FIELDS = {**RunSettings.model_fields, **StoreUrls.model_fields}

words = st.text(max_size=20)
run_settings = st.builds(
    RunSettings,
    generator=words, reasoner=words, separator=words,
    fallback=st.sampled_from(Fallback), voice=st.sampled_from(VoicePolicy),
    prompt=words, negative_prompt=words, seed=st.integers(0, 2**63 - 1), loudness=st.sampled_from(LoudnessTarget),
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
    assert RunSettings.from_json(kept) == settings.model_copy(update={"licence": LicencePolicy.ANY})


@given(run_settings)
def test_a_run_from_before_a_reasoner_could_be_asked_more_asks_no_more(settings: RunSettings):
    kept = settings.to_json()
    del kept["plan"], kept["silence"], kept["windows"]
    asks_less = {"plan": PlanSource.CONSTANT, "silence": SilenceJudge.MEASURED, "windows": False}
    assert RunSettings.from_json(kept) == settings.model_copy(update=asks_less)


@pytest.mark.parametrize(("frozen", "meant"), [(True, LoudnessTarget.EBU_R128), (False, LoudnessTarget.NONE)])
@given(run_settings)
def test_a_run_from_before_loudness_was_a_choice_keeps_what_it_asked_for(
    frozen: bool, meant: LoudnessTarget, settings: RunSettings
):
    assert RunSettings.from_json({**settings.to_json(), "loudness": frozen}).loudness is meant


@pytest.mark.parametrize(
    ("frozen", "fault"),
    [({"colour": "blue"}, "does not know the run's setting 'colour'"), ({"seed": "x"}, "the seed 'x' is wrong")],
)
def test_frozen_settings_that_this_version_cannot_read_are_one_line(frozen: dict[str, Any], fault: str):
    with pytest.raises(DeepSoundError, match=fault) as caught:
        RunSettings.from_json({**RunSettings().to_json(), **frozen})
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_an_override_that_this_version_does_not_know_is_refused():
    with pytest.raises(DeepSoundError, match="does not know the run's setting 'colour'"):
        RunSettings().with_overrides({"colour": "blue"})


@given(run_settings, words, st.integers(0, 2**63 - 1))
def test_what_a_line_of_the_list_says_goes_first(settings: RunSettings, prompt: str, seed: int):
    item = settings.with_overrides({"prompt": prompt, "seed": seed})
    assert (item.prompt, item.seed) == (prompt, seed)
    assert item.with_overrides({"prompt": settings.prompt, "seed": settings.seed}) == settings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A folder without a settings file, and an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for name in FIELDS:
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
    "loudness": ("none", "atsc-a85", "none"),
    "licence": ("commercial", "any", "commercial"),
    "plan": ("model", "constant", "model"),
    "silence": ("both", "measured", "model"),
    "windows": ("true", "false", "true"),
    "out": ("/toml", "/env", "/flag"),
    "db": ("sqlite:///toml", "sqlite:///env", "sqlite:///flag"),
    "store": ("toml", "env", "flag"),
}


def setting(name: str, **flags: object) -> object:
    """The value that a command gets."""
    settings = settings_from(**flags)
    return getattr(settings.run if name in RunSettings.model_fields else settings.stores, name)


@pytest.mark.parametrize("name", SPOKEN)
def test_flags_go_before_variables_and_these_before_the_file(here: pytest.MonkeyPatch, name: str):
    in_file, in_environment, as_flag = SPOKEN[name]

    def means(**flags: str) -> str:
        value = setting(name, **flags)
        return str(value).lower() if isinstance(value, bool) else str(value)

    Path("deepsound.toml").write_text(f'{name} = "{in_file}"\n')
    assert means() == in_file
    here.setenv(f"DEEPSOUND_{name.upper()}", in_environment)
    assert means() == in_environment
    assert means(**{name: as_flag}) == as_flag


def test_a_flag_that_was_not_given_says_nothing(here: pytest.MonkeyPatch):
    here.setenv("DEEPSOUND_SEED", "7")
    assert settings_from(seed=None).run.seed == 7


def test_a_flag_may_be_empty_or_off(here: pytest.MonkeyPatch):
    here.setenv("DEEPSOUND_PROMPT", "rain")
    here.setenv("DEEPSOUND_WINDOWS", "true")
    settings = settings_from(prompt="", windows=False, seed=0).run
    assert (settings.prompt, settings.windows, settings.seed) == ("", False, 0)


def test_results_go_where_the_command_was_started_wherever_a_worker_runs(here, tmp_path: Path):
    assert settings_from().run.out == location(tmp_path / "deepsound-out")


@pytest.mark.parametrize("out", [b"out-\xff", b"s3://bucket/out-\xff"])
def test_a_place_for_results_that_is_no_text_is_refused_since_no_run_could_keep_it(here, out: bytes):
    with pytest.raises(DeepSoundError, match=r"out-\\xff.*UTF-8.*-o") as caught:
        settings_from(out=os.fsdecode(out))
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_a_run_keeps_no_place_for_its_books_which_may_hold_a_password(here: pytest.MonkeyPatch):
    settings = settings_from(db="postgresql://u:secret@host/db", store="s3://bucket/secret")
    assert "secret" not in json.dumps(settings.run.to_json())


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


def another_value(name: str, field: FieldInfo) -> str:
    """A valid value that is not the default, as a user types it."""
    default = field.get_default(call_default_factory=True, validated_data={})
    match default:
        case bool():
            return str(not default).lower()
        case Enum():
            return next(each.value for each in type(default) if each is not default)
        case int():
            return str(default + 1)
        case _:
            return f"/another/{name}"


def options(*command: str) -> dict[str, Any]:
    """The options of a command by their flags."""
    group = typer.main.get_command(app)
    for name in command:
        group = group.commands[name]
    return {flag: option for option in group.params for flag in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("command", [("dub",), ("run", "submit")], ids=" ".join)
@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_a_flag_with_its_help_default_and_choices(command: tuple[str, ...], name: str):
    field, option = FIELDS[name], options(*command)[f"--{name.replace('_', '-')}"]
    default = field.get_default(call_default_factory=True, validated_data={})
    assert option.help == field.description
    assert str(option.default) == str(default)
    assert option.show_default
    assert isinstance(default, bool) is bool(option.secondary_opts)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_a_flag_a_variable_and_a_key_of_the_file(here: pytest.MonkeyPatch, name: str):
    default, typed = setting(name), another_value(name, FIELDS[name])
    by_flag = setting(name, **{name: typed})
    here.setenv(f"DEEPSOUND_{name.upper()}", typed)
    by_variable = setting(name)
    here.delenv(f"DEEPSOUND_{name.upper()}")
    Path("deepsound.toml").write_text(f'{name} = "{typed}"\n')
    assert by_flag == by_variable == setting(name) != default


@pytest.mark.parametrize("name", FIELDS)
def test_a_run_freezes_its_own_settings_and_not_where_the_stores_are(name: str):
    if name in StoreUrls.model_fields:
        assert name not in RunSettings().to_json()
        return
    frozen = RunSettings(**{name: another_value(name, FIELDS[name])}).to_json()
    assert frozen[name] != RunSettings().to_json()[name]
    assert RunSettings.from_json(frozen).to_json() == json.loads(json.dumps(frozen))
    del frozen[name]
    assert RunSettings.from_json(frozen) == RunSettings(), "what was frozen before there was this setting loads"


@pytest.mark.parametrize("name", FIELDS)
def test_a_column_of_a_list_sets_what_may_differ_from_video_to_video(tmp_path: Path, name: str):
    typed = another_value(name, FIELDS[name])
    (tmp_path / "list.csv").write_text(f"source,{name}\na.mp4,{typed}\n", encoding="utf-8")
    if not traits_of(FIELDS[name]).is_column:
        with pytest.raises(DeepSoundError, match=f"line 2: unknown column '{name}'"):
            collect([location(tmp_path / "list.csv")], location(tmp_path / "out"))
        return
    [source] = collect([location(tmp_path / "list.csv")], location(tmp_path / "out")).sources
    assert RunSettings().with_overrides(source.overrides) == RunSettings(**{name: typed})


@pytest.mark.parametrize("command", [("dub",), ("run", "submit")], ids=" ".join)
def test_help_shows_defaults_choices_and_installed_backends(command: tuple[str, ...]):
    shown = CliRunner().invoke(app, [*command, "--help"], terminal_width=1000)
    texts = (" ".join(text.split()) for text in shown.stdout.split("\n  -"))
    lines = {f"-{text.split()[0].rstrip(',')}": text for text in texts}
    for name, field in RunSettings.model_fields.items():
        traits = traits_of(field)
        line = lines[traits.short_flag or f"--{name.replace('_', '-')}"]
        default = field.default
        assert f"[default: {f'no-{name}' if default is False else default or '(empty)'}]" in line
        if isinstance(default, Enum):
            assert f"<{'|'.join(choice.value for choice in type(default))}>" in line
            assert all(f"{choice.value}:" in line for choice in type(default)), "each choice is explained"
        if traits.backends is not None:
            assert f"Installed: {', '.join(available(traits.backends))}." in line


@pytest.mark.parametrize("typed", [["--no-loudness"], ["--loudness", "none"]], ids=" ".join)
def test_the_short_form_of_a_setting_means_its_value(here: pytest.MonkeyPatch, typed: list[str]):
    here.setenv("DEEPSOUND_LOUDNESS", "atsc-a85")
    seen: list[LoudnessTarget] = []
    here.setattr("console.cli.dub.warm_up", lambda: None)
    here.setattr("console.cli.dub.check_backends", lambda settings, _: seen.append(settings.loudness) or 1 / 0)
    CliRunner().invoke(app, ["dub", "reel.mp4", *typed])
    assert seen == [LoudnessTarget.NONE]


def test_a_setting_and_its_short_form_contradict_each_other(here: pytest.MonkeyPatch):
    refused = CliRunner().invoke(app, ["dub", "reel.mp4", "--loudness", "ebu-r128", "--no-loudness"])
    assert isinstance(refused.exception, DeepSoundError)
    assert "--no-loudness: it contradicts --loudness" in str(refused.exception)


@pytest.mark.parametrize(("written", "meant"), [("true", LoudnessTarget.EBU_R128), ("false", LoudnessTarget.NONE)])
def test_true_and_false_stay_valid_for_loudness(here: pytest.MonkeyPatch, written: str, meant: LoudnessTarget):
    Path("deepsound.toml").write_text(f"loudness = {written}\n")
    assert settings_from().run.loudness is meant
    here.setenv("DEEPSOUND_LOUDNESS", written)
    assert settings_from().run.loudness is meant


def test_an_error_names_the_key_of_the_file_as_it_is_written_there(here: pytest.MonkeyPatch):
    Path("deepsound.toml").write_text("negative_prompt = 5\n")
    with pytest.raises(
        DeepSoundError, match=r"--negative-prompt: .*DEEPSOUND_NEGATIVE_PROMPT, or negative_prompt in"
    ):
        settings_from()
