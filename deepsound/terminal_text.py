"""Text from outside, as it may be shown: names and messages can hold what steers a terminal, or is no text."""

import re

_SURROGATES = "\ud800-\udfff"
_NO_TEXT = re.compile(f"[{_SURROGATES}]")
_UNSHOWN = re.compile(
    f"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069{_SURROGATES}]"  # controls, lines, directions
)
_BYTES = range(0xDC80, 0xDD00)
"""What stands for a byte of a name that is no text (PEP 383)."""


def terminal_safe(said: object) -> str:
    """One line of text that a terminal shows as it is: what it would obey, or can't show, is spelled (`\\x1b`)."""
    return _UNSHOWN.sub(_spelled, str(said))


def json_safe(name: object) -> str:
    """A name for programs, as JSON can hold it: exact, but for bytes that are no text, which are spelled."""
    return _NO_TEXT.sub(_spelled, str(name))


def _spelled(found: re.Match[str]) -> str:
    letter = found.group()
    if ord(letter) in _BYTES:
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
