"""compose.yaml against the Compose Specification's own schema, which check-jsonschema ships."""

import subprocess
import sys
from pathlib import Path

import yaml

COMPOSE = Path(__file__).parents[2] / "compose.yaml"


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_yaml_is_what_the_specification_allows():
    done = checked(COMPOSE)
    assert done.returncode == 0, done.stdout


def test_a_misspelt_key_would_be_found(tmp_path: Path):
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(COMPOSE.read_text().replace("healthcheck:", "heathcheck:", 1))
    assert "heathcheck" in checked(misspelt).stdout


def test_services_wait_for_services_that_there_are():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    waited_for = {name for service in services.values() for name in service.get("depends_on", {})}
    assert waited_for <= services.keys()
    volumes = yaml.safe_load(COMPOSE.read_text())["volumes"]
    named = {each.partition(":")[0] for service in services.values() for each in service.get("volumes", [])}
    assert {name for name in named if not name.startswith(("$", ".", "/"))} == volumes.keys()
