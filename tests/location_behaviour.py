"""What every kind of location does. Subclasses provide a fixture `folder`, an empty location to write to."""

import hashlib
import os
from datetime import timedelta

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.storage.location import location

SOUND = os.urandom(300_000)


def put(tmp_path, target, data=b"some sound"):
    source = tmp_path / "source.wav"
    source.write_bytes(data)
    target.put(source, "audio/wav", hashlib.sha256(data).hexdigest())
    return target


def read(place):
    return b"".join(place.blocks())


class LocationBehaviour:
    def test_a_file_that_is_put_comes_back_the_same(self, folder, tmp_path):
        file = put(tmp_path, folder / "reel.wav", SOUND)
        assert read(file) == SOUND
        assert file.stat().size == len(SOUND)
        assert file.stat().is_file
        with file.local() as path:
            assert path.read_bytes() == SOUND
            assert path.suffix == ".wav"

    def test_a_second_file_replaces_the_first(self, folder, tmp_path):
        put(tmp_path, folder / "reel.wav", SOUND)
        put(tmp_path, folder / "reel.wav", b"another")
        assert read(folder / "reel.wav") == b"another"

    def test_an_empty_file_is_a_file(self, folder, tmp_path):
        file = put(tmp_path, folder / "empty.wav", b"")
        assert read(file) == b""
        assert file.stat().size == 0

    def test_a_recorded_hash_is_that_of_the_bytes(self, folder, tmp_path):
        assert put(tmp_path, folder / "reel.wav", SOUND).stat().sha256 in (None, hashlib.sha256(SOUND).hexdigest())

    def test_a_missing_file_has_no_stat_and_is_an_error_to_read(self, folder):
        gone = folder / "gone.wav"
        assert gone.stat() is None
        with pytest.raises(DeepSoundError) as caught:
            read(gone)
        assert caught.value.code is ErrorCode.SOURCE_MISSING
        assert str(gone) in str(caught.value)

    def test_a_deleted_file_is_gone_and_can_be_deleted_again(self, folder, tmp_path):
        file = put(tmp_path, folder / "reel.wav")
        file.delete()
        assert file.stat() is None
        file.delete()

    def test_all_files_below_a_folder_are_listed_in_order_and_no_others(self, folder, tmp_path):
        for name in ("reels/b.mp4", "reels/1950s/a.mp4", "reels-2/c.mp4", "reels.mp4"):
            put(tmp_path, folder / name)
        listed = list((folder / "reels").files())
        assert listed == [folder / "reels/1950s/a.mp4", folder / "reels/b.mp4"]
        assert [file.relative_to(folder / "reels") for file in listed] == ["1950s/a.mp4", "b.mp4"]
        assert list((folder / "reels/b.mp4").files()) == [folder / "reels/b.mp4"]

    def test_files_are_listed_by_age(self, folder, tmp_path):
        file = put(tmp_path, folder / "reel.wav")
        assert list(folder.files(older_than=timedelta(seconds=-60))) == [file]
        assert list(folder.files(older_than=timedelta(hours=1))) == []

    def test_the_text_of_a_location_names_the_same_location(self, folder):
        file = folder / "1950s/reel.v2.mp4"
        assert location(str(file)) == file
        assert hash(location(str(file))) == hash(file)
        assert file.absolute() == location(str(file.absolute()))

    def test_names_are_the_parts_of_the_path(self, folder):
        file = folder / "1950s/reel.v2.mp4"
        assert (file.name, file.parent, file.parent.parent) == ("reel.v2.mp4", folder / "1950s", folder)
        assert file == folder / "1950s" / "reel.v2.mp4"

    def test_a_location_is_below_itself_and_its_folders_only(self, folder):
        file = folder / "reels/a.mp4"
        assert file.relative_to(file) == ""
        assert file.relative_to(folder) == "reels/a.mp4"
        assert file.relative_to(folder / "reels-2") is None
        assert (folder / "reels-2").relative_to(folder / "reels") is None
        assert folder.relative_to(file) is None

    @pytest.mark.parametrize(
        "name", ["ä ö 日本語.wav", "100%25.wav", "a b+c.wav", "what?x=1#y.wav", "'\";--.wav", "<&>"]
    )
    def test_a_name_may_hold_any_printable_character(self, folder, tmp_path, name):
        file = put(tmp_path, folder / name, name.encode())
        assert list(folder.files()) == [file]
        assert read(location(str(file))) == name.encode()

    def test_a_folder_can_be_made_more_than_once(self, folder):
        for _ in range(2):
            folder.make_folder()
            folder.check_usable()

    def test_nothing_is_swept_where_nothing_is_unfinished(self, folder, tmp_path):
        file = put(tmp_path, folder / "reel.wav")
        assert folder.sweep(timedelta(0)) == 0
        assert file.stat() is not None

    def test_free_space_is_a_number_or_unknown(self, folder):
        assert folder.free_bytes() is None or folder.free_bytes() > 0

    def test_a_link_names_the_file(self, folder, tmp_path):
        assert "reel.wav" in put(tmp_path, folder / "reel.wav").link()
