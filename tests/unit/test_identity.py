import hashlib
from importlib import metadata

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from deepsound.models.identity import packaged_file, packaged_identity

_ONNX = "silero_vad/data/silero_vad.onnx"


def test_packaged_weights_are_known_by_the_hash_of_their_installed_bytes():
    identity = packaged_identity("silero-vad", "silero-vad", (_ONNX,), "MIT")
    installed = packaged_file("silero-vad", _ONNX).read_bytes()
    assert identity.files == {_ONNX: hashlib.sha256(installed).hexdigest()}
    assert (identity.revision, identity.licence) == (metadata.version("silero-vad"), "MIT")


@pytest.mark.parametrize(
    ("distribution", "file"), [("silero-vad", "silero_vad/data/gone.onnx"), ("no-such-distribution", "a.bin")]
)
def test_weights_that_are_not_installed_are_named_with_the_command_that_installs_them(distribution, file):
    with pytest.raises(DeepSoundError) as caught:
        packaged_identity("x", distribution, (file,), "MIT")
    assert caught.value.code is ErrorCode.MODEL_MISSING
    assert file in str(caught.value)
    assert f"pip install --force-reinstall {distribution}" in str(caught.value)
