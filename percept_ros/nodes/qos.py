"""Quality of service of every topic."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data: the newest counts; hears reliable and best-effort publishers."""
HANDLE_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""FrameReady handles: small, none may be lost."""
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""The last value reaches late subscribers."""
TRACK_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
"""Tracks and markers."""
