"""Beam elevations of the usual spinning LiDARs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from percept_ros.types import F64

# fmt: off
HDL64_DEGREES = (
    2.23, 1.88, 1.62, 1.19, 0.91, 0.51, 0.24, -0.12, -0.47, -0.86, -1.15, -1.49,
    -1.85, -2.19, -2.51, -2.86, -3.14, -3.49, -3.74, -4.12, -4.40, -4.73, -5.01, -5.32,
    -5.67, -5.99, -6.28, -6.55, -6.91, -7.27, -7.51, -7.88, -8.45, -8.98, -9.44, -9.83,
    -10.28, -10.88, -11.38, -11.79, -12.24, -12.66, -13.19, -13.70, -14.27, -14.70, -15.20, -15.56,
    -16.17, -16.69, -17.25, -17.71, -18.20, -18.59, -19.05, -19.59, -20.10, -20.70, -21.18, -21.58,
    -22.02, -22.64, -23.17, -23.64,
)
# fmt: on
"""Fitted ring by ring to the far returns of a recorded drive, as seen from the origin of the point cloud."""


def _table(degrees: npt.ArrayLike) -> F64:
    return np.radians(np.sort(np.asarray(degrees, np.float64))[::-1])


BEAM_TABLES: dict[str, F64] = {
    "vlp16": _table(np.linspace(-15.0, 15.0, 16)),
    "hdl32": _table(np.linspace(-30.67, 10.67, 32)),
    "vlp32": _table(
        [
            -25.0,
            -15.64,
            -11.31,
            -8.84,
            -7.25,
            -6.15,
            -5.33,
            *np.linspace(-4.67, 1.33, 19),
            1.67,
            2.33,
            3.33,
            4.67,
            7.0,
            15.0,
        ]
    ),
    "pandar40": _table([*np.linspace(-25.0, -7.0, 9), *np.linspace(-6.0, 2.0, 25), 3.0, 5.0, 8.0, 11.0, 13.0, 15.0]),
    "hdl64": _table(HDL64_DEGREES),
    "uniform64": _table(np.linspace(-22.5, 22.5, 64)),
    "vls128": _table([*np.linspace(-25.0, -7.0, 32), *np.linspace(-6.67, 4.0, 80), *np.linspace(4.5, 15.0, 16)]),
}
"""Name -> (B,) elevations, rad, descending."""

BY_BEAMS = {16: "vlp16", 32: "hdl32", 40: "pandar40", 64: "hdl64", 128: "vls128"}
"""Number of beams -> the usual sensor that has them."""
