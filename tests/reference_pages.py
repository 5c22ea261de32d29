"""Generates docs/reference/command.md, errors.md and the tables of settings.md from the program.

    python -m tests.reference_pages           writes the pages
    python -m tests.reference_pages --print   prints them as one JSON object

tests/unit/test_reference_pages.py compares them with the files. Defaults depend on the user's folders and
variables, so both run this module in a process with the environment `ENVIRONMENT`.
"""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import typer

from console.cli.app import app
from deepsound.backends import available
from deepsound.errors import ErrorCode, error_class
from tasks.runtime.run_settings import COLUMNS, RunSettings
from tasks.runtime.setting_traits import flag_of, traits_of, variable_of
from tasks.runtime.stores import StoreUrls

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
ENVIRONMENT = {"HOME": "/home/USER", "PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}

INTRODUCTION = """# The `deepsound` command

This page is generated from the program: `python -m tests.reference_pages` writes it, and a test compares.

Every command has `--help`, which shows defaults, choices and installed backends. Exit codes: 0, all done; 1, some
items failed or something was found (each named); 2, bad usage or configuration; 130, interrupted.
"""
SETTINGS = {**RunSettings.model_fields, **StoreUrls.model_fields}
NEGATED = [f"no_{name}" for name in SETTINGS]

ERRORS = """# Error codes

The ledger records every failed attempt with one of these codes (`error_code`), and
`deepsound run retry RUN --error CODE` selects by it. Workers retry only the retryable ones. This page is generated
from `deepsound/errors.py`: `python -m tests.reference_pages` writes it, and a test compares.

| code | meaning | retryable | usual remedy |
|---|---|---|---|
"""


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    return {
        "command.md": command_page(),
        "errors.md": errors_page(),
        "settings.md": settings_page((REFERENCE / "settings.md").read_text()),
    }


def errors_page() -> str:
    """Every error code with its meaning."""
    rows: list[str] = []
    for code in ErrorCode:
        kind = error_class(code)
        retryable = "yes" if kind.is_retryable else ""
        remedy = _prose(kind.remedy_by_default)
        rows.append(f"| `{code.value}` | {_prose(kind.__doc__)} | {retryable} | {remedy} |")
    return ERRORS + "\n".join(rows) + "\n"


def command_page() -> str:
    """Every command with its arguments and options."""
    sections = [INTRODUCTION]
    for name, command in _commands(typer.main.get_command(app), "deepsound"):
        sections.append(f"## {name}\n\n{_prose(command.help)}\n")
        own = [parameter for parameter in command.params if parameter.name not in (*SETTINGS, *NEGATED, "help")]
        rows = [_parameter_row(parameter) for parameter in own] + _settings_rows(command)
        if rows:
            sections.append("\n".join(["| | values | default | |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(sections)


def settings_page(page: str) -> str:
    """The page with its generated tables replaced."""
    for name, table in {"settings": _settings_table(), "columns": _columns_table()}.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        found = re.search(pattern, page, re.DOTALL)
        assert found, name
        page = page[: found.end(1)] + table + page[found.start(2) :]
    return page


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    subcommands: Mapping[str, Any] = getattr(command, "commands", {})
    if not subcommands:
        yield name, command
    for each, subcommand in subcommands.items():
        yield from _commands(subcommand, f"{name} {each}")


def _settings_rows(command: Any) -> list[str]:
    """One row for the settings of a command: settings.md describes them."""
    names = [parameter.name for parameter in command.params if parameter.name in SETTINGS]
    if not names:
        return []
    flags = ", ".join(f"`{flag_of(name)}`" for name in names)
    return [f"| {'all settings' if len(names) == len(SETTINGS) else flags} | | | see [settings](settings.md) |"]


def _parameter_row(parameter: Any) -> str:
    kind, default = _kind(parameter.type_descriptor.annotation), _default(parameter)
    if parameter.param_type_name == "argument":
        metavar = parameter.metavar or parameter.name.upper()
        plain = metavar.strip("[].")
        shown, values = f"`{metavar if metavar != plain else plain}`", ""
    else:
        shown = ", ".join(f"`{spelling}`" for spelling in (*parameter.opts, *parameter.secondary_opts))
        values = "" if parameter.is_flag else _values(kind, parameter)
    return f"| {shown} | {values} | {default} | {_prose(parameter.help)} |"


def _values(kind: Any, parameter: Any) -> str:
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return _choices(kind)
    return parameter.metavar or {int: "integer", float: "number", Path: "path"}.get(kind, "text")


def _choices(kind: type[Enum]) -> str:
    choices = [f"`{choice.value}`" for choice in kind]
    return ", ".join(choices) if len(choices) <= 4 else "an [error code](errors.md)"


def _kind(annotation: Any) -> Any:
    """`int` for `int | None`."""
    kinds = [each for each in get_args(annotation) if each is not NoneType]
    return kinds[0] if NoneType in get_args(annotation) else annotation


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return _literal(parameter.default)


def _literal(value: Any) -> str:
    if value is None or value is False or value == "" or value == ():
        return ""
    value = value.value if isinstance(value, Enum) else value
    return f"`{str(value).replace(ENVIRONMENT['HOME'], '~')}`"


def _prose(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").strip()).replace("|", "\\|")


def _settings_table() -> str:
    rows = ["| flag | variable, key | default | values | |", "|---|---|---|---|---|"]
    for name, field in SETTINGS.items():
        traits = traits_of(field)
        flags = [*([traits.short_flag] if traits.short_flag else []), flag_of(name)]
        flags += [f"--no-{name.replace('_', '-')}"] if traits.off is not None or field.annotation is bool else []
        default = field.get_default(call_default_factory=True, validated_data={})
        rows.append(
            f"| {', '.join(f'`{flag}`' for flag in flags)} | `{variable_of(name)}`, `{name}` "
            f"| {_literal(default) or ('`false`' if default is False else 'empty')} "
            f"| {_setting_values(field.annotation, traits.backends)} | {_prose(field.description)} |"
        )
    return "\n".join(rows) + "\n"


def _setting_values(annotation: Any, backends: str | None) -> str:
    if backends is not None:
        return ", ".join(f"`{name}`" for name in available(backends))
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return _choices(annotation)
    return {int: "integer", bool: "`true`, `false`", str: "text"}.get(annotation, "location")


def _columns_table() -> str:
    fixed = {
        "source": "The video: a path (relative to the list's folder) or `s3://bucket/key`. Required.",
        "output": "The name of the results, without suffix; by default that of the source.",
        "start": "Start of the excerpt: seconds, or `hh:mm:ss.fff`, from the first frame.",
        "end": "End of the excerpt, likewise.",
    }
    own = {name: _prose(RunSettings.model_fields[name].description) for name in RunSettings.model_fields}
    rows = {**fixed, **{name: text for name, text in own.items() if name in COLUMNS}}
    return (
        "\n".join(["| column | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())]) + "\n"
    )


def generated() -> dict[str, str]:
    """`pages()` in a process of its own, with the environment `ENVIRONMENT`."""
    command = [sys.executable, "-m", "tests.reference_pages", "--print"]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    if "--print" in sys.argv:
        print(json.dumps(pages()))  # noqa: T201
        return
    for name, text in generated().items():
        (REFERENCE / name).write_text(text)


if __name__ == "__main__":
    main()
