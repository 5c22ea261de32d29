"""Backends of third parties, installed as their users would install them: a package with entry points."""

from pathlib import Path


def install_plugin(site: Path, group: str, name: str, code: str) -> dict[str, str]:
    """A module `name` whose class `Plugin` is the backend `name`; returns the environment that finds it."""
    information = site / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:Plugin\n", encoding="utf-8")
    (site / f"{name}.py").write_text(code, encoding="utf-8")
    return {"PYTHONPATH": str(site)}
