"""A camera's calibration as a posed folder keeps it and ROS publishes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr_ros.core.camera import CameraCalibration, camera_calibration
from vpr_ros.core.documents import parse_yaml, read_bytes
from vpr_ros.core.errors import DocumentError, DriveError


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """A calibration in the terms of sensor_msgs/CameraInfo, matrices row by row."""

    width: int
    height: int
    distortion_model: str
    distortion: tuple[float, ...]
    camera: tuple[float, ...]  # [9]
    rectification: tuple[float, ...]  # [9]
    projection: tuple[float, ...]  # [12]

    @classmethod
    def read(cls, file: Path) -> 'CameraInfo':
        """From the YAML that ROS's camera_calibration writes; raises DriveError.

        A file written by hand may lack the rectification and the projection, which only stereo
        cameras need.
        """
        try:
            found = parse_yaml(read_bytes(file))
            size = int(found['image_width']), int(found['image_height'])
            distorted = str(found['distortion_model']), _numbers(found['distortion_coefficients'])
            matrix = _numbers(found['camera_matrix'])
            unturned = {'data': (1, 0, 0, 0, 1, 0, 0, 0, 1)}
            unmoved = {'data': (*matrix[:3], 0, *matrix[3:6], 0, *matrix[6:], 0)}
            camera = cls(
                *size,
                *distorted,
                matrix,
                _numbers(found.get('rectification_matrix', unturned)),
                _numbers(found.get('projection_matrix', unmoved)),
            )
        except (OSError, DocumentError, KeyError, OverflowError, TypeError, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise DriveError(f'{file}: not a ROS camera calibration ({reason})') from error
        sizes = [len(camera.camera), len(camera.rectification), len(camera.projection)]
        if sizes != [9, 9, 12]:
            raise DriveError(f'{file}: matrices of {sizes} numbers, expected 9, 9 and 12')
        return camera

    @property
    def calibration(self) -> CameraCalibration:
        """What it tells of the camera."""
        return camera_calibration(
            self.width,
            self.height,
            matrix=self.camera,
            distortion_model=self.distortion_model,
            distortion=self.distortion,
        )


def _numbers(matrix: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in matrix['data'])
