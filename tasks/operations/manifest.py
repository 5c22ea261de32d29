"""From what the user named to a list of sources, each with a name of its own for its results."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError, DeepSoundError, SourceError
from deepsound.storage.location import Location, location
from tasks.runtime import run_settings, time_range
from tasks.runtime.run_settings import Source, read_overrides
from tasks.runtime.time_range import read_range

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "3gp", "mkv", "webm", "avi", "wmv", "asf", "flv", "ogv"),
        *("mpg", "mpeg", "m2v", "vob", "ts", "m2ts", "mts", "mxf", "dv"),
    )
)
"""What is taken from a folder; a file named by itself is taken whatever it is called."""

_COLUMNS = {"source", "output", *run_settings.COLUMNS, *time_range.COLUMNS}
_LONGEST_NAME = 120
_DELIVERED = (".mp4", ".mov", ".mkv", ".wav", ".voice.wav", ".coarse.wav", ".json")


@dataclass(frozen=True, slots=True)
class Intake:
    """The sources in order, and the files of folders that were left out because they are no videos."""

    sources: tuple[Source, ...]
    left_out: tuple[Location, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    location: Location
    name: str
    overrides: Mapping[str, Json]
    row: str = ""


def collect(inputs: Sequence[Location], out: Location) -> Intake:
    """Files, folders, buckets and manifests (.csv, .jsonl) as sources; results in `out` are none, wherever it is.

    Raises DeepSoundError (BAD_SETTINGS, and STORE_* for buckets).
    """
    wanted: list[_Wanted] = []
    left_out: list[Location] = []
    for given in inputs:
        if _suffix(given) in (".csv", ".jsonl") and not _is_folder(given):
            wanted += _manifest(given)
            continue
        videos, others = _list(given, out)
        left_out += others
        wanted += [_Wanted(video, _name_below(given, video), {}) for video in videos]
    if not wanted:
        raise BadSettingsError(
            "there is no video here",
            where=", ".join(map(str, inputs)),
            remedy="name a video file, a folder with videos, or a .csv or .jsonl manifest",
        )
    names = unique_names([each.name for each in wanted])
    named = zip(wanted, names, strict=True)
    sources = (Source(each.location, name, each.overrides, each.row) for each, name in named)
    return Intake(tuple(sources), tuple(left_out))


def unique_names(names: Iterable[str]) -> list[str]:
    """Each name made safe for a file system, and followed by -2, -3, ... where its files would be another's."""
    taken: set[str] = set()
    given: list[str] = []
    for name in names:
        safe = "/".join(_safe(part) for part in Path(name).parts if part not in ("/", "..")) or "video"
        candidate, number = safe, 1
        while not taken.isdisjoint(_files(candidate)):
            number += 1
            candidate = f"{safe}-{number}"
        taken |= _files(candidate)
        given.append(candidate)
    return given


def refuse_overwriting_sources(sources: Iterable[Source], out: Location) -> None:
    """Originals are never touched. Raises DeepSoundError (BAD_SETTINGS)."""
    sources = list(sources)
    originals = {source.location.resolve() for source in sources}
    for source in sources:
        for suffix in _DELIVERED:
            target = out / f"{source.output_name}{suffix}"
            if target.resolve() in originals:
                raise BadSettingsError(
                    "the result would take the place of an original",
                    where=str(target),
                    remedy="choose another folder with -o",
                )


def _list(given: Location, out: Location) -> tuple[list[Location], list[Location]]:
    """The videos at or below `given`, and the other files there, without earlier results in `out`.

    Among the videos are links that lead nowhere and, last, folders that can't be listed: their plan steps report
    the cause, so that no video is missed silently.
    """
    unreadable: list[Location] = []
    listed = [*given.files(on_unreadable=unreadable.append), *unreadable]
    results = out.resolve()
    if results == given.resolve():
        found = listed
    else:
        found = [file for file in listed if file == given or file.resolve().relative_to(results) is None]
    shown = [file for file in found if not _is_hidden(file, given)]
    # A file named by itself is taken whatever its suffix.
    taken = {*unreadable, given}
    videos = [file for file in shown if file in taken or _suffix(file) in VIDEO_SUFFIXES]
    taken.update(videos)
    return videos, [file for file in shown if file not in taken]


def _is_folder(given: Location) -> bool:
    return next(given.files(), given) != given


def _is_hidden(file: Location, folder: Location) -> bool:
    return any(part.startswith(".") for part in (file.relative_to(folder) or "").split("/"))


def _suffix(file: Location) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _name_below(folder: Location, file: Location) -> str:
    below = file.relative_to(folder) or file.name
    return str(PurePosixPath(below).with_suffix("")) if below else folder.name


def _files(name: str) -> set[str]:
    """What a name claims; many archive disks do not tell upper case from lower."""
    return {f"{name}{suffix}".casefold() for suffix in _DELIVERED}


def _safe(part: str) -> str:
    shown = part.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    kept = "".join(
        letter if letter.isprintable() and letter not in '\\/:*?"<>|' else "_" for letter in shown
    ).strip(" .")
    kept = "_" + kept[1:] if kept.startswith("-") else kept
    while len(kept.encode()) > _LONGEST_NAME:
        kept = kept[:-1]
    return kept or "video"


def _manifest(manifest: Location) -> list[_Wanted]:
    """Every row. Raises DeepSoundError (BAD_SETTINGS) that names every bad row with its line."""
    good: list[_Wanted] = []
    bad: list[str] = []
    for line, row in _rows(manifest):
        fault = row if isinstance(row, str) else _fault(row)
        if not fault and not isinstance(row, str):
            try:
                source = location(str(row["source"]), manifest.parent)
            except DeepSoundError as error:
                fault = str(error)
            else:
                name = str(row.get("output") or PurePosixPath(source.name).stem)
                good.append(_Wanted(source, name, _overrides(row), f"{manifest}, line {line}"))
        if fault:
            bad.append(f"line {line}: {fault}")
    if bad:
        raise BadSettingsError("; ".join(bad), where=str(manifest), remedy="mend these rows; nothing was started")
    return good


def _overrides(row: Mapping[str, object]) -> dict[str, Json]:
    settings, part = read_overrides(row), read_range(row)
    return settings if part is None else settings | part.to_json()


def _rows(manifest: Location) -> Iterator[tuple[int, dict[str, object] | str]]:
    try:
        text = io.TextIOWrapper(io.BytesIO(b"".join(manifest.blocks())), "utf-8-sig").read()
    except SourceError as error:
        raise BadSettingsError(f"the manifest: {error.what}", where=str(manifest), remedy=error.remedy) from error
    except UnicodeDecodeError as error:
        what = f"the manifest can't be read: {error}"
        raise BadSettingsError(what, where=str(manifest), remedy="save it as UTF-8") from error
    if _suffix(manifest) == ".csv":
        reader, begun = csv.DictReader(io.StringIO(text, newline=""), restkey=""), 1
        try:
            for row in reader:
                yield reader.line_num, dict(row)
                begun = reader.line_num + 1
        except csv.Error as error:
            yield begun, f"{error}; is a quotation mark missing?"
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, _json_row(line)


def _json_row(line: str) -> dict[str, object] | str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return f"no JSON ({error.msg})"
    except (ValueError, RecursionError):
        return "no JSON that can be read (a number is too long, or it is nested too deeply)"
    return row if isinstance(row, dict) else "not a JSON object"


def _fault(row: dict[str, object]) -> str:
    if unknown := sorted(str(key) for key in set(row) - _COLUMNS):
        return f"unknown column {', '.join(map(repr, unknown))} (known: {', '.join(sorted(_COLUMNS))})"
    if not isinstance(row.get("source"), str) or not row["source"]:
        return "no source"
    if column := next((str(name) for name, told in row.items() if not _can_be_kept(name, told)), None):
        return f"its {column} holds characters that neither file names nor texts can"
    try:
        _overrides(row)
    except ValueError as error:
        return str(error)
    return ""


def _can_be_kept(column: str, told: object) -> bool:
    # Bytes of a file name that are no text are spelled as surrogates (PEP 383); nothing else may hold any.
    errors = "surrogateescape" if column in ("source", "output") else "strict"
    try:
        return not isinstance(told, str) or b"\0" not in told.encode("utf-8", errors)
    except UnicodeEncodeError:
        return False
