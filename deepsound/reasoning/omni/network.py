"""The network of a release: its weights loaded whole or not at all."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from deepsound.errors import ModelFailedError, is_out_of_memory
from deepsound.reasoning.local.quantisation import Precision, quantise
from deepsound.reasoning.omni.model_families import ModelFamily
from deepsound.reasoning.omni.release import Release, release_error, weight_files

_NAMED = 3  # names listed in a message before "and n more"


def load_network(
    release: Release,
    family: ModelFamily,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    precision: Precision,
) -> PreTrainedModel:
    """The network with its weights in `dtype`, `precision` being that of the language model's layers. What the
    release holds for a voice is not read.

    Raises ModelMissingError without all weights, ModelFailedError for damaged ones or those of another
    network.
    """
    weight_files(release)
    try:
        with _no_progress_bar():
            network, report = cast(Any, family.network).from_pretrained(
                release.folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (SafetensorError, ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        what = f"the weights can't be loaded ({str(error).strip()[:300]})"
        raise release_error(release, ModelFailedError, what) from error
    missing = sorted(report["missing_keys"])
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        what = f"weights are missing: {', '.join(missing[:_NAMED])}{more}"
        raise release_error(release, ModelFailedError, what)
    quantise(network.model.language_model.layers, precision, dtype=dtype, device=device)
    return network.to(device).eval()


@contextmanager
def _no_progress_bar() -> Generator[None]:
    """The terminal belongs to the run's own."""
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def end_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end the model's turn: those its release names, and the tokenizer's."""
    named = cast(Any, network.generation_config).eos_token_id
    listed = [*(named if isinstance(named, list) else [named]), cast(Any, tokenizer).eos_token_id]
    return frozenset(int(token) for token in listed if token is not None)
