"""Shared-memory rings, worker processes, real-time scheduling, garbage-collector control."""
