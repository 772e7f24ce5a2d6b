"""What an encoded image says of itself before it is decoded: kind, size, end and EXIF data.

The size must be known before memory is taken for it: a PNG of 140 kB may unfold to 400 MB. The
segments tell whether a file is whole. Its last bytes do not: cameras leave the rest of a buffer
behind a picture, and phones append a video.

Only headers are looked at, so that this costs some microseconds, and an image that is too large to
be decoded can still tell where it was taken.
"""

import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from vpr_ros.core.errors import ImageError
from vpr_ros.core.lfs import is_lfs_content
from vpr_ros.core.plurals import counted

Content: TypeAlias = bytes | mmap.mmap
"""An encoded image, in memory or mapped from a file."""

_JPEG, _PNG, _TIFF = b'\xff\xd8', b'\x89PNG\r\n\x1a\n', (b'II*\0', b'MM\0*')
_END_OF_JPEG, _START_OF_SCAN, _APP1 = b'\xff\xd9', 0xDA, 0xE1
_TIFF_SIDES = 256, 257, 322, 323  # entries of width and height, of the image and of its tiles
_TIFF_FORMS = {3: 'H', 4: 'I'}  # of the kinds that TIFF 6.0 allows them
_LARGEST_TILE = 1 << 24  # pixels of a tile that is larger than its image
_NO_FRAMES = (0xC4, 0xC8, 0xCC)  # tables, an extension and conditioning, among the frame markers
_IN_ROWS = (0xC0, 0xC1)  # frames that one scan may bring row by row; others are held as a whole
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a segment
_MOST_SEGMENTS = 100_000  # of a JPEG before its picture, or chunks of a PNG
_MOST_EXIF_BYTES = 1 << 20
_EXIF, _RAW_PROFILE = b'Exif\0\0', b'Raw profile type exif'
_NETPBM = re.compile(rb'P[1-6](?:\s|#[^\r\n]*[\r\n])+(\d{1,9})(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})\s')
_BOXES = {
    **dict.fromkeys((b'heic', b'heix', b'hevc', b'heim', b'heis', b'mif1', b'msf1'), 'HEIC'),
    **dict.fromkeys((b'avif', b'avis'), 'AVIF'),
    b'crx ': 'a camera raw file (CR3)',
}  # major brands of ISO files


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is known of an image before it is decoded."""

    kind: str  # 'JPEG', 'PNG', ...
    width_px: int
    height_px: int
    is_whole: bool = True  # its last segment is there; other kinds than JPEG and PNG do not tell
    is_in_rows: bool = False  # a JPEG that its decoder shrinks without ever holding all of it


def read_header(content: Content, *, source: str = 'image') -> ImageHeader:
    """Kind, size and completeness of an image.

    Raises ImageError, which begins with `source`, for a kind that cannot be decoded here, and
    says what it is instead where that is known.
    """
    for begins, of_kind in _READERS:
        if begins(content[:12]):
            try:
                return of_kind(content)
            except (struct.error, IndexError, ValueError) as error:
                raise ImageError(f'{source}: {len(content)} bytes with a broken header') from error
    raise ImageError(f'{source}: {_told(content)}')


def exif_block(content: Content) -> bytes | None:
    """The EXIF data of a JPEG, PNG or WebP as a TIFF structure; None without any.

    TIFF files are such a structure themselves. Nothing is decompressed but text of some kB.
    """
    if content[:2] == _JPEG:
        for marker, start, end in _jpeg_segments(content):
            if marker == _APP1 and content[start : start + 6] == _EXIF:
                return bytes(content[start + 6 : end])
    elif content[:8] == _PNG:
        return _exif_of_png(content)
    elif _is_webp(content[:12]):
        for kind, start, end in _riff_chunks(content):
            if kind == b'EXIF':
                return bytes(content[start : min(end, start + _MOST_EXIF_BYTES)]).removeprefix(
                    _EXIF
                )
    return None


def is_tiff(content: Content) -> bool:
    """Whether a file is a TIFF, which most camera raw files are as well."""
    return content[:4] in _TIFF


def _told(content: Content) -> str:
    """Why a file is no image that can be decoded here."""
    count = len(content)
    if is_lfs_content(bytes(content[:100])):
        return 'a Git LFS pointer instead of the image; fetch it with `git lfs pull`'
    if content[4:8] == b'ftyp':
        found = _BOXES.get(bytes(content[8:12]), 'a film (MP4)')
        return f'{found}, which is not supported; convert it to JPEG'
    if not count or not bytes(content[:4096]).strip(b'\0'):
        return f'{counted(count, "byte")}, all of them zero; the file was not written to its end'
    return (
        f'{counted(count, "byte is", "bytes are")} not an image of a supported kind '
        '(JPEG, PNG, WebP, TIFF, BMP, GIF, PGM, PPM)'
    )


# JPEG (ITU-T T.81, annex B)


def _jpeg(content: Content) -> ImageHeader:
    width = height = 0
    frame = -1
    whole = in_one_scan = False
    parts = b''  # how many colours the frame has
    for marker, start, _ in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES and frame < 0:
            frame = marker
            height, width = struct.unpack('>HH', content[start + 1 : start + 5])
            parts = content[start + 5 : start + 6]
        elif marker == _START_OF_SCAN:
            whole = _has_end(content, start)
            in_one_scan = content[start : start + 1] == parts
    return ImageHeader('JPEG', width, height, whole, frame in _IN_ROWS and in_one_scan)


def _has_end(jpeg: Content, scan: int) -> bool:
    """Whether a picture whose first scan begins at `scan` has its end mark.

    Within a scan 0xFF is followed by zero or a restart mark, so that no other bytes look like it.
    Most pictures end where their data ends; the search is for those with something behind.
    """
    return jpeg[-2:] == _END_OF_JPEG or jpeg.find(_END_OF_JPEG, scan) >= 0


def _jpeg_segments(jpeg: Content) -> Iterator[tuple[int, int, int]]:
    """Marker, and where the content of its segment starts and ends, up to the first scan.

    Bytes between two segments are skipped, as decoders do.
    """
    place = 2
    for _ in range(_MOST_SEGMENTS):
        place = jpeg.find(b'\xff', place)
        if place < 0 or place + 4 > len(jpeg):
            return
        marker = jpeg[place + 1]
        if marker in (0x00, 0xFF) or marker in _ALONE:
            place += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return
        length = int.from_bytes(jpeg[place + 2 : place + 4], 'big')
        yield marker, place + 4, min(place + 2 + length, len(jpeg))
        if marker == _START_OF_SCAN:
            return
        place += 2 + max(length, 2)


# PNG


def _png(content: Content) -> ImageHeader:
    if content[12:16] != b'IHDR':
        raise ValueError('no IHDR')
    width, height = struct.unpack('>II', content[16:24])
    whole = any(kind == b'IEND' for kind, _, _ in _png_chunks(content))
    return ImageHeader('PNG', width, height, whole)


def _png_chunks(png: Content) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the chunks that are there as a whole."""
    place = len(_PNG)
    for _ in range(_MOST_SEGMENTS):
        if place + 12 > len(png):
            return
        length = int.from_bytes(png[place : place + 4], 'big')
        start = place + 8
        if start + length + 4 > len(png):
            return
        yield bytes(png[place + 4 : start]), start, start + length
        place = start + length + 4


def _exif_of_png(png: Content) -> bytes | None:
    """EXIF data from the chunk for it, or else from the text in which ImageMagick keeps it."""
    profile = None
    for kind, start, end in _png_chunks(png):
        if end - start > _MOST_EXIF_BYTES:
            continue
        if kind == b'eXIf':
            return bytes(png[start:end]).removeprefix(_EXIF)
        if kind in (b'tEXt', b'zTXt') and png[start : start + len(_RAW_PROFILE)] == _RAW_PROFILE:
            profile = kind, bytes(png[start + len(_RAW_PROFILE) + 1 : end])
    return None if profile is None else _unfolded(*profile)


def _unfolded(kind: bytes, text: bytes) -> bytes | None:
    """Hexadecimal digits behind a name and a length, each on a line of its own."""
    try:
        if kind == b'zTXt':
            text = zlib.decompressobj().decompress(text[1:], 2 * _MOST_EXIF_BYTES)
        return bytes.fromhex(b''.join(text.split()[2:]).decode('ascii')).removeprefix(_EXIF)
    except (zlib.error, ValueError):
        return None


# Other kinds, whose headers say no more than a size


def _webp(content: Content) -> ImageHeader:
    kind, start, _ = next(_riff_chunks(content), (b'', 0, 0))
    if kind == b'VP8X':
        sides = content[start + 4 : start + 10]
        width, height = (1 + int.from_bytes(sides[at : at + 3], 'little') for at in (0, 3))
    elif kind == b'VP8L':
        packed = int.from_bytes(content[start + 1 : start + 5], 'little')
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b'VP8 ':
        width, height = (
            side & 0x3FFF for side in struct.unpack('<HH', content[start + 6 : start + 10])
        )
    else:
        raise ValueError(f'the chunk {kind!r} holds no picture')
    return ImageHeader('WebP', width, height)


def _riff_chunks(riff: Content) -> Iterator[tuple[bytes, int, int]]:
    place = 12
    for _ in range(_MOST_SEGMENTS):
        if place + 8 > len(riff):
            return
        length = int.from_bytes(riff[place + 4 : place + 8], 'little')
        yield bytes(riff[place : place + 4]), place + 8, min(place + 8 + length, len(riff))
        place += 8 + length + length % 2


def _bmp(content: Content) -> ImageHeader:
    if int.from_bytes(content[14:18], 'little') == 12:
        return ImageHeader('BMP', *struct.unpack('<HH', content[18:22]))
    width, height = struct.unpack('<ii', content[18:26])
    return ImageHeader('BMP', abs(width), abs(height))


def _gif(content: Content) -> ImageHeader:
    return ImageHeader('GIF', *struct.unpack('<HH', content[6:10]))


def _netpbm(content: Content) -> ImageHeader:
    found = _NETPBM.match(content[:4096])
    if found is None:
        raise ValueError('no size')
    return ImageHeader('PGM or PPM', int(found[1]), int(found[2]))


def _tiff(content: Content) -> ImageHeader:
    """Read the size from the first directory's entries (TIFF 6.0, section 2)."""
    order = '<' if content[:2] == b'II' else '>'
    (start,) = struct.unpack(f'{order}I', content[4:8])
    (count,) = struct.unpack(f'{order}H', content[start : start + 2])
    sides: dict[int, int] = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack(f'{order}HH', content[entry : entry + 4])
        if tag in _TIFF_SIDES:
            if tag in sides or kind not in _TIFF_FORMS:
                raise ValueError('decoders may find another size')
            form = order + _TIFF_FORMS[kind]
            (sides[tag],) = struct.unpack_from(form, content[entry + 8 : entry + 12])
    width, height, across, down = (sides.get(tag, 0) for tag in _TIFF_SIDES)
    if across * down > max(width * height, _LARGEST_TILE):
        raise ValueError('a tile takes more memory than the image')
    return ImageHeader('TIFF', width, height)


def _is_webp(start: bytes) -> bool:
    return start[:4] == b'RIFF' and start[8:12] == b'WEBP'


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[Content], ImageHeader]], ...] = (
    (lambda start: start[:2] == _JPEG, _jpeg),
    (lambda start: start[:8] == _PNG, _png),
    (_is_webp, _webp),
    (lambda start: start[:4] in _TIFF, _tiff),
    (lambda start: start[:2] == b'BM', _bmp),
    (lambda start: start[:6] in (b'GIF87a', b'GIF89a'), _gif),
    (lambda start: start[:1] == b'P' and start[1:2] in b'123456' and len(start) > 2, _netpbm),
)
