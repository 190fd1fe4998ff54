"""Images as a network sees them: the same numbers in training and in prediction, from the same bytes.

Only numpy and pillow are needed. What is defined here for every image that forgia reads:

- what it is, its first bytes say, never its name: PNG, JPEG or BMP, of several frames the first;
- it is turned upright as its EXIF orientation asks;
- 16 bits a channel: the upper eight count; a palette is looked up; CMYK becomes RGB without a colour profile;
- what is transparent is black; RGB becomes grey by the weights of ITU-R BT.601;
- the longer side is scaled to the asked size, the aspect is kept, and what is left over is black on both sides alike.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from forgia.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
R = TypeVar("R")
Pixels = npt.NDArray[np.uint8]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
"""Names in a folder that are taken for images."""
FORMATS: Mapping[bytes, tuple[str, str, str]] = {
    b"\x89PNG\r\n\x1a\n": ("PNG", "PIL.PngImagePlugin", "PngImageFile"),
    b"\xff\xd8\xff": ("JPEG", "PIL.JpegImagePlugin", "JpegImageFile"),
    b"BM": ("BMP", "PIL.BmpImagePlugin", "BmpImageFile"),
}
"""First bytes → format, and pillow's reader of it; no other reader of pillow ever sees the bytes.

Source: PNG 3rd edition §5.2, ITU-T T.81 annex B (SOI and the marker after it), Windows BITMAPFILEHEADER
"""
MAX_PIXELS = 89_478_485
"""Width times height from which on an image is taken for a decompression bomb.

Source: Image.MAX_IMAGE_PIXELS of pillow 13: what fills a quarter of a GiB as RGB
"""
MAX_BYTES = 512 << 20
"""A longer file is no photograph of a part."""
UPRIGHT = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270"} | {
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""EXIF orientation → what turns the image upright. Source: CIPA DC-008 (Exif 2.32), table 6, tag 0x0112"""
ORIENTATION = 0x0112
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError)
"""What pillow's readers raise on bytes that are not what they should be, beside struct's and zlib's own errors."""


def require_pillow() -> None:
    """Raises: UserError — pillow is not installed, and how to install it."""
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError("reading images needs pillow", hint="pip install 'forgia[images]'") from error


def is_image_name(name: str) -> bool:
    """Whether a file of this name in a folder is an image."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def decode(data: bytes) -> Image:
    """The upright image, read to its last pixel. Raises: UserError — why it cannot be used, in a few words."""
    reader = _reader(data)
    try:
        image: Image = reader(io.BytesIO(data))
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UserError(f"claims {width} x {height} pixels; forgia reads up to {MAX_PIXELS:,}")
        if image.mode not in TO_PLAIN:
            raise UserError(f"pixels of kind {image.mode} have no defined brightness; save it with 8 bits a channel")
        image.load()
    except (*DAMAGED, struct.error, zlib.error) as error:
        raise UserError(f"damaged or cut short: {_first_line(error)}") from error
    return _upright(image)


def fitted(image: Image, *, size: int, channels: int) -> Pixels:
    """The image as a network sees it. Shapes: (channels, size, size); channels is 1 for grey, 3 for RGB."""
    from PIL.Image import Resampling

    plain = TO_PLAIN[image.mode](image).convert("L" if channels == 1 else "RGB")
    longest = max(plain.size)
    width, height = (max(1, round(side * size / longest)) for side in plain.size)
    scaled = np.asarray(plain.resize((width, height), Resampling.BILINEAR), dtype=np.uint8)
    canvas = np.zeros((size, size, channels), dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = scaled.reshape(height, width, channels)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1))


def pixels(data: bytes, *, size: int, channels: int) -> Pixels:
    """An encoded image as a network sees it. Shapes: (channels, size, size). Raises: UserError — as ``decode``."""
    return fitted(decode(data), size=size, channels=channels)


class Workers:
    """Threads that look at images side by side: pillow's readers let other threads run."""

    def __init__(self, threads: int | None = None) -> None:
        """Args: threads — None: one for each core this process may use, eight at most."""
        self.threads = threads or min(8, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="forgia-images")

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The work done on each item, in their order; what pillow has to say of odd metadata is not heard."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(self._pool.map(work, items))

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()


def as_input(found: Pixels) -> npt.NDArray[np.float32]:
    """Brightness from 0 to 1, which is what the network takes."""
    return found.astype(np.float32) / np.float32(255)


def _reader(data: bytes) -> Callable[[io.BytesIO], Any]:
    if not data:
        raise UserError("the file is empty")
    if len(data) > MAX_BYTES:
        raise UserError(f"{len(data):,} bytes; forgia reads images up to {MAX_BYTES:,}")
    for magic, (_, module, name) in FORMATS.items():
        if data.startswith(magic):
            reader: Callable[[io.BytesIO], Any] = getattr(importlib.import_module(module), name)
            return reader
    raise UserError(f"not one of the formats that forgia reads: {', '.join(name for name, *_ in FORMATS.values())}")


def _upright(image: Image) -> Image:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except (*DAMAGED, struct.error):
        return image  # an unreadable note beside the pixels takes nothing from them
    if orientation not in UPRIGHT:
        return image
    from PIL.Image import Transpose

    return image.transpose(Transpose[UPRIGHT[orientation]])


def _on_black(image: Image) -> Image:
    from PIL.Image import alpha_composite, new

    layered = image.convert("RGBA")
    ground = new("RGBA", layered.size, (0, 0, 0, 255))
    return alpha_composite(ground, layered).convert("RGB")


def _upper_byte(image: Image) -> Image:
    from PIL.Image import fromarray

    return fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))


def _palette(image: Image) -> Image:
    return _on_black(image) if "transparency" in image.info else image.convert("RGB")


def _as_it_is(image: Image) -> Image:
    return _palette(image) if "transparency" in image.info else image


TO_PLAIN: Mapping[str, Callable[[Image], Image]] = {
    **dict.fromkeys(("1", "L", "RGB"), _as_it_is),
    **dict.fromkeys(("P", "CMYK", "YCbCr", "LAB"), _palette),
    **dict.fromkeys(("LA", "PA", "RGBA"), _on_black),
    **dict.fromkeys(("I;16", "I;16L", "I;16B"), _upper_byte),
}
"""Pillow's kind of pixels → how they become grey or RGB of 8 bits."""


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
