"""Who decides whether anything is left: the measurement, unless the run leaves it to the reasoner."""

import pytest

from console.cli.backend_checks import check_backends
from console.cli.settings import settings_from
from deepsound.errors import DeepSoundError, ErrorCode
from tasks.runtime.run_settings import SilenceJudge
from tasks.steps.check_silence import decide


@pytest.mark.parametrize("judge", [SilenceJudge.MEASURED, SilenceJudge.BOTH])
@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("heard", [True, False, None])
def test_the_measurement_decides_whatever_the_reasoner_says(
    judge: SilenceJudge, measured: bool, heard: bool | None
):
    assert decide(judge, measured, heard) is measured


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("heard", [True, False])
def test_the_reasoner_decides_where_the_run_leaves_it_to_it(measured: bool, heard: bool):
    assert decide(SilenceJudge.MODEL, measured, heard) is heard


@pytest.mark.parametrize("measured", [True, False])
def test_words_that_cannot_be_read_leave_it_to_the_measurement(measured: bool):
    assert decide(SilenceJudge.MODEL, measured, None) is measured


def test_a_reasoner_that_cannot_be_asked_is_refused_before_anything_is_registered():
    settings = settings_from(reasoner="evidence", silence="model").run
    with pytest.raises(DeepSoundError, match="evidence can't be asked whether a sound is silent") as caught:
        check_backends(settings)
    assert caught.value.code is ErrorCode.BAD_SETTINGS
