"""Telemetry: traces, metrics, logs, profiles."""
