"""Finding backends by name: ours, and those that somebody else installs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from deepsound.backends import (
    GENERATORS,
    REASONERS,
    SEPARATORS,
    available,
    load_generator,
    load_reasoner,
    load_separator,
)
from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.generation.foley import Foley

BACKEND = """
import time

made = []

class {name}:
    name = "{name}"
    def __init__(self):
        time.sleep(0.05)
        made.append(self)
"""


def install(folder: Path, package: str, group: str, points: dict[str, str], source: str) -> None:
    """What pip leaves behind of a wheel: a module, and a .dist-info folder that names its entry points."""
    (folder / f"{package}.py").write_text(source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_embedded_backends_are_there() -> None:
    assert {"foley", "soundtrack"} <= set(available(GENERATORS))
    assert "evidence" in available(REASONERS)
    assert "mix-minus" in available(SEPARATORS)
    assert list(available(GENERATORS)) == sorted(available(GENERATORS))


def test_a_backend_is_loaded_by_name_and_only_once() -> None:
    assert isinstance(load_generator("foley"), Foley)
    assert load_generator("foley") is load_generator("foley")
    assert load_generator("soundtrack").name == "soundtrack"


@pytest.mark.parametrize(
    ("load", "kind", "known"),
    [
        (load_generator, "generator", "foley"),
        (load_reasoner, "reasoner", "evidence"),
        (load_separator, "separator", "mix-minus"),
    ],
)
def test_an_unknown_name_is_an_error_that_names_what_there_is(load, kind: str, known: str) -> None:
    with pytest.raises(DeepSoundError) as caught:
        load("foly")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert f"{kind} 'foly'" in str(caught.value)
    assert known in caught.value.remedy


def test_a_third_party_adds_one_by_installing_it(site: Path) -> None:
    points = {"third-party": "third_party_one:Other"}
    install(site, "third_party_one", SEPARATORS, points, BACKEND.format(name="Other"))
    assert "third-party" in available(SEPARATORS)
    assert load_separator("third-party").name == "Other"
    assert "third-party" not in available(GENERATORS)


NAMED = """
class Named:
    def __init__(self, model, *, folder=None):
        self.name = f"named:{model}"
"""


def test_one_that_requires_an_argument_is_called_with_what_follows_the_colon(site: Path) -> None:
    install(site, "third_party_named", REASONERS, {"named": "third_party_named:Named"}, NAMED)
    assert load_reasoner("named:org/Model:7b").name == "named:org/Model:7b"
    assert load_reasoner("named:org/Model:7b") is load_reasoner("named:org/Model:7b")
    assert load_reasoner("named:other") is not load_reasoner("named:org/Model:7b")
    with pytest.raises(DeepSoundError, match="reasoner 'named': needs to be told more; name it as named:<model>"):
        load_reasoner("named")


OPTIONAL = """
class Optional:
    def __init__(self, folder=None, *, windows: str = "wide"):
        self.name = f"optional:{windows}"
"""


def test_one_that_has_a_parameter_for_text_may_be_called_with_what_follows_the_colon(site: Path) -> None:
    install(site, "third_party_optional", SEPARATORS, {"optional": "third_party_optional:Optional"}, OPTIONAL)
    assert load_separator("optional").name == "optional:wide"
    assert load_separator("optional:narrow").name == "optional:narrow"


def test_one_that_requires_none_takes_none(site: Path) -> None:
    with pytest.raises(DeepSoundError, match="generator 'foley': takes nothing after its name") as caught:
        load_generator("foley:loud")
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_what_follows_the_colon_may_be_a_secret_and_is_not_repeated() -> None:
    with pytest.raises(DeepSoundError, match="reasoner 'foly'") as caught:
        load_reasoner("foly:http://me:hush@gpu-7")
    assert "hush" not in str(caught.value)


def test_threads_that_ask_at_once_share_one(site: Path) -> None:
    points = {"slow": "third_party_slow:Slow"}
    install(site, "third_party_slow", REASONERS, points, BACKEND.format(name="Slow"))
    together = Barrier(8)

    def ask(_: int) -> object:
        together.wait()
        return load_reasoner("slow")

    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(ask, range(8)))
    assert len({id(one) for one in loaded}) == 1
    assert sys.modules["third_party_slow"].made == [loaded[0]]


@pytest.mark.parametrize("target", ["third_party_broken:Missing", "third_party_broken.deeper:Thing"])
def test_one_that_cannot_be_imported_says_so_and_why(target: str, site: Path) -> None:
    install(site, "third_party_broken", SEPARATORS, {"broken": target}, "")
    with pytest.raises(DeepSoundError) as caught:
        load_separator("broken")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert target in str(caught.value)


def test_a_failure_is_not_remembered(site: Path) -> None:
    points = {"late": "third_party_late:Late"}
    install(site, "third_party_late", SEPARATORS, points, "import third_party_needs")
    with pytest.raises(DeepSoundError, match="third_party_needs"):
        load_separator("late")
    sys.modules.pop("third_party_late", None)
    (site / "third_party_needs.py").write_text("")
    (site / "third_party_late.py").write_text("class Late:\n    name = 'late, but there'\n")
    assert load_separator("late").name == "late, but there"


def test_a_name_that_two_packages_claim_is_refused_and_both_are_named(site: Path) -> None:
    for package in ("third_party_a", "third_party_b"):
        points = {"claimed": f"{package}:Mine"}
        install(site, package, SEPARATORS, points, BACKEND.format(name="Mine"))
    with pytest.raises(DeepSoundError, match="third_party_a:Mine, third_party_b:Mine"):
        load_separator("claimed")


def test_listing_backends_imports_none_of_them(tmp_path: Path) -> None:
    install(tmp_path, "third_party_loud", GENERATORS, {"loud": "third_party_loud:Loud"}, "raise SystemExit(3)")
    listed = "from deepsound.backends import available, GENERATORS; print(available(GENERATORS))"
    script = f"import sys; sys.path.insert(0, sys.argv[1]); {listed}"
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "'loud'" in run.stdout
