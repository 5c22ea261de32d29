"""Checkpoint files into networks: nothing unpickled, nothing half-loaded, a wrong file named.

Networks are built on the meta device and take over the tensors of the file, so weights lie in memory once.
"""

import ctypes
import gc
import mmap
import platform
import sys
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType] - untyped

from deepsound.errors import DeepSoundError, ModelFailedError, ModelMissingError

State = Mapping[str, torch.Tensor]
Module = TypeVar("Module", bound=torch.nn.Module)

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else None
_KINDS = frozenset(
    {torch.float16, torch.bfloat16, torch.float32, torch.float64}
    | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
_NAMED = 3  # names listed in a message before "and n more"


def read_state(path: Path, *, under: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors by name from a .safetensors file or a zip-format torch checkpoint, mapped rather than read.

    `under` is the key a torch checkpoint keeps its tensors under, where the publisher wrapped them once more.
    Raises DeepSoundError: MODEL_MISSING without the file, MODEL_FAILED for one that is truncated, of another
    format, or holds anything but tensors.
    """
    if not path.is_file():
        raise ModelMissingError("no such checkpoint", where=str(path), remedy="put the official file there")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path, under)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with _blaming(path, "not a whole safetensors file"):
        state = load_file(path)
    return _only_tensors(cast("dict[object, object]", state), path)


def _read_torch(path: Path, under: str | None) -> dict[str, torch.Tensor]:
    # A zip's table of contents stands at its end, so a file cut short is no zip any more.
    with _blaming(path, "not readable as a torch checkpoint"):
        is_whole = zipfile.is_zipfile(path)
    if not is_whole:
        raise _unreadable(path, f"{path.stat().st_size} bytes that are no torch checkpoint, or a truncated one")
    with _blaming(path, "not readable as plain tensors"):
        state: object = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if under is not None and isinstance(state, dict):
        state = cast("dict[object, object]", state).get(under)
    if not isinstance(state, dict):
        inside = f" under {under!r}" if under else ""
        raise _unreadable(path, f"named tensors expected{inside}, found {type(state).__name__}")
    return _only_tensors(cast("dict[object, object]", state), path)


def _only_tensors(state: Mapping[object, object], path: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        # Of a damaged name, what can be written down.
        name = str(key).encode(errors="backslashreplace").decode()
        if not isinstance(value, torch.Tensor):
            raise _unreadable(path, f"entry {name!r} is no tensor, where only named tensors are expected")
        if strange := _strangeness(value):
            raise _unreadable(path, f"entry {name!r} {strange}")
        tensors[name] = value
    return tensors


def _strangeness(tensor: torch.Tensor) -> str | None:
    """What a tensor has that no network's has, or lacks; None for a plain one."""
    if tensor.is_meta:
        return "holds no numbers"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in _KINDS:
        return f"is no plain tensor ({_word(tensor.layout)}, {_word(tensor.dtype)})"
    # Its memory is given back once it was read, which must not reach beyond it.
    if tensor.nbytes > tensor.untyped_storage().nbytes() - tensor.storage_offset() * tensor.element_size():
        return "has more numbers than the file holds of it"
    return None


def _word(kind: torch.layout | torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


@contextmanager
def _blaming(path: Path, what: str) -> Generator[None]:
    """Whatever its bytes make a library raise is the file's fault: damaged ones come to light as any error."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        told = str(error).splitlines() or [type(error).__name__]
        raise _unreadable(path, f"{what} ({told[0]})") from error


def _unreadable(path: Path, what: str) -> DeepSoundError:
    return ModelFailedError(what, where=str(path), remedy="fetch the official file again")


def load_strict(module: torch.nn.Module, state: State, *, network: str, where: Path) -> None:
    """Give `module` the tensors of `state`, which must be exactly its own by name, shape and kind of number.

    Tensors are taken over, not copied: a module on the meta device needs no memory of its own.
    Raises DeepSoundError MODEL_FAILED, as `check_state` does.
    """
    check_state(module.state_dict(), state, network=network, where=where)
    module.load_state_dict(dict(state), strict=True, assign=True)
    module.requires_grad_(False)


def check_state(expected: State, state: State, *, network: str, where: Path) -> None:
    """Compare names, shapes and kinds of number; any precision does, and no values are read.

    Raises DeepSoundError MODEL_FAILED, saying what is missing, left over, or of another shape or type.
    """
    complaints = [
        *_listed("missing", [name for name in expected if name not in state]),
        *_listed("not part of it", [name for name in state if name not in expected]),
        *_listed("of another shape", _misshapen(expected, state)),
        *_listed("of another type", _mistyped(expected, state)),
    ]
    if complaints:
        raise ModelFailedError(
            f"{len(state)} tensors are not the {len(expected)} of {network}: {'; '.join(complaints)}",
            where=str(where),
            remedy=f"use the official checkpoint of {network}",
        )


def move_to_device(
    module: Module, device: torch.device, dtype: torch.dtype, *, exact: tuple[str, ...] = ()
) -> Module:
    """`module`, as `load_strict` left it, on a device and in a type; nothing else may hold its tensors.

    It goes tensor by tensor, so that of a mapped file no more than one is in memory at a time. Those whose names
    begin with one of `exact` stay in float32.
    """
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        kind = torch.float32 if name.startswith(exact) else dtype
        mapped = tensor.data
        tensor.data = mapped.to(device, kind if mapped.is_floating_point() else mapped.dtype)
        if tensor.data_ptr() != mapped.data_ptr():
            _unmap_pages(mapped)
    return module


def without_originals(state: State, made: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """`made`; what it was made of in `state`, and does not hold itself, is no longer needed."""
    kept = {tensor.data_ptr() for tensor in made.values()}
    for tensor in state.values():
        if tensor.data_ptr() not in kept:
            _unmap_pages(tensor)
    return made


def _unmap_pages(tensor: torch.Tensor) -> None:
    """Give back what was read of a mapped file; of a tensor made from it, the memory. It is not read again."""
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if _LIBC is not None and first < last:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def give_back_memory() -> None:
    """Give the system what freed weights leave behind: the C library keeps smaller pieces for later."""
    gc.collect()  # networks hold reference cycles
    if _LIBC is not None:
        _LIBC.malloc_trim(0)


def _misshapen(expected: State, state: State) -> list[str]:
    return [
        f"{name} {list(state[name].shape)} for {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]


def _mistyped(expected: State, state: State) -> list[str]:
    return [
        f"{name} {_word(state[name].dtype)} for {_word(tensor.dtype)}"
        for name, tensor in expected.items()
        if name in state and state[name].is_floating_point() != tensor.is_floating_point()
    ]


def _listed(complaint: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{complaint}: {', '.join(names[:_NAMED])}{more}"]
