"""Finds plugins by entry point, so that a third party adds one by installing a package."""

from importlib.metadata import EntryPoint, entry_points

from deepsound.errors import BadSettingsError


def plugin_names(group: str) -> tuple[str, ...]:
    """Names of the installed plugins of a group, sorted; imports none of them."""
    return tuple(sorted(entry_points(group=group).names))


def kind_of(group: str) -> str:
    """What people call a plugin of a group: `deepsound.generators` holds generators, so `generator`."""
    return group.removeprefix("deepsound.").removesuffix("s")


def find_plugin(group: str, name: str) -> EntryPoint:
    """The entry point `name` of a group; imports nothing. Raises DeepSoundError (BAD_SETTINGS)."""
    # An editable install may list the same class twice.
    found = {point.value: point for point in entry_points(group=group, name=name)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        what, remedy = f"named by several packages ({', '.join(sorted(found))})", "uninstall all but one"
    else:
        what, remedy = "not installed", f"choose one of: {', '.join(plugin_names(group)) or 'none is installed'}"
    raise BadSettingsError(what, where=f"{kind_of(group)} {name!r}", remedy=remedy)


def load_plugin(group: str, name: str) -> object:
    """The object that the entry point `name` of a group names. Raises DeepSoundError (BAD_SETTINGS)."""
    point = find_plugin(group, name)
    try:
        return point.load()
    except (ImportError, AttributeError, OSError) as error:
        raise BadSettingsError(
            f"{kind_of(group)} {name!r} cannot be imported ({error})",
            where=point.value,
            remedy="install what it needs, or choose another one",
        ) from error
