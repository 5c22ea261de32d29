"""The baseline of the benchmarks and our chain give the same sound, so that their costs can be compared."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from benchmarks.chain import OurChain, distance
from benchmarks.reference.chain import ReferenceChain
from benchmarks.synthetic_checkpoints import empty_text
from deepsound.generation.mmaudio.networks import Networks
from deepsound.generation.mmaudio.sequence_config import MelFormat
from deepsound.separation.bs_roformer.separator import BSRoformerSeparator
from tests.made_clips import bouncing_ball, write_clip
from tests.mmaudio_checkpoints import small_sizes, write_small_files
from tests.parity.bs_roformer import TINY, filled

pytestmark = pytest.mark.integration

# At the separator's own rate: what a network of 16 kHz leaves empty at the top is nothing but rounding, which the
# separator's norms make as loud as everything else.
SIZES = replace(small_sizes(), audio=MelFormat(sample_rate=44_100, hop=256, mel_bands=80))
CHUNKS = replace(TINY, chunk=17_640)
"""Two fifths of a second, of a clip of three: the reference makes five of it, as 8 s of 10 s."""


def test_the_references_order_of_work_and_ours_make_the_same_sound(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model_bs_roformer_ep_317_sdr_12.9755.ckpt"
    torch.save(dict(filled(TINY)[0].state_dict()), checkpoint)
    files = write_small_files(tmp_path)
    flow = torch.load(files.flow.path, weights_only=True)
    torch.save(flow | empty_text(SIZES, files), files.flow.path)
    ball = bouncing_ball([0.3], (160, 120))
    clip = write_clip(tmp_path / "ball.mp4", seconds=0.6, rate=Fraction(30_000, 1001), frames=ball)
    with torch.inference_mode():
        theirs = ReferenceChain(SIZES, files, checkpoint, CHUNKS, torch.float32).run(clip, tmp_path, "a ball", 7)
        networks = Networks(SIZES, files, device="cpu", precision="float32")
        separator = BSRoformerSeparator(checkpoint, config=CHUNKS, device="cpu")
        ours = OurChain(networks, separator).run(clip, tmp_path, "a ball", 7)
    for name in ("coarse", "voice", "again"):
        assert distance(getattr(ours, name), getattr(theirs, name)) < 1e-4, name
    assert distance(ours.again, ours.coarse) > 0.01, "prompts matter"
