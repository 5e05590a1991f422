"""Soak: real processes under planned faults, watched and scored from outside. Pure parts; nodes/soak.py runs them."""
