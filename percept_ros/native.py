"""Opens the compiled kernels (kernels/, built by colcon) and binds their C functions.

ctypes releases the GIL during each call. Arrays are passed as addresses: use ``pointer`` on contiguous arrays that you
keep alive for the call.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

import percept_ros
from percept_ros.errors import SetupError

ABI = 1
_FIRST_BYTE: Callable[[Any], ctypes.c_char] = ctypes.c_char.from_buffer


@functools.cache
def library() -> ctypes.CDLL:
    """The opened kernel library. Raises SetupError when it was not built or is of another version."""
    for folder in percept_ros.__path__:
        file = Path(folder) / "lib" / "libpercept_kernels.so"
        if file.exists():
            try:
                opened = ctypes.CDLL(str(file))
            except OSError as exc:
                raise SetupError(f"kernel library '{file}' cannot be opened: {exc}: build again (make build)") from exc
            if (found := opened.percept_kernels_abi()) != ABI:
                raise SetupError(f"kernel library '{file}' has ABI {found}, expected {ABI}: build again (make build)")
            return opened
    raise SetupError("kernel library libpercept_kernels.so not found: build it (make build, or colcon build)")


def bind(name: str, argtypes: list[Any], restype: Any = ctypes.c_int32) -> Callable[..., Any]:
    """C function ``name`` with its argument types set. Raises SetupError when the library lacks it."""
    try:
        function = getattr(library(), name)
    except AttributeError as exc:
        raise SetupError(f"kernel library lacks '{name}': build again (make build)") from exc
    function.argtypes, function.restype = argtypes, restype
    return function  # type: ignore[no-any-return]


def pointer(array: npt.NDArray[Any]) -> int:
    """Address of a C-contiguous array's first byte. Raises ValueError when it is not contiguous."""
    flags = array.flags
    if not flags.c_contiguous:
        raise ValueError(f"array of shape {array.shape} and strides {array.strides} must be C-contiguous")
    if flags.writeable and array.size:
        return ctypes.addressof(_FIRST_BYTE(array))  # four times as fast as array.ctypes
    return array.ctypes.data
