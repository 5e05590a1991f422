"""Makes the CMake files of the ROS 2 wheels name this interpreter instead of the one they were built with."""

import re
import sys
import sysconfig
from pathlib import Path


def mend(prefix: Path) -> int:
    """Rewrite baked-in include paths under ``prefix``/share; returns how many files changed."""
    import numpy

    python = sysconfig.get_paths()["include"]
    arrays = numpy.get_include()
    changed = 0
    for file in (prefix / "share").rglob("*.cmake"):
        text = file.read_text(encoding="utf-8")
        fixed = re.sub(r"/opt/python/[^/;\"]+/lib/python[\d.]+/site-packages/numpy/_?core/include", arrays, text)
        fixed = re.sub(r"/opt/python/[^/;\"]+/include/python[\d.]+", python, fixed)
        if fixed != text:
            file.write_text(fixed, encoding="utf-8")
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"mended {mend(Path(sys.argv[1]))} CMake files")
