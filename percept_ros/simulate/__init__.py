"""Sensor simulator with ground truth."""
