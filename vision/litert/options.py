"""Compile options. LiteRT takes them as TOML text and ignores unknown keys without a word."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Literal

from vision.litert.capi import Hardware

if TYPE_CHECKING:
    from vision.litert.kernel_cache import KernelCache

Precision = Literal["fp16", "fp32"]

_PRECISION = {"fp16": 1, "fp32": 2}  # LiteRtDelegatePrecision

_libc = ctypes.CDLL(None)
_libc.strdup.restype = c_void_p
_FREE = ctypes.cast(_libc.free, c_void_p)


def gpu_toml(precision: Precision, cache: KernelCache | None) -> str:
    """Return the text for `gpu_options`.

    The cache holds compiled programs only: with the weights in it, LiteRT serves an
    old model's numbers under the same key.
    """
    options: dict[str, Any] = {"precision": _PRECISION[precision]}
    if cache is not None:
        options["serialization_dir"] = str(cache.folder)
        options["model_cache_key"] = cache.name
        options["cache_only_compiled_programs"] = True
    # A JSON scalar is a TOML scalar.
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())


def create(api: Any, gpu_text: str) -> c_void_p:
    """Return LiteRtOptions for the GPU, with the CPU for what the GPU cannot do."""
    options = c_void_p()
    api.CreateOptions(byref(options))
    api.SetOptionsHardwareAccelerators(options, Hardware.GPU | Hardware.CPU)
    payload = c_void_p()
    text = c_void_p(_libc.strdup(gpu_text.encode()))
    api.CreateOpaqueOptions(b"gpu_options", text, _FREE, byref(payload))
    api.AddOpaqueOptions(options, payload)
    return options
