"""`python -m tests.parity FOLDER`: check every golden file in a folder; exit 1 if any fails."""
# ruff: noqa: T201 - a command that prints its results

import argparse
import gc
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError

from deepsound.errors import DeepSoundError
from tests.parity.golden import Comparison, read_golden
from tests.parity.registry import checker_for

_BAD_USAGE = 2


# What a broken checker or a damaged file raises: it fails that file, and the others are still checked.
_FAILURES = (DeepSoundError, SafetensorError, RuntimeError, LookupError, TypeError, ValueError, OSError)


def check_file(path: Path) -> list[Comparison]:
    """Every comparison for one golden file; a file that nothing checks fails."""
    checker = checker_for(path.stem)
    if checker is None:
        return [_failure(path.stem, "no checker for this name")]
    try:
        with torch.inference_mode():
            return list(checker(read_golden(path))) or [_failure(path.stem, "nothing was compared")]
    except _FAILURES as error:
        return [_failure(path.stem, f"{type(error).__name__}: {error}")]


def report(name: str, comparisons: list[Comparison]) -> bool:
    """Print the file's one line, and each failed tensor to stderr. True if all passed."""
    passed = all(comparison.passed for comparison in comparisons)
    largest = max(comparison.max_difference for comparison in comparisons)
    relative = max(comparison.relative for comparison in comparisons)
    print(f"{name}  {largest:.3g}  {relative:.3g}  {'pass' if passed else 'fail'}", flush=True)
    for failed in (comparison for comparison in comparisons if not comparison.passed):
        difference = f"max {failed.max_difference:.3g}, relative {failed.relative:.3g}"
        print(f"  {name}: {failed.name}: {failed.note or difference}", file=sys.stderr)
    return passed


def main() -> int:
    """Check the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        print(f"{folder}: no golden files (*.safetensors) here", file=sys.stderr)
        return _BAD_USAGE
    passed = True
    for path in paths:
        passed &= report(path.stem, check_file(path))
        # Networks hold reference cycles; without this the largest two would be in memory at once.
        gc.collect()
    return 0 if passed else 1


def _failure(name: str, note: str) -> Comparison:
    return Comparison(name, float("inf"), float("inf"), False, note)


if __name__ == "__main__":
    sys.exit(main())
