"""Quality of service of every topic."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data: the newest counts; hears reliable and best-effort publishers."""
HANDLE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""FrameReady handles. One that got lost would be sent again with the next heartbeat, when the next frame is there already; what
acknowledging costs is a millisecond of every set of seven sensors. Readers count those that they did not hear of."""
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""The last value reaches late subscribers."""
TRACK_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Tracks and markers."""
