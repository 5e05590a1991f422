#!/usr/bin/env python3
"""Prints a lock file without the ROS 2 wheels, for machines where a ROS 2 distribution is sourced."""

import re
import sys
from pathlib import Path


def without_ros(text: str) -> str:
    """Drop every ``ros-*`` and ``ros_*`` requirement with its continuation lines."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    return "".join(block for block in blocks if not re.match(r"ros[-_](?!bags)", block))


if __name__ == "__main__":
    sys.stdout.write(without_ros(Path(sys.argv[1]).read_text(encoding="utf-8")))
