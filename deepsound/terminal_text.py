"""Escapes control characters and invalid Unicode in names and messages that come from outside."""

import re

_SURROGATES = "\ud800-\udfff"
_INVALID = re.compile(f"[{_SURROGATES}]")
# Control characters, line separators and marks of text direction.
_UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069{_SURROGATES}]")
_BYTES = range(0xDC80, 0xDD00)
"""Surrogates that represent the bytes of a file name that is not valid UTF-8 (PEP 383)."""


def terminal_safe(text: object) -> str:
    """`text` as one line that a terminal prints literally: control characters are escaped (`\\x1b`)."""
    return _UNPRINTABLE.sub(_escaped, str(text))


def json_safe(name: object) -> str:
    """`name` as valid Unicode, which JSON requires: only bytes that are not valid UTF-8 are escaped."""
    return _INVALID.sub(_escaped, str(name))


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if ord(character) in _BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
