"""The degradation ladder, circuit breakers, semantic checks and drifting baselines."""
