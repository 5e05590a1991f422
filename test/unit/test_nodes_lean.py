"""Message packages that load what is asked for: in a process of its own, for what is imported stays so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

_USE = """
import sys
from percept_ros.nodes.lean import lean_imports
lean_imports()
lean_imports()
assert sum(type(finder).__name__ == "_Messages" for finder in sys.meta_path) == 1
import sensor_msgs.msg
from sensor_msgs.msg import Image
from rclpy.serialization import deserialize_message, serialize_message
sent = Image(width=3, height=2)
sent.header.frame_id = "cam"
got = deserialize_message(serialize_message(sent), Image)
assert (got.width, got.height, got.header.frame_id) == (3, 2, "cam")
assert sensor_msgs.msg.Image is Image and "Imu" in dir(sensor_msgs.msg)
assert "sensor_msgs.msg._imu" not in sys.modules
assert sensor_msgs.msg.Imu().header.frame_id == "" and "sensor_msgs.msg._imu" in sys.modules
from lifecycle_msgs.srv import ChangeState
assert ChangeState.Request().transition.id == 0
try:
    from sensor_msgs.msg import Nothing
except ImportError as exc:
    print(exc)
"""

_OTHER = """
import sys
sys.path.insert(0, {folder!r})
from percept_ros.nodes.lean import lean_imports
lean_imports()
import own.msg
print(own.msg.MADE, own.msg.Thing.__name__)
"""


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_message_is_imported_when_it_is_asked_for() -> None:
    assert "cannot import name 'Nothing' from 'sensor_msgs.msg'" in run(_USE)


def test_a_package_that_does_more_than_import_names_is_left_alone(tmp_path: Path) -> None:
    package = tmp_path / "own" / "msg"
    package.mkdir(parents=True)
    (tmp_path / "own" / "__init__.py").touch()
    (package / "_thing.py").write_text("class Thing: pass\n")
    (package / "__init__.py").write_text("from own.msg._thing import Thing  # noqa: F401\nMADE = 7\n")
    assert run(_OTHER.format(folder=str(tmp_path))) == "7 Thing\n"
