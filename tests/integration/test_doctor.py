"""`deepsound doctor` says whether everything is here that a run needs, and if not, what to do."""

import pytest

from tests.archive_setup import Archive

pytestmark = pytest.mark.integration


def test_a_healthy_installation_is_said_to_be_so(archive: Archive):
    done = archive.command("doctor", PREFECT_API_URL="")
    assert done.returncode == 0, done.stdout
    for what in ("ledger", "store", "Prefect", "centerface", "disk"):
        assert what in done.stdout


def test_every_trouble_is_one_line_and_none_hides_the_others(archive: Archive):
    blocked = archive.folder / "blocked"
    blocked.write_text("a file, where a folder should be", encoding="utf-8")
    done = archive.command(
        "doctor", DEEPSOUND_STORE=str(blocked), DEEPSOUND_DB="nonsense", DEEPSOUND_GENERATOR="nonesuch"
    )
    assert done.returncode == 1
    troubles = [line for line in done.stdout.splitlines() if line.startswith("no ")]
    assert [line.split()[1] for line in troubles] == ["generator", "ledger", "store"]
    assert "nonesuch" in done.stdout
