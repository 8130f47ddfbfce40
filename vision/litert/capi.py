"""LiteRT's C API through ctypes: structures, prototypes, and the check that they fit.

The headers are not in the wheel, so the layouts here hold for the release that they
were read for; `load` refuses any other. `ctypes.CDLL` releases the GIL around every
call, which the wheel's own Python binding of the same functions does not.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from enum import IntEnum, IntFlag
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from vision.errors import BackendError

PACKAGE = "ai-edge-litert"
RELEASE = "2.3"
ACCELERATOR = "libLiteRtWebGpuAccelerator.so"
MAX_RANK = 8


class AnyType(IntEnum):
    """LiteRtAnyType."""

    INT = 2
    STRING = 8


class EnvTag(IntEnum):
    """LiteRtEnvOptionTag."""

    RUNTIME_LIBRARY_DIR = 22
    MIN_LOGGER_SEVERITY = 25


class Hardware(IntFlag):
    """LiteRtHwAccelerators."""

    CPU = 1
    GPU = 2


class LockMode(IntEnum):
    """LiteRtTensorBufferLockMode."""

    READ = 0
    WRITE = 1


class AnyUnion(ctypes.Union):
    """The value in a LiteRtAny."""

    _fields_ = (
        ("bool_value", c_bool),
        ("int_value", c_int64),
        ("real_value", c_double),
        ("str_value", c_char_p),
        ("ptr_value", c_void_p),
    )


class AnyValue(ctypes.Structure):
    """LiteRtAny."""

    _fields_ = (("type", c_int), ("value", AnyUnion))


class EnvOption(ctypes.Structure):
    """LiteRtEnvOption."""

    _fields_ = (("tag", c_int), ("value", AnyValue))


class Layout(ctypes.Structure):
    """LiteRtLayout."""

    _fields_ = (
        ("rank", c_uint32, 7),
        ("has_strides", c_uint32, 1),
        ("dimensions", c_int32 * MAX_RANK),
        ("strides", c_uint32 * MAX_RANK),
    )


class RankedTensorType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element_type", c_int), ("layout", Layout))


class Quantization(ctypes.Structure):
    """LiteRtQuantizationPerTensor."""

    _fields_ = (("scale", c_float), ("zero_point", c_int64))


PER_TENSOR_QUANTIZATION = 1  # LiteRtQuantizationTypeId

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.int32),
    3: np.dtype(np.uint8),
    4: np.dtype(np.int64),
    6: np.dtype(np.bool_),
    7: np.dtype(np.int16),
    9: np.dtype(np.int8),
    10: np.dtype(np.float16),
}
"""LiteRtElementType to numpy's."""

_SIZES = {AnyValue: 16, EnvOption: 24, Layout: 68, RankedTensorType: 72, Quantization: 16}

_OUT = POINTER(c_void_p)
_COUNT = POINTER(c_size_t)
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "CreateEnvironment": (c_int, POINTER(EnvOption), _OUT),
    "CreateModelFromFile": (c_void_p, c_char_p, _OUT),
    "CreateOptions": (_OUT,),
    "SetOptionsHardwareAccelerators": (c_void_p, c_int),
    "CreateOpaqueOptions": (c_char_p, c_void_p, c_void_p, _OUT),
    "AddOpaqueOptions": (c_void_p, c_void_p),
    "CreateCompiledModel": (c_void_p, c_void_p, c_void_p, _OUT),
    "CompiledModelIsNonCpuFullyAccelerated": (c_void_p, POINTER(c_bool)),
    "GetModelSignature": (c_void_p, c_size_t, _OUT),
    "GetSignatureSubgraph": (c_void_p, _OUT),
    "GetNumSubgraphOps": (c_void_p, _COUNT),
    "GetNumSubgraphOutputs": (c_void_p, _COUNT),
    "GetSubgraphOutput": (c_void_p, c_size_t, _OUT),
    "GetNumSignatureInputs": (c_void_p, _COUNT),
    "GetNumSignatureOutputs": (c_void_p, _COUNT),
    "GetSignatureInputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetSignatureOutputTensorByIndex": (c_void_p, c_size_t, _OUT),
    "GetTensorName": (c_void_p, POINTER(c_char_p)),
    "GetRankedTensorType": (c_void_p, POINTER(RankedTensorType)),
    "GetQuantizationTypeId": (c_void_p, POINTER(c_int)),
    "GetPerTensorQuantization": (c_void_p, POINTER(Quantization)),
    "GetCompiledModelOutputTensorLayouts": (c_void_p, c_size_t, c_size_t, POINTER(Layout), c_bool),
    "GetCompiledModelInputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "GetCompiledModelOutputBufferRequirements": (c_void_p, c_size_t, c_size_t, _OUT),
    "CreateManagedTensorBufferFromRequirements": (
        c_void_p, POINTER(RankedTensorType), c_void_p, _OUT,
    ),
    "GetTensorBufferPackedSize": (c_void_p, _COUNT),
    "LockTensorBuffer": (c_void_p, _OUT, c_int),
    "UnlockTensorBuffer": (c_void_p,),
    "RunCompiledModel": (c_void_p, c_size_t, c_size_t, _OUT, c_size_t, _OUT),
}  # fmt: skip
_DESTRUCTORS = (
    "DestroyEnvironment",
    "DestroyModel",
    "DestroyOptions",
    "DestroyCompiledModel",
    "DestroyTensorBuffer",
)
_STATUS = {
    1: "invalid argument",
    2: "out of memory",
    3: "runtime failure",
    5: "unsupported",
    500: "file error",
    501: "invalid model file",
    502: "a library does not load",
    504: "compilation failure",
}


def installed() -> str | None:
    """Return the wheel's version, None where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def folder() -> Path:
    """Return where the wheel's libraries are, without importing the wheel.

    Raises:
        BackendError: If the wheel is missing, of another release, or has no GPU part.
    """
    version = installed()
    if version is None:
        raise BackendError(f"the GPU needs the Python package {PACKAGE} {RELEASE}: not installed")
    if not version.startswith(RELEASE + "."):
        raise BackendError(
            f"the GPU path knows {PACKAGE} {RELEASE}, here is {version}: "
            f"pip install '{PACKAGE}=={RELEASE}.*'"
        )
    spec = importlib.util.find_spec("ai_edge_litert")
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        if (Path(place) / ACCELERATOR).is_file():
            return Path(place)
    raise BackendError(
        f"{PACKAGE} {version} has no {ACCELERATOR}: "
        "this build has no GPU part (there is one for Linux on x86-64 and aarch64)"
    )


@functools.cache
def load() -> Any:
    """Return the functions by name, without the prefix `LiteRt`.

    Those that return a status raise BackendError when it is not 0.

    Raises:
        BackendError: If the wheel is not the one that this module describes.
    """
    place = folder()
    for structure, size in _SIZES.items():
        if ctypes.sizeof(structure) != size:
            raise BackendError(f"{structure.__name__} is not {size} bytes on this machine")
    try:
        return _bind(ctypes.CDLL(str(place / "libLiteRt.so")))
    except (OSError, AttributeError) as error:
        raise BackendError(f"{PACKAGE} {installed()} does not load: {error}") from error


def _bind(library: ctypes.CDLL) -> SimpleNamespace:
    api = SimpleNamespace()
    check: Any = _raise_for_status  # its type in typeshed knows no plain int
    for name, arguments in _PROTOTYPES.items():
        function = library["LiteRt" + name]
        function.argtypes, function.restype = arguments, c_int
        function.errcheck = check
        setattr(api, name, function)
    for name in _DESTRUCTORS:
        function = library["LiteRt" + name]
        function.argtypes, function.restype = (c_void_p,), None
        setattr(api, name, function)
    return api


def _raise_for_status(status: int, function: Any, arguments: Any) -> Any:
    if status:
        words = _STATUS.get(status, "failure")
        raise BackendError(f"{function.__name__}: {words} (LiteRT status {status})")
    return arguments
