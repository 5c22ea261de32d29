"""Telling that memory ran out from other failures, without importing whatever ran out of it."""

from deepsound.errors import DeepSoundError, ErrorCode

_SIGNS = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")
"""How PyTorch's CPU allocator, CUDA, cuBLAS and cuDNN put it, in errors of no type of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    """True for MemoryError, PyTorch's OutOfMemoryError, allocators' RuntimeErrors and our own OUT_OF_MEMORY."""
    match error:
        case DeepSoundError():
            return error.code is ErrorCode.OUT_OF_MEMORY
        case MemoryError():
            return True
        case RuntimeError():
            return any(sign in str(error) for sign in _SIGNS) or type(error).__name__ == "OutOfMemoryError"
        case _:
            return False
