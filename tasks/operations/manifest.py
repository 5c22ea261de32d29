"""From what the user named to a list of sources, each with a name of its own for its results."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from deepsound.canonical_json import Json
from deepsound.errors import BadSettingsError
from deepsound.storage.location import InBucket, Location, location
from tasks.runtime.run_settings import Source
from tasks.runtime.time_range import COLUMNS, read_range

VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("mp4", "m4v", "mov", "3gp", "mkv", "webm", "avi", "wmv", "asf", "flv", "ogv"),
        *("mpg", "mpeg", "m2v", "vob", "ts", "m2ts", "mts", "mxf", "dv"),
    )
)
"""What is taken from a folder; a file named by itself is taken whatever it is called."""

_OVERRIDES: Mapping[str, Callable[[Any], Json]] = {
    "prompt": str,
    "negative_prompt": str,
    "seed": int,
    "generator": str,
}
_COLUMNS = {"source", "output", *_OVERRIDES, *COLUMNS}
_LONGEST_NAME = 120
_LONGEST_SHOWN = 40
_SEEDS = 2**63
"""How many the ledger can tell apart."""
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
        if isinstance(given, InBucket):
            videos, others = _list(given, out)
            left_out += others
            wanted += [_Wanted(video, _name_below(given, video), {}) for video in videos]
        elif given.is_dir():
            videos, others = _walk(given, out)
            left_out += others
            wanted += [_Wanted(video, _name_in(given, video), {}) for video in videos]
        elif given.suffix.lower() in (".csv", ".jsonl"):
            wanted += _manifest(given)
        else:
            wanted.append(_Wanted(given, given.stem, {}))
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
    originals = {_resolved(source.location) for source in sources}
    for source in sources:
        for suffix in _DELIVERED:
            target = out / f"{source.output_name}{suffix}"
            if _resolved(target) in originals:
                raise BadSettingsError(
                    "the result would take the place of an original",
                    where=str(target),
                    remedy="choose another folder with -o",
                )


def _resolved(where: Location) -> Location:
    # Path.resolve raises for a link that leads to itself.
    return Path(os.path.realpath(where)) if isinstance(where, Path) else where


def _list(folder: InBucket, out: Location) -> tuple[list[InBucket], list[InBucket]]:
    # Here, since only buckets need the client and the time its import takes.
    from deepsound.storage.bucket_files import list_files

    results = (
        f"{out.key}/" if isinstance(out, InBucket) and out.bucket == folder.bucket and out != folder else None
    )
    files = [file for file in list_files(folder) if results is None or not file.key.startswith(results)]
    # An object named by itself is taken whatever it is called, as a file is.
    videos = [file for file in files if file == folder or _suffix(file) in VIDEO_SUFFIXES]
    return videos, [file for file in files if file not in set(videos)]


def _suffix(file: InBucket) -> str:
    return PurePosixPath(file.key).suffix.lower()


def _name_below(folder: InBucket, file: InBucket) -> str:
    below = file.key.removeprefix(folder.key).strip("/") or PurePosixPath(file.key).name
    return str(PurePosixPath(below).with_suffix(""))


def _name_in(folder: Path, file: Path) -> str:
    below = file.relative_to(folder)
    return str(below.with_suffix("")) if below.name else folder.name


def _walk(folder: Path, out: Location) -> tuple[list[Path], list[Path]]:
    """Videos, and what else is there.

    Among the videos are links that lead nowhere and, last, folders that can't be read: their plan steps say what
    is wrong, so that nobody misses a reel without a word.
    """
    unread: list[Path] = []
    walked = os.walk(folder, onerror=lambda error: unread.append(Path(error.filename)))
    files = sorted(Path(place, name) for place, _, names in walked for name in names)
    seen = [path for path in (*files, *sorted(unread)) if not _hidden(path, folder)]
    if isinstance(out, Path) and _resolved(out) != _resolved(folder):
        results = os.path.realpath(out)
        seen = [path for path in seen if not Path(os.path.realpath(path)).is_relative_to(results)]
    videos = [path for path in seen if path.suffix.lower() in VIDEO_SUFFIXES or path in unread]
    taken = set(videos)
    return videos, [path for path in seen if path not in taken]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


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


def _manifest(path: Path) -> list[_Wanted]:
    """Every row, or every bad row named with its line: nothing starts before the whole is understood."""
    good: list[_Wanted] = []
    bad: list[str] = []
    for line, row in _rows(path):
        fault = row if isinstance(row, str) else _fault(row)
        if fault:
            bad.append(f"line {line}: {fault}")
        elif not isinstance(row, str):
            source = location(str(row["source"]))
            name = str(row.get("output") or PurePosixPath(str(source)).stem)
            place = path.parent / source if isinstance(source, Path) else source
            good.append(_Wanted(place, name, _overrides(row), f"{path}, line {line}"))
    if bad:
        raise BadSettingsError("; ".join(bad), where=str(path), remedy="mend these rows; nothing was started")
    return good


def _overrides(row: Mapping[str, object]) -> dict[str, Json]:
    told: dict[str, Json] = {
        key: kind(row[key]) for key, kind in _OVERRIDES.items() if row.get(key) not in (None, "")
    }
    part = read_range(row)
    return told if part is None else told | part.to_json()


def _rows(path: Path) -> Iterator[tuple[int, dict[str, object] | str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettingsError(
            f"the manifest can't be read: {error}",
            where=str(path),
            remedy="save it as UTF-8",
        ) from error
    if path.suffix.lower() == ".csv":
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
    seed = row.get("seed")
    if seed not in (None, "") and not _is_seed(str(seed)):
        return f"the seed {str(seed)[:_LONGEST_SHOWN]!r} is no whole number from 0 to {_SEEDS - 1}"
    try:
        read_range(row)
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


def _is_seed(told: str) -> bool:
    return told.isdecimal() and len(told) <= len(str(_SEEDS)) and int(told) < _SEEDS
