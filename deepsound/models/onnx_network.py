"""ONNX networks on the CPU: loading and running them so that failures are ours to explain."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # pyright: ignore[reportAttributeAccessIssue] - compiled

from deepsound.errors import DeepSoundError, ModelFailedError

_FATAL_ONLY = 4

_REFUSALS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxNetwork:
    """One network, loaded once; any number of threads may run it at the same time.

    It runs on the calling thread alone: the work of many videos is what keeps the cores busy, and one
    thread gives the same sums every time. Raises DeepSoundError MODEL_FAILED where `model` is no network.
    """

    def __init__(self, model: bytes, where: str) -> None:
        self._where = where
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _REFUSALS as error:
            raise _failed(where, "the network can't be loaded") from error

    def run(self, outputs: Sequence[str], inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The named outputs for the named inputs. Raises DeepSoundError MODEL_FAILED."""
        try:
            values = self._session.run(list(outputs), dict(inputs))
        except _REFUSALS as error:
            raise _failed(self._where, "the network can't be run") from error
        return [np.asarray(value, np.float32) for value in values]


def _failed(where: str, what: str) -> DeepSoundError:
    remedy = "reinstall the package it came with; `deepsound models check` names damaged files"
    return ModelFailedError(what, where=where, remedy=remedy)
