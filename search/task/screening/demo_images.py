"""Draws a synthetic data set that looks like the task: skin, a catheter, redness, discharge. For demos and tests.

Learnable but not trivial: skin tone, light, blur and the healthy redness around a catheter vary as much as the
signs do, so that no single colour marks an infected site.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

CLASSES = tuple(f"class_{i}" for i in range(5))
SHARES = (0.57, 0.15, 0.11, 0.095, 0.075)  # of class_0 … class_4, the skew of the real task
SIZE = 64
NOTE = (
    "SYNTHETIC: drawn by prepare.py --demo; not photographs of people, and no basis for any claim about patients. "
    "class_0 clean, class_1 crust, class_2 irritated (mild redness), class_3 clear discharge, "
    "class_4 infected (spreading redness, often with pus)."
)


def draw(folder: Path, photos: int, seed: int = 0, image_size: int = SIZE) -> None:
    """Draws `photos` JPEG files of SIZE pixels into five class folders, a manifest and a README that say what it is.

    image_size: pixels that they are to be decoded to, for the manifest. Drawing again gives the same files. Raises
    ValueError if the folder holds something that was not drawn here.
    """
    manifest = folder / "manifest.json"
    if folder.exists() and any(folder.iterdir()) and not _was_drawn(manifest):
        raise ValueError(f"{folder}: not empty and not a synthetic set; name another folder for --demo")
    folder.mkdir(parents=True, exist_ok=True)
    # The manifest comes first: a drawing that was cut off may be drawn again.
    manifest.write_text(json.dumps({"image_size": image_size, "synthetic": True, "note": NOTE}, indent=2) + "\n")
    (folder / "README.md").write_text(f"# Synthetic demo photos\n\n{NOTE}\n")
    rng = np.random.default_rng(seed)
    counts = [round(share * photos) for share in SHARES]
    counts[0] += photos - sum(counts)
    for label, count in enumerate(counts):
        (folder / CLASSES[label]).mkdir(exist_ok=True)
        for old in (folder / CLASSES[label]).glob("synthetic_*.jpg"):
            old.unlink()
        for number in range(count):
            exif = Image.Exif()
            exif[0x010E] = "synthetic"  # ImageDescription
            data = io.BytesIO()
            _photo(rng, label).save(data, "JPEG", quality=88, exif=exif)
            (folder / CLASSES[label] / f"synthetic_{number:04d}.jpg").write_bytes(data.getvalue())


def _was_drawn(manifest: Path) -> bool:
    try:
        return json.loads(manifest.read_text())["synthetic"] is True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _photo(rng: np.random.Generator, label: int) -> Image.Image:
    size = SIZE
    y, x = np.mgrid[0:size, 0:size] / size
    tone = rng.uniform(0.35, 1.0)
    skin = np.array([0.92, 0.72, 0.60]) * tone + np.array([0.06, 0.02, 0.0])
    image = np.ones((size, size, 3)) * skin
    image *= 1 + rng.normal(0, 0.05) * (x - 0.5)[..., None] + rng.normal(0, 0.15) * (y - 0.5)[..., None]
    centre_y, centre_x = rng.uniform(0.38, 0.62, 2)
    distance = np.hypot(y - centre_y, x - centre_x)
    angle = np.arctan2(y - centre_y, x - centre_x)
    edge = 1 + 0.25 * np.sin(angle * rng.integers(2, 5) + rng.uniform(0, 6.28))

    def blend(colour: tuple[float, float, float], mask: np.ndarray) -> None:
        nonlocal image
        image = image * (1 - mask[..., None]) + np.array(colour) * tone**0.5 * mask[..., None]

    def spot(radius: float, softness: float, at: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        away = np.hypot(y - centre_y - at[0], x - centre_x - at[1])
        return 1 / (1 + np.exp((away / edge - radius) / softness))

    # Redness: everybody has a little; class_2 some, class_4 more and wider, with overlap between them.
    strength, reach = {
        2: (rng.uniform(0.22, 0.5), rng.uniform(0.12, 0.2)),
        4: (rng.uniform(0.3, 0.65), rng.uniform(0.17, 0.3)),
    }.get(label, (rng.uniform(0.0, 0.28), rng.uniform(0.05, 0.16)))
    blend((0.85, 0.25, 0.22), strength * spot(reach, 0.03))
    if rng.random() < 0.15:  # a red patch elsewhere: plaster violations, clothing
        blend((0.8, 0.3, 0.3), 0.5 * spot(rng.uniform(0.05, 0.12), 0.02, tuple(rng.uniform(-0.4, 0.4, 2))))
    if label == 1 or (label in (0, 2) and rng.random() < 0.08):
        blend((0.40, 0.20, 0.10), 0.8 * spot(rng.uniform(0.04, 0.08), 0.01, tuple(rng.uniform(-0.05, 0.05, 2))))
    if label == 3:
        blend((0.95, 0.90, 0.72), 0.6 * spot(rng.uniform(0.05, 0.09), 0.015, tuple(rng.uniform(-0.08, 0.08, 2))))
    if label == 4 and rng.random() < 0.6:
        blend((0.88, 0.80, 0.38), 0.7 * spot(rng.uniform(0.03, 0.08), 0.015, tuple(rng.uniform(-0.08, 0.08, 2))))
    # The catheter leaves the exit site towards one side.
    direction = rng.uniform(0, 2 * np.pi)
    along = (x - centre_x) * np.cos(direction) + (y - centre_y) * np.sin(direction)
    across = np.abs(-(x - centre_x) * np.sin(direction) + (y - centre_y) * np.cos(direction))
    blend((0.25, 0.10, 0.08), 0.8 / (1 + np.exp((distance - 0.035) / 0.008)))
    width = rng.uniform(0.03, 0.05)
    tube = (along > 0) / (1 + np.exp((across - width) / 0.006))
    blend(tuple(rng.uniform(0.75, 1.0) * np.array([0.93, 0.95, 0.97])), 0.85 * tube)
    blend((1.0, 1.0, 1.0), 0.5 * (along > 0) / (1 + np.exp((across - width / 4) / 0.006)))
    light = rng.uniform(0.75, 1.2) * np.array([rng.uniform(0.9, 1.1), 1.0, rng.uniform(0.85, 1.1)])
    image = image * light + rng.normal(0, rng.uniform(0.01, 0.05), (size, size, 3))
    drawn = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
    return drawn.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
