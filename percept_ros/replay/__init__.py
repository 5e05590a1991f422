"""Bags: reading, writing, converting, replaying, reporting."""
