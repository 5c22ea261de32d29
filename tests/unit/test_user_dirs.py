from pathlib import Path

import pytest

from deepsound.user_dirs import cache_folder, data_folder, state_folder


@pytest.mark.parametrize(
    ("folder", "variable", "default"),
    [
        (data_folder, "XDG_DATA_HOME", ".local/share"),
        (cache_folder, "XDG_CACHE_HOME", ".cache"),
        (state_folder, "XDG_STATE_HOME", ".local/state"),
    ],
)
def test_folders_follow_the_xdg_specification(monkeypatch, tmp_path, folder, variable, default):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    assert folder() == tmp_path / default / "deepsound"
    monkeypatch.setenv(variable, "not/absolute")
    assert folder() == tmp_path / default / "deepsound"
    monkeypatch.setenv(variable, "/somewhere")
    assert folder() == Path("/somewhere/deepsound")
