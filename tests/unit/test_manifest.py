"""What a user names becomes sources, each with results of its own, and originals are never touched."""

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.location import location
from tasks.operations.manifest import collect, refuse_overwriting_sources, unique_names
from tasks.runtime.run_settings import Source
from tests.s3_servers import S3Server, a_bucket_name


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_gives_its_videos_in_order_under_their_relative_names(tmp_path: Path):
    touch(tmp_path / "b.MP4", tmp_path / "reels" / "a.mov", tmp_path / "a.mkv")
    names = [source.output_name for source in collect([location(tmp_path)], location(tmp_path / "out")).sources]
    assert names == ["a", "b", "reels/a"]


def test_what_is_no_video_in_a_folder_is_left_out_and_told(tmp_path: Path):
    touch(tmp_path / "a.mp4", tmp_path / "notes.txt", tmp_path / ".DS_Store")
    intake = collect([location(tmp_path)], location(tmp_path / "out"))
    assert [source.location.name for source in intake.sources] == ["a.mp4"]
    assert [path.name for path in intake.left_out] == ["notes.txt"]


def test_a_link_that_leads_nowhere_is_taken_so_that_its_run_accounts_for_it(tmp_path: Path):
    touch(tmp_path / "a.mp4")
    for name, target in {"gone.mp4": "moved/gone.mp4", "round.mp4": "round.mp4", "gone.txt": "gone"}.items():
        (tmp_path / name).symlink_to(target)
    intake = collect([location(tmp_path)], location(tmp_path / "out"))
    assert [source.location.name for source in intake.sources] == ["a.mp4", "gone.mp4", "round.mp4"]
    assert [path.name for path in intake.left_out] == ["gone.txt"]
    refuse_overwriting_sources(intake.sources, location(tmp_path / "out"))


def too_deep(folder: Path) -> Path:
    """A folder so deep in another that its path is too long to be read by, whoever asks."""
    inside = os.open(folder, os.O_DIRECTORY)
    for _ in range(17):
        folder /= "f" * 250
        os.mkdir(folder.name, dir_fd=inside)
        above, inside = inside, os.open(folder.name, os.O_DIRECTORY, dir_fd=inside)
        os.close(above)
    os.close(inside)
    return folder


def test_a_folder_that_cannot_be_read_is_taken_so_that_its_run_accounts_for_it(tmp_path: Path):
    touch(tmp_path / "reels" / "z.mp4")
    too_deep(tmp_path / "reels")
    first, second = collect([location(tmp_path / "reels")], location(tmp_path / "out")).sources
    assert first.location.name == "z.mp4"
    assert set(second.location.path.relative_to(tmp_path / "reels").parts) == {"f" * 250}
    refuse_overwriting_sources([first, second], location(tmp_path / "out"))


def test_results_of_an_earlier_run_inside_the_folder_are_no_sources(tmp_path: Path):
    touch(tmp_path / "a.mp4", tmp_path / "out" / "a.mp4")
    intake = collect([location(tmp_path)], location(tmp_path / "out"))
    assert [source.location for source in intake.sources] == [location(tmp_path / "a.mp4")]
    assert intake.left_out == ()


def test_a_file_named_by_itself_is_taken_whatever_it_is_called(tmp_path: Path):
    assert collect([location(tmp_path / "reel.bin")], location(tmp_path / "out")).sources[0].location == location(
        tmp_path / "reel.bin"
    )


def test_same_names_in_different_folders_do_not_collide(tmp_path: Path):
    inputs = [location(tmp_path / name) for name in ("one/reel.mp4", "two/reel.mp4", "two/REEL.mov")]
    assert [source.output_name for source in collect(inputs, location(tmp_path / "out")).sources] == [
        "reel",
        "reel-2",
        "REEL-3",
    ]


def test_a_name_that_would_take_anothers_stem_gets_a_number():
    assert unique_names(["reel", "reel.voice"]) == ["reel", "reel.voice-2"]


def test_an_empty_folder_is_one_clear_line(tmp_path: Path):
    with pytest.raises(DeepSoundError, match="there is no video here") as caught:
        collect([location(tmp_path)], location(tmp_path / "out"))
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_hostile_names_become_safe_distinct_and_relative(names: list[str]):
    given_names = unique_names(names)
    assert len({name.casefold() for name in given_names}) == len(names)
    for name in given_names:
        assert not Path(name).is_absolute()
        for part in Path(name).parts:
            assert part not in (".", "..")
            assert part.isprintable()
            assert not part.startswith("-")
            assert len(part.encode()) < 200


def test_results_may_not_take_the_place_of_an_original(tmp_path: Path):
    touch(tmp_path / "reel.mp4")
    with pytest.raises(DeepSoundError, match="place of an original"):
        refuse_overwriting_sources([Source(location(tmp_path / "reel.mp4"), "reel", {})], location(tmp_path))
    refuse_overwriting_sources([Source(location(tmp_path / "reel.mp4"), "reel", {})], location(tmp_path / "out"))


def test_a_csv_list_says_what_differs_from_video_to_video(tmp_path: Path):
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "source,prompt,seed,output\nreels/a.mp4,rain on a roof,7,first\nb.mp4,,,\n", encoding="utf-8"
    )
    first, second = collect([location(manifest)], location(tmp_path / "out")).sources
    assert first == Source(location(tmp_path / "reels/a.mp4"), "first", {"prompt": "rain on a roof", "seed": 7})
    assert second == Source(location(tmp_path / "b.mp4"), "b", {})


def test_a_jsonl_list_does_too(tmp_path: Path):
    manifest = tmp_path / "list.jsonl"
    manifest.write_text('{"source": "a.mp4", "negative_prompt": "music"}\n\n', encoding="utf-8")
    assert collect([location(manifest)], location(tmp_path / "out")).sources == (
        Source(location(tmp_path / "a.mp4"), "a", {"negative_prompt": "music"}),
    )


def test_every_bad_row_is_named_with_its_line_before_anything_starts(tmp_path: Path):
    manifest = tmp_path / "list.jsonl"
    rows = ['{"source": "a.mp4"}', "{", '["a.mp4"]', '{"source": ""}', '{"source": "b.mp4", "sead": 1}']
    manifest.write_text("\n".join([*rows, '{"source": "c.mp4", "seed": "x"}']), encoding="utf-8")
    with pytest.raises(DeepSoundError) as caught:
        collect([location(manifest)], location(tmp_path / "out"))
    line = str(caught.value)
    assert all(f"line {number}:" in line for number in (2, 3, 4, 5, 6))
    assert "line 1:" not in line
    assert "'sead'" in line


def test_a_list_that_is_no_text_is_one_clear_line(tmp_path: Path):
    manifest = tmp_path / "list.csv"
    manifest.write_bytes(b"\xff\xfe\x00rubbish")
    with pytest.raises(DeepSoundError, match="save it as UTF-8"):
        collect([location(manifest)], location(tmp_path / "out"))


def test_a_bucket_is_listed_like_a_folder(moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    bucket, client = a_bucket_name(), moto.client()
    client.make_bucket(bucket)
    for key in ("reels/a.mp4", "reels/1950s/b.mov", "reels/notes.txt", "reels/out/a.mp4", "reels-2/c.mp4"):
        client.put_object(bucket, key, io.BytesIO(b"x"), 1)
    taken = collect([location(f"s3://{bucket}/reels")], location(f"s3://{bucket}/reels/out"))
    assert [(str(source.location), source.output_name) for source in taken.sources] == [
        (f"s3://{bucket}/reels/1950s/b.mov", "1950s/b"),
        (f"s3://{bucket}/reels/a.mp4", "a"),
    ]
    assert [str(file) for file in taken.left_out] == [f"s3://{bucket}/reels/notes.txt"]


def test_a_list_in_a_bucket_names_sources_beside_it(
    moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in moto.environment(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    bucket, client = a_bucket_name(), moto.client()
    client.make_bucket(bucket)
    rows = b"source,seed\r\n1950s/b.mov,7\r\n/disk/c.mp4,\r\n"
    client.put_object(bucket, "reels/list.csv", io.BytesIO(rows), len(rows))
    taken = collect([location(f"s3://{bucket}/reels/list.csv")], location(tmp_path / "out"))
    assert taken.sources == (
        Source(location(f"s3://{bucket}/reels/1950s/b.mov"), "b", {"seed": 7}),
        Source(location("/disk/c.mp4"), "c", {}),
    )


def test_a_row_with_a_location_that_can_not_be_used_is_named_with_its_line(tmp_path: Path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("source\na.mp4\nazure://reels/b.mp4\ns3://key:secret@reels/c.mp4\n", encoding="utf-8")
    with pytest.raises(DeepSoundError, match=r"line 3: .*'azure': not installed.*line 4: .*credentials") as caught:
        collect([location(manifest)], location(tmp_path / "out"))
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "secret@" not in str(caught.value)


def test_a_list_that_is_not_there_is_one_clear_line(tmp_path: Path):
    with pytest.raises(DeepSoundError, match=r"gone\.csv: the manifest") as caught:
        collect([location(tmp_path / "gone.csv")], location(tmp_path / "out"))
    assert caught.value.code is ErrorCode.BAD_SETTINGS


def test_keys_in_a_buckets_address_are_refused_and_not_repeated():
    with pytest.raises(DeepSoundError, match="DEEPSOUND_S3_ACCESS_KEY") as caught:
        location("s3://key:secret@reels/1950s")
    assert "secret@" not in str(caught.value)


def test_a_seed_that_no_ledger_can_hold_is_named_with_its_line(tmp_path: Path):
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"source,seed\na.mp4,{2**63 - 1}\nb.mp4,{2**63}\nc.mp4,{'9' * 5000}\n", encoding="utf-8")
    with pytest.raises(
        DeepSoundError, match=r"line 3: the seed '9223372036854775808' .*; line 4: the seed '99"
    ) as caught:
        collect([location(manifest)], location(tmp_path / "out"))
    assert "line 2:" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("list.jsonl", r'{"source": "a\u0000.mp4"}'),
        ("list.jsonl", r'{"source": "a\ud800.mp4"}'),
        ("list.jsonl", r'{"source": "a.mp4", "prompt": "rain\ud800"}'),
        ("list.jsonl", r'{"source": "a.mp4", "output": "\ud800"}'),
        ("list.jsonl", '{"source": "a.mp4", "seed": ' + "9" * 5000 + "}"),
        ("list.jsonl", "[" * 100_000),
        ("list.csv", "b\x00.mp4"),
        ("list.csv", f'"{"a" * 140_000}\nb.mp4'),
    ],
)
def test_what_no_file_and_no_ledger_can_hold_is_named_with_its_line(tmp_path: Path, name: str, rows: str):
    head = "source\na.mp4" if name.endswith(".csv") else '{"source": "a.mp4"}\n'
    (tmp_path / name).write_text(f"{head}\n{rows}\n", encoding="utf-8")
    with pytest.raises(DeepSoundError, match="line 3: ") as caught:
        collect([location(tmp_path / name)], location(tmp_path / "out"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_a_file_name_that_is_no_text_may_be_listed(tmp_path: Path):
    (tmp_path / "list.jsonl").write_text(r'{"source": "reel\udcff.mp4"}', encoding="utf-8")
    [source] = collect([location(tmp_path / "list.jsonl")], location(tmp_path / "out")).sources
    assert os.fsencode(source.location.name) == b"reel\xff.mp4"
