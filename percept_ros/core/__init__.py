"""Pure algorithms on numpy arrays, one module per stage: no clock, no ROS, no vendor."""
