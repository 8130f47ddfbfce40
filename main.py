#!/usr/bin/env python3
"""The front door: `python main.py COMMAND`, from any folder."""

import sys

from vision.cli import main

if __name__ == "__main__":
    sys.exit(main())
