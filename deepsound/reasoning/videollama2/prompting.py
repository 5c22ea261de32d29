"""Words to tokens and back, with the release's own tokenizer and chat template."""
# transformers leaves most of its tokenizers without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.reasoning.videollama2.network import MEDIA_TOKEN

MEDIA = "<video>"
"""Where the video and its sound stand in a prompt."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer and the tokens the reasoner looks for.

    `end` closes the model's turn; `answers` are, for A and for B, the tokens that say it, with and without a
    space before.
    """

    tokenizer: PreTrainedTokenizerBase
    end: int
    answers: tuple[tuple[int, ...], tuple[int, ...]]

    def prompt(self, question: str) -> str:
        """The conversation up to the model's turn, by the chat template, system prompt included."""
        message = {"role": "user", "content": f"{MEDIA}\n{question}"}
        text = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return str(text)

    def tokens(self, prompt: str) -> list[int]:
        """Token ids with MEDIA_TOKEN in the place of `MEDIA`; the text on either side is tokenised apart."""
        before, _, after = prompt.partition(MEDIA)
        return [*self._ids(before), MEDIA_TOKEN, *self._ids(after)]

    def text(self, tokens: Sequence[int]) -> str:
        """The words of `tokens`."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokenizer in `folder`; nothing is fetched and no code in the folder is run.

    Raises DeepSoundError MODEL_MISSING or MODEL_FAILED.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise _unusable(folder, ErrorCode.MODEL_MISSING, "no tokenizer: expected tokenizer.json or vocab.json")
    try:
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(folder, ErrorCode.MODEL_FAILED, f"the tokenizer can't be read ({error})") from error
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise _unusable(folder, ErrorCode.MODEL_FAILED, "the tokenizer has no chat template or no end token")
    answers = _saying(tokenizer, "A"), _saying(tokenizer, "B")
    if not all(answers):
        raise _unusable(folder, ErrorCode.MODEL_FAILED, "the tokenizer has no token for the answer A or B")
    return Vocabulary(tokenizer, int(tokenizer.eos_token_id), answers)


def _saying(tokenizer: PreTrainedTokenizerBase, letter: str) -> tuple[int, ...]:
    spelled = (tokenizer(text, add_special_tokens=False).input_ids for text in (letter, f" {letter}"))
    return tuple(ids[0] for ids in spelled if len(ids) == 1)


def _unusable(folder: Path, code: ErrorCode, what: str) -> DeepSoundError:
    return DeepSoundError(
        code, what, where=str(folder), remedy="put the whole VideoLLaMA2.1-AV release in that folder"
    )
