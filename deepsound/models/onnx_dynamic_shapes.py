"""Frees an ONNX network from the picture size it was exported with.

The ONNX runtime refuses any other size than the declared one, and cannot fold weights that are listed among
the inputs. CenterFace was exported with both flaws; without them it runs three times as fast as in OpenCV.
Only the few fields of onnx.proto (IR version 4 and later) that are changed are described; Protocol Buffers
passes all others on as they are.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from deepsound.errors import ModelFailedError

_TEXT, _NUMBER = "text", "number"
_ONE, _MANY = 1, 3

# Message: (field, number, what it holds, how often), numbers and nesting as in onnx.proto.
_ONNX = {
    "Model": (("graph", 7, "Graph", _ONE),),
    "Graph": (
        ("initializer", 5, "Weight", _MANY),
        ("input", 11, "Value", _MANY),
        ("output", 12, "Value", _MANY),
    ),
    "Weight": (("name", 8, _TEXT, _ONE),),
    "Value": (("name", 1, _TEXT, _ONE), ("type", 2, "Type", _ONE)),
    "Type": (("tensor_type", 1, "Tensor", _ONE),),
    "Tensor": (("shape", 2, "Shape", _ONE),),
    "Shape": (("dim", 1, "Dimension", _MANY),),
    "Dimension": (("dim_value", 1, _NUMBER, _ONE),),
}
_CHANNELS = 1


def with_open_shapes(network: bytes, where: str) -> bytes:
    """The same network for pictures (n, channels, height, width) of any n, height and width.

    Raises DeepSoundError MODEL_FAILED if `network`, read from `where`, is not an ONNX file.
    """
    model: Any = _model_class()()
    try:
        model.ParseFromString(network)
    except DecodeError as error:
        raise ModelFailedError(
            "not an ONNX network",
            where=where,
            remedy="reinstall the package it came with",
        ) from error
    weights = {weight.name for weight in model.graph.initializer}
    pictures = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(pictures)
    for value in (*model.graph.input, *model.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis != _CHANNELS:
                dimension.ClearField("dim_value")
    return model.SerializeToString()


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="deepsound/onnx_shapes.proto", package="deepsound.onnx")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _ONNX.items():
        described = file.message_type.add(name=message)
        for name, number, holds, label in fields:
            field = described.field.add(name=name, number=number, label=label)
            if holds in (_TEXT, _NUMBER):
                field.type = kinds.TYPE_STRING if holds == _TEXT else kinds.TYPE_INT64
            else:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".deepsound.onnx.{holds}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("deepsound.onnx.Model"))
