"""Image folders to read: pictures, poses.csv, and photos with EXIF tags."""

import cv2
import numpy as np
from PIL import Image

COLUMNS = 'image,stamp_s,x,y,z,qx,qy,qz,qw'


def picture(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((24, 32, 3), value, np.uint8))
    return path


def posed_folder(folder, *rows, header=COLUMNS, images=None):
    """Rows are lines of poses.csv; by default three images along x."""
    rows = rows or [f'{index}.jpg,{index / 10},{index},0,0,0,0,0,1' for index in range(3)]
    for name in images or [row.split(',')[0] for row in rows]:
        picture(folder / 'images' / name)
    (folder / 'poses.csv').write_text('\n'.join([header, *rows]) + '\n')
    return folder


def known_at(drive):
    """Whether each image has a pose, however large a gap may be."""
    stamps_ns = np.array([frame.stamp_ns for frame in drive.frames()])
    return drive.trajectory.at(stamps_ns, max_gap_s=1e9)[1].tolist()


def names(drive):
    return [frame.name for frame in drive.frames()]


# Tags of EXIF 2.32; Pillow has names for them from 9.4 on.
GPS_TAG, SOFTWARE_TAG = 0x8825, 0x0131
_EXIF, _IMAGE_DIRECTION, _TAKEN = 0x8769, 17, 0x9003


def photo(path, degrees=None, *, heading=None, taken=None, latitude_ref='N'):
    """A JPEG with EXIF tags; degrees: (latitude, longitude)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new('RGB', (32, 24), (90, 90, 90))
    exif = Image.Exif()
    if degrees is not None:
        gps = {}
        for tag, ref, value, letter in ((2, 1, degrees[0], latitude_ref), (4, 3, degrees[1], 'E')):
            whole = int(value)
            minutes = (value - whole) * 60
            gps[tag], gps[ref] = (
                (float(whole), float(int(minutes)), (minutes - int(minutes)) * 60),
                letter,
            )
        if heading is not None:
            gps[_IMAGE_DIRECTION] = heading
        exif[GPS_TAG] = gps
    if taken is not None:
        exif[_EXIF] = {_TAKEN: taken}
    image.save(path, exif=exif)
