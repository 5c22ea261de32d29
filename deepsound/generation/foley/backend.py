"""The embedded generator: procedural sound driven by what is seen; no model, no samples, no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deepsound.canonical_json import Json
from deepsound.errors import InternalError
from deepsound.generation.foley.filters import SAMPLE_RATE
from deepsound.generation.foley.impacts import Impact, choose_impacts
from deepsound.generation.foley.mix import mix
from deepsound.generation.foley.modal_synthesis import BODIES
from deepsound.generation.foley.motion_curves import MotionCurves, MotionObserver
from deepsound.generation.foley.prompt_words import ROOM_TONE, VOICES, Steering, read_prompts
from deepsound.generation.foley.scene_beds import Scene, bed_envelopes, detect_scenes
from deepsound.generation.foley.visual_onsets import find_onsets
from deepsound.generation.protocol import GenerationRequest, GenerationResult
from deepsound.media.audio import write_float_wav
from deepsound.media.observers import Observer
from deepsound.models.identity import ModelIdentity

_CHANNELS = 2


class Foley:
    """Impacts where something hits, stops or bursts into motion; beds after colour, texture and motion.

    A fallback for machines without a model: it knows movement, not meaning. `VOCABULARY` lists the words that
    steer it. The same footage, prompts and seed give the same samples.
    """

    name = "foley"
    version = "1"
    regenerates_with: str | None = None
    concurrency = 1

    @property
    def models(self) -> Sequence[ModelIdentity]:
        """None: it is procedural."""
        return ()

    def observers(self) -> Sequence[Observer]:
        """One, on every shown frame at 160 pixels."""
        return (MotionObserver(),)

    def generate(self, request: GenerationRequest, target: Path) -> GenerationResult:
        """Write 44.1 kHz stereo float WAV, as long as the picture; the notes say what was heard where and why.

        Raises InternalError if the footage was not seen by this generator's observer, and those of
        writing the file.
        """
        curves = _curves(request)
        duration = request.footage.info.duration
        samples = round(duration * SAMPLE_RATE)
        steering = read_prompts(request.prompt, request.negative_prompt)
        scenes = detect_scenes(curves, duration, steering)
        impacts = choose_impacts(find_onsets(curves), scenes, steering)
        score = bed_envelopes(curves, scenes, duration)
        write_float_wav(target, SAMPLE_RATE, _CHANNELS, mix(score, impacts, samples, request.seed))
        return GenerationResult(SAMPLE_RATE, _CHANNELS, samples, _notes(impacts, scenes, steering))


def _curves(request: GenerationRequest) -> MotionCurves:
    try:
        return MotionCurves.from_observation(request.footage.observations[MotionObserver.name])
    except KeyError as missing:
        raise InternalError(
            f"the footage lacks what the foley generator has to see ({missing.args[0]})",
            where=str(request.video),
            remedy="look at the video with this generator's observers first",
        ) from missing


def _notes(impacts: Sequence[Impact], scenes: Sequence[Scene], steering: Steering) -> Mapping[str, Json]:
    return {
        "impacts": tuple(_impact_note(impact) for impact in impacts),
        "scenes": tuple(_scene_note(scene) for scene in scenes),
        "asked_for": tuple(sorted(steering.wanted)),
        "switched_off": tuple(sorted(steering.unwanted)),
        "not_understood": steering.unknown,
        "remarks": tuple(_remarks(impacts, steering)),
    }


def _impact_note(impact: Impact) -> Json:
    return {
        "time": round(impact.onset.time, 4),
        "frame": impact.onset.frame,
        "material": impact.material,
        "force": round(impact.force, 3),
        "pan": round(impact.onset.pan, 3),
        "why": impact.reason,
    }


def _scene_note(scene: Scene) -> Json:
    beds: dict[str, Json] = {
        name: {"weight": round(bed.weight, 3), "why": bed.reason} for name, bed in scene.beds.items()
    }
    return {"start": round(scene.start, 4), "end": round(scene.end, 4), "beds": beds}


def _remarks(impacts: Sequence[Impact], steering: Steering) -> list[Json]:
    remarks: list[Json] = [
        f"nothing was seen to hit, so no {material} is heard"
        for material in sorted(steering.wanted & BODIES.keys())
        if not impacts
    ]
    if VOICES in steering.wanted:
        remarks.append("voices are never made")
    if VOICES in steering.unwanted:
        remarks.append("voices are never made, so there is none to leave out")
    if ROOM_TONE in steering.unwanted:
        remarks.append("room tone stays: it keeps a still picture from digital silence")
    return remarks
