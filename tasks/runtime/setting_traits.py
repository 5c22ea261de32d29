"""What a field of a settings model declares besides its type, default and description."""

from dataclasses import dataclass
from enum import StrEnum

from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class SettingTraits:
    """How a setting is spelled and who may set it. Goes into the `Annotated` of its field.

    `short_flag`: a one-letter flag besides `--name`. `off`: the value that the flag `--no-name` stands for.
    `backends`: the entry-point group whose names the setting takes. `is_column`: whether a column of a list may
    set it for one video.
    """

    short_flag: str | None = None
    off: StrEnum | None = None
    backends: str | None = None
    is_column: bool = False


def traits_of(field: FieldInfo) -> SettingTraits:
    """The traits of a field; the defaults where it declares none."""
    return next((each for each in field.metadata if isinstance(each, SettingTraits)), SettingTraits())


def flag_of(name: str) -> str:
    """The flag of a setting: `--negative-prompt` for `negative_prompt`."""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """The environment variable of a setting: `DEEPSOUND_NEGATIVE_PROMPT` for `negative_prompt`."""
    return f"DEEPSOUND_{name.upper()}"


def fault_text(message: str) -> str:
    """Pydantic's message about a value, as the rest of a sentence."""
    what = message.removeprefix("Value error, ")
    return what[:1].lower() + what[1:]
