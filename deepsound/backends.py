"""The one place where backends are found: entry points, so that a third party adds one by installing it.

A backend is a class that is called without arguments; its name is the entry point's. A class that requires one
argument is named with it, `kind:argument` (`served:http://gpu-7:8000`), and called with it; one that has a
parameter for text (`str`) may be (`bs-roformer:economical`). Each is made once a process and stays, with whatever
models it holds. Reasoners named with commas between them are asked together, as an ensemble.
"""

from collections.abc import Callable, Mapping
from functools import cache
from inspect import Parameter, signature
from threading import RLock
from typing import cast

from deepsound.errors import BadSettingsError
from deepsound.generation.protocol import Generator
from deepsound.plugins import find_plugin, kind_of, load_plugin, plugin_names
from deepsound.reasoning.ensemble import Ensemble, build_ensemble
from deepsound.reasoning.protocol import Reasoner
from deepsound.separation.protocol import Separator

GENERATORS = "deepsound.generators"
REASONERS = "deepsound.reasoners"
SEPARATORS = "deepsound.separators"

EMBEDDED: Mapping[str, str] = {GENERATORS: "foley", REASONERS: "evidence", SEPARATORS: "mix-minus"}
"""The backends that ship inside packages, run anywhere, and may be used for anything."""

# Re-entrant, because a backend may be made of another one.
_loading = RLock()


def load_generator(name: str) -> Generator:
    """The generator called `name`. Raises DeepSoundError (BAD_SETTINGS, and what its own loading raises)."""
    return cast(Generator, _load(GENERATORS, name))


def load_reasoner(name: str) -> Reasoner:
    """The reasoner called `name`. Raises DeepSoundError (BAD_SETTINGS, and what its own loading raises)."""
    members = reasoners_named(name)
    if len(members) == 1:
        return cast(Reasoner, _load(REASONERS, name))
    with _loading:
        return _ensemble(members)


def reasoners_named(name: str) -> tuple[str, ...]:
    """The reasoners that a name with commas stands for, in order."""
    return tuple(part.strip() for part in name.split(","))


def load_separator(name: str) -> Separator:
    """The separator called `name`. Raises DeepSoundError (BAD_SETTINGS, and what its own loading raises)."""
    return cast(Separator, _load(SEPARATORS, name))


def available(group: str) -> tuple[str, ...]:
    """Names of the backends of a group, sorted; nothing is imported."""
    return plugin_names(group)


def check_known(group: str, name: str) -> None:
    """Raise DeepSoundError (BAD_SETTINGS) for a name that no backend of a group has; nothing is imported."""
    find_plugin(group, name.partition(":")[0])


def regenerates(name: str) -> str | None:
    """Who answers the `neg` fallback of the generator called `name`, read from its class; None is itself.

    None too where only the backend itself could tell, or it can't be imported here. Raises DeepSoundError
    (BAD_SETTINGS) for an unknown name.
    """
    point = find_plugin(GENERATORS, name.partition(":")[0])
    try:
        told = getattr(point.load(), "regenerates_with", None)
    except (ImportError, AttributeError, OSError):
        return None
    return told if isinstance(told, str) else None


def _load(group: str, name: str) -> object:
    with _loading:
        return _made(group, name)


@cache
def _ensemble(members: tuple[str, ...]) -> Ensemble:
    return build_ensemble([load_reasoner(member) for member in members])


@cache
def _made(group: str, name: str) -> object:
    kind, colon, argument = name.partition(":")
    backend = cast(Callable[..., object], load_plugin(group, kind))
    return _called(backend, kind, [argument] if colon else [], where=f"{kind_of(group)} {kind!r}")


def _called(backend: Callable[..., object], kind: str, arguments: list[str], *, where: str) -> object:
    required = _required(backend)
    if len(required) == len(arguments):
        return backend(*arguments)
    if (option := _option(backend)) and not required:
        return backend(**{option: arguments[0]})
    if required:
        what, remedy = "needs to be told more", f"name it as {kind}:<{required[0]}>"
    else:
        what, remedy = "takes nothing after its name", f"name it as {kind}"
    raise BadSettingsError(what, where=where, remedy=remedy)


def _required(backend: Callable[..., object]) -> list[str]:
    """Names of the arguments it can't be called without."""
    return [
        parameter.name
        for parameter in signature(backend).parameters.values()
        if parameter.default is Parameter.empty and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
    ]


def _option(backend: Callable[..., object]) -> str | None:
    """Name of its first parameter for text, if it has one."""
    parameters = signature(backend).parameters.values()
    return next((parameter.name for parameter in parameters if parameter.annotation is str), None)
