"""Every error this package raises.

    PerceptError
    |-- ConfigError              a config key is unknown, missing, of the wrong type or out of range
    |-- InputError               data from a sensor, file or caller cannot be used; the flow goes on without it
    |   |-- ImageError           encoding, size or step of an image is wrong
    |   |-- CloudError           fields, offsets or length of a point cloud are wrong
    |   |-- CalibrationError     a camera calibration or an extrinsic is missing or impossible
    |   |-- StampError           a stamp is zero, in the far future, or goes backwards
    |   `-- RecordingError       a bag or data set is cut, empty, or lacks a topic or file
    |-- TransformError           no transform between two frames
    |-- ModelError               a model folder or artefact cannot be used
    |   |-- ManifestError        model.yaml is wrong
    |   |-- ArtefactRefused      sha256, version, device or ABI does not match; or the file is corrupt
    |   `-- EngineUnavailable    the back end is not installed, or has no device
    |-- InferenceError           a call of a loaded engine failed
    |   |-- TensorMismatch       name, shape or dtype of an input is wrong
    |   |-- DeadlineExceeded     cut off at the deadline
    |   |-- NonFiniteOutput      NaN or infinity came out
    |   `-- EngineClosed         used before load or after close
    |-- ResourceExhausted        a bounded queue, pool or ring is full; ``retry_after_s`` says when to come back
    |-- WorkerDied               a worker process ended or hangs
    `-- SetupError               the machine lacks something; the text says what to do

The text of each names the thing, the value, what was expected, and what to do.
"""

from __future__ import annotations


class PerceptError(Exception):
    """Root of all errors of this package."""


class ConfigError(PerceptError):
    """A config key is unknown, missing, of the wrong type or out of range."""


class InputError(PerceptError):
    """Data from a sensor, file or caller cannot be used.

    reason: short snake_case name under which the drop is counted.
    """

    def __init__(self, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class ImageError(InputError):
    """Encoding, size or step of an image is wrong."""


class CloudError(InputError):
    """Fields, offsets or length of a point cloud are wrong."""


class CalibrationError(InputError):
    """A camera calibration or an extrinsic is missing or impossible."""


class StampError(InputError):
    """A stamp is zero, in the far future, or goes backwards."""


class RecordingError(InputError):
    """A bag or data set is cut, empty, or lacks a topic or file."""


class TransformError(PerceptError):
    """No transform between two frames."""


class ModelError(PerceptError):
    """A model folder or artefact cannot be used."""


class ManifestError(ModelError):
    """``model.yaml`` is wrong."""


class ArtefactRefused(ModelError):
    """sha256, version, device or ABI of an artefact does not match, or the file is corrupt."""


class EngineUnavailable(ModelError):
    """The back end is not installed, or has no device."""


class InferenceError(PerceptError):
    """A call of a loaded engine failed."""


class TensorMismatch(InferenceError):
    """Name, shape or dtype of an input is wrong."""


class DeadlineExceeded(InferenceError):
    """Cut off at the deadline."""


class NonFiniteOutput(InferenceError):
    """NaN or infinity came out of an engine."""


class EngineClosed(InferenceError):
    """An engine was used before load or after close."""


class ResourceExhausted(PerceptError):
    """A bounded queue, pool or ring is full."""

    def __init__(self, message: str, retry_after_s: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class WorkerDied(PerceptError):
    """A worker process ended or hangs."""


class SetupError(PerceptError):
    """The machine lacks something."""
