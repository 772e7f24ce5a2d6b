"""placeholder until the full decoder lands"""

from array import array
import numpy as np, cv2
from vpr_ros.core.image import decode, check
from vpr_ros.core.errors import ImageError


def to_rgb(m):
    if hasattr(m, 'format'):
        return decode(m.data, source=f'image')
    n = {'rgb8': 3, 'bgr8': 3, 'mono8': 1}.get(m.encoding)
    if n is None:
        raise ImageError(f'{m.encoding}: unknown encoding')
    if m.width == 0 or len(m.data) == 0:
        raise ImageError('image without data')
    if m.step < m.width * n:
        raise ImageError(f'step {m.step}')
    if len(m.data) != m.step * m.height:
        raise ImageError(f'{len(m.data)} bytes')
    a = (
        np.frombuffer(m.data, np.uint8)
        .reshape(m.height, m.step)[:, : m.width * n]
        .reshape(m.height, m.width, n)
    )
    if n == 1:
        a = cv2.cvtColor(np.ascontiguousarray(a), cv2.COLOR_GRAY2RGB)
    elif m.encoding == 'bgr8':
        a = cv2.cvtColor(np.ascontiguousarray(a), cv2.COLOR_BGR2RGB)
    return check(a)


def rgb_to_image(p, kind, header):
    return kind(
        header=header,
        height=p.shape[0],
        width=p.shape[1],
        encoding='rgb8',
        step=p.shape[1] * 3,
        data=array('B', p.tobytes()),
    )
