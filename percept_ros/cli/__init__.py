"""The percept command."""
