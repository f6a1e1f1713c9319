"""Files that are damaged in any way are read or named; nothing else ever happens."""

import io
import os
import random
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.images.decoding import BrokenImageError, read_image
from jobs.images.levels import find_levels

FILES = int(os.environ.get("FUZZ", "300"))
FORMATS = {"jpg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM"}


def seeds() -> list[tuple[str, bytes]]:
    """Return one picture in each format, with EXIF data where the format has a place for them."""
    ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (40, 1))
    picture = Image.merge("RGB", [Image.fromarray(each.copy()) for each in (ramp, ramp[::-1], 255 - ramp)])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    found = []
    for ending, kind in FORMATS.items():
        content = io.BytesIO()
        more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
        picture.save(content, kind, **more)
        found.append((ending, content.getvalue()))
    deep = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint16) * 200).save(deep, "TIFF")
    return [*found, ("tif", deep.getvalue())]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return a file with some bytes changed, cut out, repeated or missing, mostly near its start."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        at = int(len(changed) * draw.random() ** 3) if changed else 0
        kind = draw.randrange(4)
        if kind == 0:
            changed[at : at + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            del changed[at : at + draw.randint(1, 40)]
        elif kind == 2:
            changed[at:at] = changed[at : at + draw.randint(1, 40)]
        else:
            changed[at : at + 4] = draw.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
    return bytes(changed[: draw.randint(0, len(changed))] if draw.random() < 0.1 else changed)


def test_a_damaged_image_is_read_or_named(tmp_path: Path):
    draw, originals, read = random.Random(0), seeds(), 0
    for at in range(FILES):
        ending, content = originals[at % len(originals)]
        path = tmp_path / f"{at}.{ending}"
        path.write_bytes(mutate(content, draw))
        find_levels([path])
        try:
            assert read_image(path, 16).shape == (16, 16, 3)
            read += 1
        except BrokenImageError as error:
            assert str(path) in str(error)
        path.unlink()
    assert FILES // 10 < read < FILES  # some are readable all the same, and some are not
