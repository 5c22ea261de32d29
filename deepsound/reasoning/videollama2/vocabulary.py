"""Words to tokens and back, with the release's own tokenizer and chat template."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from transformers import Qwen2Tokenizer

from deepsound.errors import ModelError, ModelFailedError, ModelMissingError
from deepsound.reasoning.local.answer_tokens import AnswerVocabulary, find_answer_tokens


class Media(StrEnum):
    """What stands in a prompt where the media come."""

    VIDEO = "<video>"
    """A video, and its sound where the question is about both."""
    AUDIO = "<audio>"
    """A sound alone."""


@dataclass(frozen=True, slots=True)
class Vocabulary(AnswerVocabulary):
    """The release's words, and how they become a prompt."""

    def prompt(self, question: str, media: Media) -> str:
        """The conversation up to the model's turn, by the chat template, system prompt included."""
        message = {"role": "user", "content": f"{media}\n{question}"}
        text = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return str(text)

    def split_at_media(self, prompt: str, media: Media) -> tuple[list[int], list[int]]:
        """Token ids of the words before the media and of those after them, tokenised apart."""
        before, _, after = prompt.partition(media)
        return self._ids(before), self._ids(after)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokenizer in `folder`; nothing is fetched and no code in the folder is run.

    Raises ModelMissingError or ModelFailedError.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise _unusable(folder, ModelMissingError, "no tokenizer: expected tokenizer.json or vocab.json")
    try:
        tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(folder, ModelFailedError, f"the tokenizer can't be read ({error})") from error
    if tokenizer.chat_template is None or tokenizer.eos_token_id is None:
        raise _unusable(folder, ModelFailedError, "the tokenizer has no chat template or no end token")
    return Vocabulary(tokenizer, frozenset({int(tokenizer.eos_token_id)}), find_answer_tokens(tokenizer, folder))


def _unusable(folder: Path, kind: type[ModelError], what: str) -> ModelError:
    return kind(what, where=str(folder), remedy="put the whole VideoLLaMA2.1-AV release in that folder")
