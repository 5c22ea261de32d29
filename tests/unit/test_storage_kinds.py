"""Only `deepsound.storage` tells kinds of location apart; everybody else asks the protocol."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("console", "flows", "tasks", "db", "deepsound")
KINDS = {"Path", "PosixPath", "PurePath", "PurePosixPath", "FileLocation", "ObjectLocation", "S3Location"}


def kinds_asked(tree: ast.AST) -> Iterator[str]:
    """The classes of paths and locations that a module tests values against."""
    for node in ast.walk(tree):
        tested: list[ast.expr] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            tested = node.args[1:]
        if isinstance(node, ast.MatchClass):
            tested = [node.cls]
        for name in (each for part in tested for each in ast.walk(part)):
            found = name.id if isinstance(name, ast.Name) else name.attr if isinstance(name, ast.Attribute) else ""
            if found in KINDS:
                yield f"line {node.lineno}: {found}"


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.is_relative_to(ROOT / "deepsound" / "storage"):
                yield path


def test_no_module_outside_of_storage_asks_what_kind_a_location_is():
    asked = {
        str(path.relative_to(ROOT)): found
        for path in modules()
        if (found := list(kinds_asked(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert asked == {}


@pytest.mark.parametrize(
    "code",
    ["isinstance(x, Path)", "isinstance(x, (str, pathlib.Path))", "isinstance(x, S3Location | None)",
     "match x:\n    case FileLocation():\n        pass"],
)  # fmt: skip
def test_a_fork_is_recognised(code: str):
    assert list(kinds_asked(ast.parse(code)))
