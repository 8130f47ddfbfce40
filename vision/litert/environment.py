"""The one LiteRT environment of the process: made for the first model, gone after the last.

Destroying it before its models crashes, so nobody holds it but through here.
"""

from __future__ import annotations

import os
from ctypes import byref, c_void_p
from typing import Any

from vision.litert import capi
from vision.litert.mutex import Mutex

_WARNING = 2
_SILENT = 4


class _Owner:
    def __init__(self) -> None:
        self.mutex = Mutex()
        self.handle = c_void_p()
        self.users = 0
        self.min_severity = _SILENT


_owner = _Owner()


def speak_up() -> None:
    """Let LiteRT write its warnings to stderr, from the next environment on."""
    _owner.min_severity = _WARNING


def acquire(api: Any) -> tuple[c_void_p, bool]:
    """Return the environment and whether it is new; give it back with `release`.

    Raises:
        BackendError: If LiteRT cannot make one.
    """
    with _owner.mutex:
        is_new = _owner.users == 0
        if is_new:
            _owner.handle = _create(api)
        _owner.users += 1
        return _owner.handle, is_new


def release(api: Any) -> None:
    """Give the environment back; the last one destroys it."""
    with _owner.mutex:
        _owner.users -= 1
        if _owner.users == 0:
            api.DestroyEnvironment(_owner.handle)


def _create(api: Any) -> c_void_p:
    # Without this LiteRT writes a line about OpenCL to stdout, which belongs to the user.
    os.environ.setdefault("LITERT_DISABLE_OPENCL", "1")
    place = capi.AnyValue(capi.AnyType.STRING)
    place.value.str_value = str(capi.folder()).encode()
    severity = capi.AnyValue(capi.AnyType.INT)
    severity.value.int_value = _owner.min_severity
    options = (capi.EnvOption * 2)(
        capi.EnvOption(capi.EnvTag.RUNTIME_LIBRARY_DIR, place),
        capi.EnvOption(capi.EnvTag.MIN_LOGGER_SEVERITY, severity),
    )
    handle = c_void_p()
    api.CreateEnvironment(len(options), options, byref(handle))
    return handle
