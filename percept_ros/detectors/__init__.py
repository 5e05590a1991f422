"""Joins core and inference: a detector turns a sensor set into detections."""
