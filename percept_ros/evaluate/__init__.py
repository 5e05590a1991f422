"""Metrics: tracking, detection, prediction, latency."""
