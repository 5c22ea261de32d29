"""Texts as CLIP reads them: byte-pair tokens between a start and an end mark, padded with 0."""

import html
from pathlib import Path

import ftfy
import torch
from tokenizers import Tokenizer
from torch import Tensor

from deepsound.errors import ModelFailedError, ModelMissingError

_START, _END = "<|startoftext|>", "<|endoftext|>"


def read_tokenizer(path: Path) -> Tokenizer:
    """The vocabulary from `tokenizer.json` beside the published CLIP. Raises DeepSoundError."""
    if not path.is_file():
        remedy = "put the file published beside the CLIP checkpoint there"
        raise ModelMissingError("no such vocabulary", where=str(path), remedy=remedy)
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    # The library raises nothing more specific than Exception for a file it cannot read.
    except Exception as error:
        raise ModelFailedError(
            f"not a tokenizer file ({str(error)[:100]})",
            where=str(path),
            remedy="fetch the published file again",
        ) from error


def tokenize(tokenizer: Tokenizer, text: str, length: int) -> Tensor:
    """Token ids (1, length): start, as much of the text as fits, end, and zeros. Raises DeepSoundError."""
    start, end = (_mark(tokenizer, mark) for mark in (_START, _END))
    # As open_clip reads what CLIP was trained on: archives' catalogues escape their texts once or twice, and hold
    # typesetters' quotes, ligatures and wrong encodings, each of which would be other tokens.
    cleaned = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    ids = tokenizer.encode(cleaned, add_special_tokens=False).ids[: length - 2]
    tokens = torch.zeros(1, length, dtype=torch.long)
    tokens[0, : len(ids) + 2] = torch.tensor([start, *ids, end])
    return tokens


def _mark(tokenizer: Tokenizer, mark: str) -> int:
    found = tokenizer.token_to_id(mark)
    if found is None:
        remedy = "use the tokenizer.json published beside the CLIP checkpoint"
        raise ModelFailedError(f"knows no {mark}", where="CLIP's vocabulary", remedy=remedy)
    return found
