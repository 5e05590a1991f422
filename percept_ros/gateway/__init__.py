"""Optional HTTP front."""
