"""Merkle tree hashes (RFC 6962, section 2.1): one hash over many leaves, with a short proof for each of them."""

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"


def merkle_root(leaves: Sequence[bytes]) -> str:
    """Returns the tree hash of the leaves, in order, in hexadecimal."""
    return _tree([hashlib.sha256(_LEAF + leaf).digest() for leaf in leaves]).hex()


def _tree(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256().digest()
    # RFC 6962 splits at the largest power of two smaller than the number of leaves.
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(_NODE + _tree(hashes[:split]) + _tree(hashes[split:])).digest()
