"""One photo as the screen sees it: turned upright and decoded.

It needs numpy and Pillow alone, and goes with every model that is taken home.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MOST_OF_16_BITS = 2**16 - 1
HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"}
HEIF_SUFFIXES = (".heic", ".heif")


def is_named_as_photo(path: Path) -> bool:
    """By the end of its name: a file without one may be, and a HEIC photo is one that cannot be read."""
    return path.suffix.lower() in {"", *Image.registered_extensions(), *HEIF_SUFFIXES}


def decode(path: Path, size: int) -> tuple[np.ndarray, str]:
    """One photo as uint8 (size, size, 3), and its file format: turned upright, the whole of it resized, so that no
    edge is cropped away."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(_of_eight_bits(image)).convert("RGB")
        pixels = np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0))
        return pixels, image.format or "unknown"


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """A photo of more than eight bits a channel with the whole of its range in eight; Pillow would cut it off at 255.

    Raises ValueError for a photo of numbers without a range.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    if image.mode == "F":
        raise ValueError("its pixels are fractions, and nothing says of what; save it with 8 or 16 bits")
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > MOST_OF_16_BITS:
        raise ValueError("its pixels have more than 16 bits; save it with 8 or 16")
    scaled = Image.fromarray((pixels // 257).astype(np.uint8))
    scaled.info |= {"exif": image.info["exif"]} if "exif" in image.info else {}
    return scaled


def problem_with(path: Path, error: Exception) -> str:
    """Why a file is no photo that can be read, in one line."""
    with path.open("rb") as stream:
        head = stream.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return f"{path}: a HEIC photo, which is not read here; save it as JPEG or PNG"
    return f"{path}: unreadable image: {type(error).__name__}: {error}"
