"""Which module checks which golden file. A new model adds one line here and one module beside it.

A checker is `check(golden: Golden) -> Iterable[Comparison]`: it builds our network, fills it by rule R1 and
compares every tensor of the file. Modules are imported when one of their files turns up.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable

from tests.parity.golden import Comparison, Golden

Checker = Callable[[Golden], Iterable[Comparison]]

_MODULES: tuple[tuple[str, str], ...] = (
    (r"flow_.+", "tests.parity.flow"),
    (r"synchformer", "tests.parity.synchformer"),
    (r"clip_h14_378", "tests.parity.clip"),
    (r"vae_(16|44)k", "tests.parity.vae"),
    (r"bigvgan_(16k|v2_44k)", "tests.parity.bigvgan"),
    (r"mel_(16|44)k", "tests.parity.mel"),
    (r"image_preproc", "tests.parity.image_preproc"),
    (r"bs_roformer_.+", "tests.parity.bs_roformer"),
    (r"beats(_tiny)?", "tests.parity.beats"),
    (r"stc_v35_.+", "tests.parity.stc"),
    (r"fbank", "tests.parity.fbank"),
    (r"videollama2_av_tiny", "tests.parity.videollama2"),
)


def checker_for(name: str) -> Checker | None:
    """The checker of golden file `name`, or None if there is none."""
    for pattern, module in _MODULES:
        if re.fullmatch(pattern, name):
            return _load(module)
    return None


def _load(module: str) -> Checker | None:
    if importlib.util.find_spec(module) is None:
        return None
    return importlib.import_module(module).check
