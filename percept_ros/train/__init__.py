"""Training recipes of the shipped models (PyTorch, an optional extra)."""
