"""The cheap golden files, checked on every test run; `python -m tests.parity FOLDER` checks them all."""

from pathlib import Path

import pytest

from tests.parity.__main__ import check_file

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
CHEAP = (
    "flow_tiny",
    "flow_tiny_v2",
    "flow_tiny_weights",
    "flow_tiny_v2_weights",
    "mel_16k",
    "mel_44k",
    "image_preproc",
)


@pytest.mark.parametrize("name", CHEAP)
def test_our_numbers_are_the_reference_s(name: str) -> None:
    path = GOLDEN / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"golden file {path.name} is not on this machine")
    failed = [comparison for comparison in check_file(path) if not comparison.passed]
    assert not failed


def test_a_file_that_nothing_checks_fails(tmp_path: Path) -> None:
    unknown = tmp_path / "unheard_of.safetensors"
    unknown.write_bytes(b"")
    assert not check_file(unknown)[0].passed


def test_a_damaged_file_fails_alone(tmp_path: Path) -> None:
    damaged = tmp_path / "mel_16k.safetensors"
    damaged.write_bytes(b"not a golden file")
    assert not check_file(damaged)[0].passed
