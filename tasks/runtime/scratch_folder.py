"""A temporary folder for the files of one step."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder() -> Generator[Path]:
    """A new folder under the system's temporary folder; removed with its files when the block ends."""
    with tempfile.TemporaryDirectory(prefix="deepsound-") as folder:
        yield Path(folder)
