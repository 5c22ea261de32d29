"""Everything that the documentation mentions exists: links, files, commands with their options, variables."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from console.cli.app import app
from tasks.runtime.run_settings import RunSettings
from tasks.runtime.setting_traits import variable_of
from tasks.runtime.stores import StoreUrls

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
ROOMS = ("console", "flows", "tasks", "db", "deepsound", "tests", "benchmarks", "demo", "docs")

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
PATH = re.compile(rf"(?<![\w/.~])(?:{'|'.join(ROOMS)})/[\w./-]*\w/?")
MODULE = re.compile(rf"python -m ((?:{'|'.join(ROOMS)})(?:\.\w+)*)")
VARIABLE = re.compile(r"DEEPSOUND_[A-Z0-9_]*[A-Z0-9]\b")
EXAMPLES = {"DEEPSOUND_NAME"}
NO_COMMANDS = {"deepsound seal 1"}
NOT_OURS = {"DEEPSOUND_MODELS_FOLDER"}  # of compose.yaml

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def heading_anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_spans(page: Path) -> Iterator[str]:
    """Inline code, and the lines of code blocks."""
    for block, inline in CODE.findall(page.read_text()):
        yield from block.splitlines() if block else [inline]


@every_page
def test_links_lead_somewhere(page: Path):
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), link


@every_page
def test_files_and_modules_of_the_repository_exist(page: Path):
    for code in code_spans(page):
        for path in PATH.findall(code):
            # A name such as `deepsound/models` in a user's folder has no suffix.
            if Path(path).suffix or path.endswith("/"):
                assert (ROOT / path).exists(), path
        for module in MODULE.findall(code):
            file = ROOT / module.replace(".", "/")
            assert file.with_suffix(".py").exists() or (file / "__main__.py").exists(), module


@every_page
def test_commands_and_their_options_exist(page: Path):
    for code in code_spans(page):
        for line in code.split("&&"):
            words = [] if line in NO_COMMANDS else command_words(line)
            if words:
                check_command(words)


def command_words(code: str) -> list[str]:
    """The words after `deepsound` of a command; a group such as `run retry` may stand without it."""
    try:
        words = shlex.split(code.replace("…", "..."), comments=True)
    except ValueError:
        return []  # A fragment with an apostrophe.
    if words[:1] == ["deepsound"]:
        return words[1:]
    groups = {name for name, command in root().commands.items() if getattr(command, "commands", None)}
    return words if words and words[0] in groups and len(words) > 1 else []


def root() -> Any:
    return typer.main.get_command(app)


def check_command(words: list[str]) -> None:
    command: Any = root()
    for number, word in enumerate(words):
        if not (subcommands := getattr(command, "commands", None)):
            check_options(command, words[number:])
            return
        if word.startswith("-"):
            assert word in ("--help", "-h"), words
            return
        for name in word.split("|"):
            assert name in subcommands, f"deepsound {' '.join(words)}"
        command = subcommands[word.split("|")[0]]


def check_options(command: Any, words: list[str]) -> None:
    known = {spelling for each in command.params for spelling in (*each.opts, *each.secondary_opts)} | {"--help"}
    for word in words:
        flag = word.strip("[]").partition("=")[0]
        if re.fullmatch(r"--?[a-z][a-z-]*", flag):
            assert flag in known, f"{flag} of {command.name}"


def product_variables() -> set[str]:
    sources = [ROOT / "compose.yaml"]
    sources += [
        file for room in ROOMS if room not in ("tests", "benchmarks") for file in (ROOT / room).rglob("*.py")
    ]
    named = {variable for file in sources for variable in VARIABLE.findall(file.read_text())}
    settings = {variable_of(name) for name in (*RunSettings.model_fields, *StoreUrls.model_fields)}
    buckets = {f"DEEPSOUND_S3_{name}" for name in ("REGION", "TIMEOUT", "RETRIES")}
    return named | settings | buckets | {"DEEPSOUND_CACHE_FOLDER", "DEEPSOUND_CACHE_GB"}


def test_variables_in_the_docs_are_those_of_the_program():
    documented = {name for page in PAGES for code in code_spans(page) for name in VARIABLE.findall(code)}
    assert documented - EXAMPLES == product_variables() - EXAMPLES - NOT_OURS
