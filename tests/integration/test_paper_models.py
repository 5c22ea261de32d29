"""The paper's sound models run through flows, ledger and store exactly as the embedded backends do.

Their networks are small here and their weights random, written by the test in the official files' layout.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from deepsound import cot
from deepsound.backends import load_generator
from deepsound.generation.mmaudio.backend import MMAudio
from deepsound.media.audio import audio_format
from deepsound.pipeline import OutcomeKind, Step
from tasks.operations.run_results import ItemResult
from tests.archive_setup import Archive
from tests.made_clips import bouncing_ball, write_clip
from tests.third_party_backends import install_plugin
from tests.voiced_clips import narrated_clip, silent_clip

pytestmark = pytest.mark.integration

SMALL_MMAUDIO = """
from pathlib import Path
from deepsound.generation.mmaudio.backend import MMAudio
from tests.mmaudio_checkpoints import small_networks, write_small_files

class Plugin(MMAudio):
    name = "mmaudio_tiny"
    def __init__(self):
        folder = Path(__file__).with_suffix("")
        folder.mkdir(exist_ok=True)
        super().__init__(small_networks(write_small_files(folder)))
"""

FOUR_TOGETHER = """
from threading import Barrier
from mmaudio_tiny import *

class Plugin(MMAudio):
    name = "mmaudio_four"
    def __init__(self):
        super().__init__(small_networks(write_small_files(Path(__file__).parent)), at_once=4)
        self.everybody = Barrier(4, timeout=60)
    def generate(self, request, target):
        self.everybody.wait()
        return super().generate(request, target)
"""

SMALL_BS_ROFORMER = """
from pathlib import Path
import torch
from deepsound.separation.bs_roformer.separator import BSRoformerSeparator
from tests.parity.bs_roformer import TINY, filled

class Plugin(BSRoformerSeparator):
    name = "bs_roformer_tiny"
    def __init__(self):
        checkpoint = Path(__file__).with_name("model_bs_roformer_ep_317_sdr_12.9755.ckpt")
        torch.save(dict(filled(TINY)[0].state_dict()), checkpoint)
        super().__init__(checkpoint, config=TINY, device="cpu")
"""


def sounds(results: Sequence[ItemResult]) -> list[NDArray[np.float64]]:
    """What was made for each video."""
    assert [result.error for result in results] == [None] * len(results)
    return [soundfile.read(result.outputs["audio"].path)[0] for result in results]


SMALL_VIDEOLLAMA2 = """
from pathlib import Path
import torch
from deepsound.reasoning.videollama2.reasoner import VideoLlama2Qa
from tests.videollama2_release import CONFIG, LETTER, PLANS, SILENT, write_release

HERE = Path(__file__).parent

def small(script, name):
    folder = write_release(HERE / name, script=script)
    return VideoLlama2Qa(folder=folder, config=CONFIG, device="cpu", dtype=torch.float32)

class Plugin(VideoLlama2Qa):
    # The small model recites; so each question goes to the one that was taught the answer.
    name = "videollama2_tiny"
    def __init__(self):
        folder = write_release(HERE / "letter", script=LETTER)
        super().__init__(folder=folder, config=CONFIG, device="cpu", dtype=torch.float32)
        self.plan = small(PLANS, "plans").plan
        self.is_silent = small(SILENT, "silent").is_silent
"""


def test_mmaudio_makes_the_coarse_audio_and_its_weights_are_in_the_ledger(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.generators", "mmaudio_tiny", SMALL_MMAUDIO)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = silent_clip(archive.folder / "ball.mp4", seconds=1.3)
    [result] = archive.dub(clip, generator="mmaudio_tiny", prompt="a ball", fallback="rep")
    assert result.outcome is OutcomeKind.DONE, result.error
    assert abs(audio_format(result.outputs["audio"].path).samples - round(1.32 * 48_000)) <= 48_000 // 25
    [item] = archive.items()
    generated = next(attempt for attempt in item.attempts if attempt.step == Step.GENERATE)
    files = {name: sha256 for used in generated.models for name, sha256 in used.model.files.items()}
    assert len(files) >= 5, "flow, CLIP, Synchformer, VAE and vocoder"
    assert all(len(sha256) == 64 for sha256 in files.values())
    [again] = archive.dub(clip, generator="mmaudio_tiny", prompt="a ball", fallback="rep")
    assert again.was_reused


def test_videos_of_a_shard_share_passes_and_sound_as_one_by_one(archive: Archive, monkeypatch: pytest.MonkeyPatch):
    for name, code in (("mmaudio_tiny", SMALL_MMAUDIO), ("mmaudio_four", FOUR_TOGETHER)):
        install_plugin(archive.folder / "site", "deepsound.generators", name, code)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clips = [
        write_clip(archive.folder / f"{index}.mp4", seconds=seconds, frames=bouncing_ball([0.1 * index]))
        for index, seconds in enumerate((0.4, 0.4, 0.5, 0.5))
    ]
    generator = load_generator("mmaudio_four")
    assert isinstance(generator, MMAudio)
    passes: list[int] = []
    generator._networks.flow.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    together = sounds(archive.dub(*clips, generator="mmaudio_four", prompt="a ball", fallback="rep"))
    assert len(passes) < 4 * 25
    assert sum(passes) == 4 * 25 * 2, "every window twice, for guidance"
    alone = sounds(archive.dub(*clips, generator="mmaudio_tiny", prompt="a ball", fallback="rep"))
    for one, other in zip(together, alone, strict=True):
        assert np.linalg.norm(one - other) < 1e-4 * np.linalg.norm(other)
    assert not np.array_equal(together[0], together[1]), "each has a sound of its own"


def test_bs_roformer_takes_the_voice_out_and_its_weights_are_in_the_ledger(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.separators", "bs_roformer_tiny", SMALL_BS_ROFORMER)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = narrated_clip(archive.folder / "narrated.mp4", seconds=3.0)
    [result] = archive.dub(clip, generator="soundtrack", separator="bs_roformer_tiny", fallback="rep")
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "yes"), result.error
    assert result.outputs["voice"].path.is_file()
    [item] = archive.items()
    separated = next(attempt for attempt in item.attempts if attempt.step == Step.SEPARATE)
    [used] = separated.models
    assert list(used.model.files) == ["model_bs_roformer_ep_317_sdr_12.9755.ckpt"]


def test_videollama2_plans_judges_and_listens_for_silence_and_every_word_is_in_the_ledger(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    install_plugin(archive.folder / "site", "deepsound.reasoners", "videollama2_tiny", SMALL_VIDEOLLAMA2)
    monkeypatch.syspath_prepend(archive.folder / "site")
    clip = narrated_clip(archive.folder / "narrated.mp4", seconds=2.0)
    [result] = archive.dub(clip, generator="soundtrack", reasoner="videollama2_tiny", plan="model", silence="both")
    assert (result.outcome, result.verdict) == (OutcomeKind.DONE, "yes"), result.error
    [item] = archive.items()
    said = {attempt.step: attempt for attempt in item.attempts}
    assert said[Step.PLAN].raw_output == cot.PLAN
    assert cot.PLAN_PROMPT in said[Step.PLAN].prompt.body
    assert said[Step.PLAN].result["source"] == "model"
    judged = said[Step.JUDGE]
    assert (judged.raw_output, list(judged.thoughts)) == ("A", []), "this release answers with the letter alone"
    assert judged.probability == pytest.approx(0.982, abs=1e-3)
    assert (judged.result["reply_tokens"], judged.result["form"]) == (1, "letter")
    assert judged.result["prompt_tokens"] > 1496
    assert judged.result["seconds"] > 0
    checked = said[Step.CHECK_SILENCE]
    assert checked.raw_output == "The audio is silent."
    decided = {decision.key: decision.value for decision in checked.decisions}
    assert decided == {
        "silent": "no",
        "silent-measured": "no",
        "silent-heard": "yes",
        "contradiction": "measured no, the reasoner says yes",
    }


@pytest.mark.parametrize(
    ("flag", "name"),
    [("--generator", "mmaudio-small-16k"), ("--separator", "bs-roformer"), ("--reasoner", "videollama2-cot")],
)
def test_a_missing_file_is_one_line_that_says_what_to_put_where(archive: Archive, flag: str, name: str):
    models = archive.folder / "models"
    clip = silent_clip(archive.folder / "ball.mp4", seconds=0.4)
    done = archive.command("dub", clip, flag, name, DEEPSOUND_MODELS=str(models))
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(complaints) == 1
    assert str(models) in complaints[0]
    assert "put it there" in complaints[0]
    assert not Path(archive.place.db.removeprefix("sqlite:///")).exists(), "nothing was registered"
