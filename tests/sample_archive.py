"""An archive as archives are: real reels, short and long ones, narrated ones, all kinds of files, hostile names,
and files that are no videos. What has to become of each is known.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepsound.canonical_json import sha256_file
from deepsound.errors import ErrorCode
from deepsound.media.audio import write_float_wav
from tests.made_clips import tone, write_clip
from tests.voiced_clips import SHARED, narrated_clip, shipped_clip, silent_clip

VIDEOS = 60

PART = "narrated/told-5"
PART_SECONDS = 1.6
"""The output name of the one video of which only a part is asked for, and how long that part is."""

HOSTILE = [
    b"-rf.mp4",
    b"a%d.mp4",
    b"http:evil.mp4",
    b"line\nbreak.mp4",
    b"'; DROP TABLE run.mp4",
    b"no text \xff.mp4",
    "Tonband „ärgerlich“ 🎞.mp4".encode(),
    b"x" * 240 + b".mp4",
]

KINDS = {
    "film.mov": {"rate": 24, "audio": 0.2},
    "matroska.mkv": {},
    "turned.mp4": {"rotation": 90},
    "uneven.mp4": {"times": [0.0, 0.04, 0.3, 0.36, 0.9]},
    "odd.mkv": {"size": (161, 121), "pixel_format": "yuv444p"},
    "fields.mkv": {"interlaced": True, "size": (160, 128)},
    "hidden_frames.mp4": {"video_start": -0.2},
    "old.avi": {"codec": "mpeg4"},
    "one_frame.mp4": {"seconds": 0.04},
}


@dataclass(frozen=True, slots=True)
class Motley:
    """`inputs` is what is submitted: a folder, and a manifest for the narrated reels, which keep their own sound
    (of the second only a part is asked for).
    `fates` says of each video with which code it fails, or None: it is done. The files are somewhere else, but
    `in_sight`, as an operator's disk is that no worker sees.
    """

    folder: Path
    inputs: tuple[Path, Path]
    fates: dict[Path, ErrorCode | None]

    @contextmanager
    def in_sight(self) -> Iterator[None]:
        """Inside, all are where they are said to be."""
        self._elsewhere.rename(self.folder)
        try:
            yield
        finally:
            self.folder.rename(self._elsewhere)

    def sha256(self, name: str) -> str:
        """Of a video, by its file's name without the suffix."""
        [path] = [path for path in self.fates if path.stem == name]
        return sha256_file(self._elsewhere / path.relative_to(self.folder))

    @property
    def _elsewhere(self) -> Path:
        return self.folder.with_name("out of sight")


def motley_archive(folder: Path) -> Motley:
    """Sixty videos; those beside the repository are among them where that folder is there."""
    reels, narrated = folder / "reels", folder / "narrated"
    reels.mkdir(parents=True)
    narrated.mkdir()
    fates: dict[Path, ErrorCode | None] = {}
    fates |= dict.fromkeys(_real(reels) + _kinds(reels) + _hostile(reels))
    fates |= _broken(reels)
    told = [narrated_clip(narrated / f"told-{snr}.mp4", snr_db=snr, seconds=2.5) for snr in (3, 5)]
    fates |= dict.fromkeys(told)
    manifest = folder / "narrated.csv"
    times = ("", ""), ("0.4", f"{0.4 + PART_SECONDS}")
    rows = [
        f"narrated/{path.name},narrated/{path.stem},soundtrack,{start},{end}"
        for path, (start, end) in zip(told, times, strict=True)
    ]
    manifest.write_text("\n".join(["source,output,generator,start,end", *rows]) + "\n", encoding="utf-8")
    # Long enough for its coarse sound to go to a bucket in parts, and cheap to look at.
    fates[write_clip(reels / "long.mkv", seconds=100, rate=1, size=(64, 48))] = None
    for number in range(VIDEOS - len(fates)):
        fates[silent_clip(reels / f"reel-{number:02}.mp4", seconds=0.4 + number / 25)] = None
    motley = Motley(folder, (reels, manifest), fates)
    folder.rename(motley._elsewhere)
    return motley


def _real(folder: Path) -> list[Path]:
    """As they came from cameras and other people's encoders."""
    (folder / "real").mkdir()
    there = [shipped_clip("carphone_pristine.mp4"), shipped_clip("carphone_distorted.mp4")]
    there += sorted(SHARED.glob("*.mp4"))
    copies = [folder / "real" / path.name for path in there]
    for path, copy in zip(there, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    return copies


def _kinds(folder: Path) -> list[Path]:
    (folder / "kinds").mkdir()
    made = []
    for name, kind in KINDS.items():
        sound = tone(330, 1.0) if "audio" in kind else None
        made.append(write_clip(folder / "kinds" / name, **{"seconds": 0.8, **kind, "audio": sound}))
    return made


def _hostile(folder: Path) -> list[Path]:
    paths = [Path(os.fsdecode(os.fsencode(folder) + b"/" + name)) for name in HOSTILE]
    plain = folder / "plain.mp4"
    for number, path in enumerate(paths):
        silent_clip(plain, seconds=2.0 + number / 25).rename(path)
    return paths


def _broken(folder: Path) -> dict[Path, ErrorCode | None]:
    (folder / "broken").mkdir()
    folder = folder / "broken"
    whole = silent_clip(folder / "whole.mp4", seconds=0.5).read_bytes()
    (folder / "whole.mp4").unlink()
    sound = folder / "sound.wav"
    write_float_wav(sound, 48_000, 1, [0.1 * np.ones((4800, 1), np.float32)])
    contents = {
        "empty-1.mp4": (b"", ErrorCode.SOURCE_EMPTY),
        "empty-2.mkv": (b"", ErrorCode.SOURCE_EMPTY),
        "text.mp4": (b"this is a shopping list\n", ErrorCode.SOURCE_NOT_MEDIA),
        "page.mov": (b"<html><body>404</body></html>" * 40, ErrorCode.SOURCE_NOT_MEDIA),
        "playlist.ts": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", ErrorCode.SOURCE_NOT_MEDIA),
        "noise.mp4": (np.random.default_rng(5).bytes(20_000), ErrorCode.SOURCE_NOT_MEDIA),
        "stub.mp4": (whole[:200], ErrorCode.SOURCE_CORRUPT),
        "half.mp4": (whole[: len(whole) // 2], ErrorCode.SOURCE_CORRUPT),
        "headless.mp4": (whole.replace(b"moov", b"gone"), ErrorCode.SOURCE_CORRUPT),
        "sound.mp4": (sound.read_bytes(), ErrorCode.NO_VIDEO_STREAM),
    }
    sound.unlink()
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {folder / name: code for name, (_, code) in contents.items()}
