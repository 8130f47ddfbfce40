"""Prints what a video device says of itself; run as `python -m …camera_child DEVICE`."""

from __future__ import annotations

import fcntl
import os
import struct
import sys

# struct v4l2_capability and VIDIOC_QUERYCAP of linux/videodev2.h.
_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_QUERYCAP = 0x80685600
_HAS_DEVICE_CAPS = 0x80000000
_CAPTURE = 0x00000001 | 0x00001000  # single-planar, multi-planar


def main() -> int:
    """Print `capture` or `other`, and the device's name."""
    answer = bytearray(_CAPABILITY.size)
    try:
        device = os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _QUERYCAP, answer)
    except OSError as error:
        print(error.strerror, file=sys.stderr)  # noqa: T201  (the parent reads it)
        return 1
    _, card, _, _, whole, own = _CAPABILITY.unpack(answer)
    captures = (own if whole & _HAS_DEVICE_CAPS else whole) & _CAPTURE
    name = card.partition(b"\0")[0].decode(errors="replace")
    print("capture" if captures else "other", name)  # noqa: T201  (the parent reads it)
    return 0


if __name__ == "__main__":
    sys.exit(main())
