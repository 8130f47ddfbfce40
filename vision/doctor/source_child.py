"""Takes one frame from a source; run as `python -m …source_child CAMERA SECTION`."""

from __future__ import annotations

import json
import sys

from vision import registry
from vision.errors import EndOfStream, SourceError
from vision.origins import Origins


def main() -> int:
    """Print the frame's size, or on stderr why there is none."""
    camera, section = sys.argv[1], json.loads(sys.argv[2])
    plug_in, config = registry.section("source", registry.SOURCES, section, Origins(), ())
    source = plug_in(config, camera=camera)
    try:
        source.open()
        height, width = source.read().image.shape[:2]
    except SourceError as error:
        print(error, file=sys.stderr)  # noqa: T201  (the parent reads it)
        return 1
    except EndOfStream:
        print("it has no frame", file=sys.stderr)  # noqa: T201  (the parent reads it)
        return 1
    finally:
        source.close()
    print(f"{width}x{height}")  # noqa: T201  (the parent reads it)
    return 0


if __name__ == "__main__":
    sys.exit(main())
