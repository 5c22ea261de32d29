"""What `evidence` takes for voice-over in real recordings, over a picture without people.

    python -m benchmarks.recordings FOLDER... [--pattern '*.ogg'] [--without _desc]

For each folder: how many recordings of a second and more in it (subfolders included) are called voice-over. The
clips of benchmarks/voiceover.py have synthesised voices and beasts; this is for those that are real.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

from deepsound.detection import find_speech
from deepsound.reasoning.evidence.visibility import FaceTimeline
from deepsound.reasoning.evidence.voice_over_probability import voice_over_probability
from deepsound.reasoning.evidence.voice_spans import heard_voices

SHORTEST = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--pattern", default="*", help="which files")
    parser.add_argument("--without", default="\0", help="leave out names with this in them")
    asked = parser.parse_args()
    for folder in asked.folders:
        files = [file for file in sorted(folder.rglob(asked.pattern)) if asked.without not in file.name]
        judged = {file: probability(file) for file in files if file.is_file() and seconds(file) >= SHORTEST}
        called = [file.name for file, voice_over in judged.items() if voice_over >= 0.5]
        print(f"{folder}: {len(called)} of {len(judged)} called voice-over: {', '.join(called)}")


def seconds(file: Path) -> float:
    """How long a sound file is; 0 for anything else."""
    try:
        return soundfile.info(file).duration
    except soundfile.LibsndfileError:
        return 0.0


def probability(file: Path) -> float:
    """That of voice-over, were nobody in the picture."""
    speech = find_speech(file)
    none = np.zeros(0, np.float32)
    nobody = FaceTimeline(
        time=np.zeros(1),
        faces=np.zeros(1, np.int32),
        score=np.zeros(1, np.float32),
        new_shot=np.zeros(1, np.bool_),
        mouth_time=np.zeros(0),
        mouth_motion=none,
        face_motion=none,
        duration=speech.duration,
        rate=1.0,
    )
    return voice_over_probability(sum(voice.weight for voice in heard_voices(nobody, speech)))


if __name__ == "__main__":
    main()
