from pathlib import PurePosixPath

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.generation.mmaudio.backend import MMAudioSmall16k
from deepsound.models.catalogue import KnownFile, KnownModel
from deepsound.models.identity import packaged_file, recorded_sha256
from deepsound.models.local import find_faults, find_file, known_model, known_models, models_folder, with_needs
from deepsound.separation.bs_roformer.separator import BSRoformerSeparator
from tests.store_behaviour import sha256

PACKAGED = [model for model in known_models() if model.package]
FETCHED = [model for model in known_models() if not model.package]


def names(models):
    return [model.name for model in models]


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPSOUND_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def put(folder, file, data=b"weights"):
    path = folder / file.path
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def a_model(**published):
    file = KnownFile("some/weights.pth", **published)
    return KnownModel("some-model", "tests", (file,), "https://models.example", "unstated", None)


@pytest.mark.parametrize("model", PACKAGED, ids=names(PACKAGED))
def test_packaged_models_are_installed_and_whole(model):
    assert all(recorded_sha256(model.package, file.path) for file in model.files)
    assert list(find_faults(model)) == []


def test_a_packaged_file_is_held_against_the_hash_it_was_installed_with():
    file = known_model("silero-vad-16k").files[0].path
    assert recorded_sha256("silero-vad", file) == sha256(packaged_file("silero-vad", file).read_bytes())
    assert recorded_sha256("silero-vad", "silero_vad/no_such_file") is None


def test_names_are_unique_and_hashes_and_paths_well_formed():
    assert len(set(names(known_models()))) == len(known_models())
    for file in (file for model in known_models() for file in model.files):
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))


@pytest.mark.parametrize("model", FETCHED, ids=names(FETCHED))
def test_a_missing_model_says_what_to_put_where_under_which_licence(folder, model):
    for file in model.files:
        with pytest.raises(DeepSoundError) as caught:
            find_file(model, file)
        assert caught.value.code is ErrorCode.MODEL_MISSING
        for told in (str(folder / file.path), model.source, model.licence, model.name):
            assert told in str(caught.value)
        assert ("no commercial use" in str(caught.value)) is (model.commercial_use is False)


def test_licences_that_allow_no_commercial_use_say_so():
    assert all(model.commercial_use is False for model in known_models() if "NC" in model.licence)
    assert all(model.commercial_use is None for model in known_models() if model.licence == "unstated")
    assert all(model.commercial_use for model in PACKAGED)


def test_a_file_in_the_folder_is_found(folder):
    model = a_model()
    path = put(folder, model.files[0])
    assert find_file(model, model.files[0]) == path
    assert list(find_faults(model)) == []


def test_a_file_cut_short_is_named_before_anything_reads_it(folder):
    model = a_model(size=7)
    path = put(folder, model.files[0], b"weig")
    with pytest.raises(DeepSoundError) as caught:
        find_file(model, model.files[0])
    assert caught.value.code is ErrorCode.MODEL_FAILED
    assert str(caught.value).startswith(f"{path}: 4 bytes, where the official file has 7;")


def test_a_file_with_other_bytes_is_found_by_reading_it(folder):
    model = a_model(size=7, sha256=sha256(b"weights"))
    path = put(folder, model.files[0], b"we1ghts")
    [fault] = find_faults(model)
    assert fault.code is ErrorCode.MODEL_FAILED
    assert str(path) in str(fault)
    path.write_bytes(b"weights")
    assert list(find_faults(model)) == []


def test_the_folder_is_the_users_own_unless_one_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPSOUND_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "deepsound" / "models"


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(DeepSoundError) as caught:
        known_model("mmaudio-huge")
    assert caught.value.code is ErrorCode.BAD_SETTINGS
    assert "mmaudio-large-44k-v2" in str(caught.value)


def a_set_of_the_right_sizes(folder, name):
    """Files of a model and its needs, all zeros; of those whose size is not known, one byte."""
    for model in with_needs(name):
        for file in model.files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as made:
                made.truncate(file.size or 1)


def the_failure_of(models, code=ErrorCode.MODEL_FAILED):
    with pytest.raises(DeepSoundError) as caught:
        models()
    assert caught.value.code is code
    return str(caught.value)


@pytest.mark.parametrize("index", range(6), ids=["flow", "vae", "vocoder", "synchformer", "clip", "vocabulary"])
def test_whatever_file_of_a_generators_set_is_missing_the_set_is_pulled(folder, index):
    a_set_of_the_right_sizes(folder, "mmaudio-small-16k")
    files = [(model, file) for model in with_needs("mmaudio-small-16k") for file in model.files]
    model, file = files[index]
    (folder / file.path).unlink()
    told = the_failure_of(MMAudioSmall16k, ErrorCode.MODEL_MISSING)
    pulled = "`deepsound models pull mmaudio-small-16k`"
    for part in (str(folder / file.path), model.source, model.licence, pulled):
        assert part in told


def test_of_a_set_of_which_more_is_missing_it_is_said_how_much(folder):
    told = the_failure_of(MMAudioSmall16k, ErrorCode.MODEL_MISSING)
    assert "mmaudio_small_16k.pth" in told
    assert "and 5 other files" in told
    assert "`deepsound models pull mmaudio-small-16k`" in told


def test_a_file_of_a_set_that_is_cut_short_is_pulled_with_the_set(folder):
    a_set_of_the_right_sizes(folder, "mmaudio-small-16k")
    with (folder / known_model("synchformer").files[0].path).open("r+b") as file:
        file.truncate(7)
    told = the_failure_of(MMAudioSmall16k)
    assert "synchformer_state_dict.pth: 7 bytes" in told
    assert "`deepsound models pull mmaudio-small-16k`" in told


def test_a_generator_refuses_a_file_of_the_right_size_with_other_bytes(folder):
    a_set_of_the_right_sizes(folder, "mmaudio-small-16k")
    told = the_failure_of(lambda: MMAudioSmall16k().models)
    file = known_model("mmaudio-small-16k").files[0]
    for part in (str(folder / file.path), file.sha256, sha256(b"\0"), "deepsound models pull mmaudio-small-16k"):
        assert part in told


def test_a_separator_refuses_a_file_of_the_right_size_with_other_bytes(folder):
    a_set_of_the_right_sizes(folder, "bs-roformer")
    told = the_failure_of(lambda: BSRoformerSeparator().models)
    file = known_model("bs-roformer").files[0]
    assert str(folder / file.path) in told
    assert file.sha256 in told
