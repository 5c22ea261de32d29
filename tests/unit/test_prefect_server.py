"""Checks of the configured Prefect server."""

import pytest

from deepsound.errors import DeepSoundError, ErrorCode
from flows.prefect_server import check_server


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:port/api", "http://127.0.0.1:99999/api", "http://[::1/api", "prefect"]
)
def test_an_invalid_address_is_one_error_line(url: str):
    with pytest.raises(DeepSoundError, match="does not answer; start it, or unset PREFECT_API_URL") as refused:
        check_server(url)
    assert refused.value.code is ErrorCode.ENGINE_NOT_STARTED
