"""Turns the fields of the settings models into options of a command, so that a setting is declared once."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, cast, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from console.cli.settings import Settings, settings_from
from deepsound.backends import available
from deepsound.errors import BadSettingsError
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.setting_traits import flag_of, traits_of
from tasks.runtime.stores import StoreUrls

LedgerOnly = Annotated[StoreUrls, "db"]
"""The annotation of a command that never opens the store: it has `--db` and no `--store`."""


def with_setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command with one option for each field of the settings that its signature asks for.

    The command has one keyword-only parameter annotated `Settings` (options for every setting), `StoreUrls`
    (`--db` and `--store`) or `LedgerOnly`. It is called with the settings that the typed flags, the variables and
    deepsound.toml give.
    """
    signature = inspect.signature(command)
    [parameter] = [each for each in signature.parameters.values() if _fields_of(each.annotation)]
    fields = _fields_of(parameter.annotation)

    @functools.wraps(command)
    def with_flags(context: typer.Context, **values: Any) -> None:
        settings = settings_from(**_typed_settings(context, values, fields))
        own = {name: value for name, value in values.items() if name in signature.parameters}
        command(**own, **{parameter.name: settings if parameter.annotation is Settings else settings.stores})

    shown = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    for each in signature.parameters.values():
        if each is parameter:
            shown += [option for name, field in fields.items() for option in _options(name, field)]
        else:
            shown.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    cast(Any, with_flags).__signature__ = signature.replace(parameters=shown)
    return with_flags


class BackendHelp(TyperCommand):
    """A command whose --help names the installed backends: it looks their entry points up and imports none."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, as click calls it."""
        for option in self.params:
            field = RunSettings.model_fields.get(option.name or "")
            if field is not None and (group := traits_of(field).backends) is not None:
                cast(Any, option).help = f"{field.description} Installed: {', '.join(available(group))}."
        super().format_help(ctx, formatter)


def _fields_of(annotation: Any) -> Mapping[str, FieldInfo]:
    """The fields that an annotation asks for; none for that of an ordinary parameter."""
    if annotation is Settings:
        return {**RunSettings.model_fields, **StoreUrls.model_fields}
    if annotation is StoreUrls:
        return StoreUrls.model_fields
    if get_origin(annotation) is Annotated and get_args(annotation)[0] is StoreUrls:
        return {name: StoreUrls.model_fields[name] for name in get_args(annotation)[1:]}
    return {}


def _options(name: str, field: FieldInfo) -> Iterator[inspect.Parameter]:
    """The option of a field, and `--no-NAME` where its traits name the value that this stands for."""
    traits, flag = traits_of(field), flag_of(name)
    spelling = [flag] if traits.short_flag is None else [traits.short_flag, flag]
    default = field.get_default(call_default_factory=True, validated_data={})
    kind = field.annotation if isinstance(field.annotation, type) else str
    if kind is bool:
        spelling = [f"{flag}/{flag_of(_negated(name))}"]
    elif not issubclass(kind, Enum | int):
        kind, default = str, str(default)
    # Typer shows no default that is an empty text.
    yield _parameter(
        name, kind, default, typer.Option(*spelling, help=field.description, show_default=default != "" or "empty")
    )
    if traits.off is not None:
        short = typer.Option(flag_of(_negated(name)), help=f"Short for {flag} {traits.off}.", show_default=False)
        yield _parameter(_negated(name), bool, False, short)


def _negated(name: str) -> str:
    return f"no_{name}"


def _parameter(name: str, kind: type, default: object, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _typed_settings(
    context: typer.Context, values: Mapping[str, Any], fields: Mapping[str, FieldInfo]
) -> dict[str, Any]:
    """The values that the user typed. The others are defaults, which variables and deepsound.toml override.

    Raises DeepSoundError (BAD_SETTINGS) for `--NAME` beside `--no-NAME`.
    """
    # Typer exports no enumeration to compare the source with.
    typed = {name for name in values if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"}
    settings = {name: values[name] for name in fields if name in typed}
    for name, field in fields.items():
        if _negated(name) in typed:
            if name in typed:
                where, what = flag_of(_negated(name)), f"it contradicts {flag_of(name)}"
                raise BadSettingsError(what, where=where, remedy="give one of them")
            settings[name] = traits_of(field).off
    return settings
