"""Images as numbers: every kind of pixel is defined, nothing hostile gets further than a reason."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forgia import images
from forgia.errors import UserError

GREY = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    place = io.BytesIO()
    image.save(place, kind, **options)
    return place.getvalue()


def grey(high: int = 255) -> Image.Image:
    return Image.fromarray((GREY * high // GREY.max()).astype(np.uint8))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_the_aspect_is_kept_and_what_is_left_over_is_black() -> None:
    white = Image.new("L", (40, 20), 255)
    found = images.pixels(encoded(white), size=16, channels=1)
    assert found.shape == (1, 16, 16)
    assert (found[0, 4:12] == 255).all()
    assert (found[0, :4] == 0).all()
    assert (found[0, 12:] == 0).all()


def test_a_smaller_image_is_scaled_up_and_a_larger_one_loses_no_brightness() -> None:
    found = images.pixels(encoded(grey()), size=64, channels=1)
    assert found[0, 13:51].mean() == pytest.approx(np.asarray(grey()).mean(), abs=1.5)
    small = images.pixels(encoded(grey()), size=10, channels=1)
    assert small[0, 2:8].mean() == pytest.approx(np.asarray(grey()).mean(), abs=1.5)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_every_exif_orientation_shows_the_same_upright_image(orientation: int) -> None:
    upright = grey()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's numbers of the inverse turns
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    note = Image.Exif()
    note[images.ORIENTATION] = orientation
    found = images.decode(encoded(stored, "PNG", exif=note))
    assert np.array_equal(np.asarray(found), np.asarray(upright))


def test_sixteen_bits_count_by_their_upper_byte() -> None:
    deep = Image.fromarray((GREY * 65).astype(np.uint16))
    found = images.decode(encoded(deep))
    assert np.array_equal(np.asarray(images.TO_PLAIN[found.mode](found)), (GREY * 65 >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_kind_of_pixel_gives_the_same_white(mode: str) -> None:
    white = Image.new("L", (8, 8), 255).convert(mode)
    for channels in (1, 3):
        assert (images.pixels(encoded(white), size=8, channels=channels) == 255).all()


def test_what_is_transparent_is_black() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert (images.pixels(encoded(clear), size=8, channels=3) == 0).all()
    palette = Image.new("L", (8, 8), 255).convert("P")
    assert (images.pixels(encoded(palette, transparency=255), size=8, channels=1) == 0).all()


def test_cmyk_and_bitmaps_are_read() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert images.pixels(encoded(red.convert("CMYK"), "JPEG"), size=8, channels=3)[0].min() > 200
    assert np.array_equal(images.pixels(encoded(red, "BMP"), size=8, channels=3)[:, 0, 0], [255, 0, 0])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, I am a photograph", "not one of the formats"),
        (b"GIF89a" + b"\0" * 100, "not one of the formats"),
        (encoded(grey(), "JPEG")[:300], "cut short"),
        (encoded(grey())[:-40], "cut short"),
        (encoded(grey(), "BMP")[:200], "cut short"),
        (png_claiming(100_000, 100_000), "claims 100000 x 100000 pixels"),
        (png_claiming(4_000, 4_000), "cut short"),
        (b"\xff\xd8\xff", "cut short"),
        (b"BM", "cut short"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        images.decode(data)


def test_damage_of_any_kind_ends_in_a_reason_or_an_image() -> None:
    dice = random.Random(0)
    note = Image.Exif()
    note[images.ORIENTATION] = 6
    whole = [encoded(grey()), encoded(grey(), "JPEG", exif=note), encoded(grey(), "BMP"), encoded(grey().convert("P"))]
    outcomes = set()

    def look(data: bytes) -> str:
        try:
            return str(images.pixels(data, size=8, channels=1).shape)
        except UserError:
            return "refused"

    workers = images.Workers(2)
    for _ in range(1500):
        data = bytearray(dice.choice(whole))
        for _ in range(dice.randrange(1, 10)):
            data[dice.randrange(min(len(data), dice.choice([60, 300, len(data)])))] = dice.randrange(256)
        outcomes.update(workers.each(look, [bytes(data[: dice.choice([len(data), dice.randrange(1, len(data))])])]))
    workers.close()
    assert outcomes == {"(1, 8, 8)", "refused"}


def test_pillow_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UserError) as caught:
        images.require_pillow()
    assert caught.value.hint == "pip install 'forgia[images]'"
