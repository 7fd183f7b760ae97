"""A handful of training photos for smoke runs, so that no other label is needed."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np

import prepare
from search.trial.scored import load_scored
from search.trial.scorer import Labels, ScoredData

PHOTOS = {"train": 48, "validation": 12, "test": 12}
_drawing = threading.Lock()  # several edits may be checked at once


def view_of(folder: Path) -> Path:
    """What a smoke run is handed of the photos in a folder."""
    return folder / prepare.VIEW


def draw_photos(folder: Path, fingerprint: str) -> ScoredData:
    """Writes them into a folder, once: training photos only. Raises SearchError if the decoded data set is gone."""
    view = view_of(folder)
    data = load_scored(fingerprint, dataset="")
    of_class: dict[int, list[int]] = defaultdict(list)
    for index in data.indices("train"):
        of_class[int(data.labels[index])].append(int(index))
    longest = max(map(len, of_class.values()))
    in_turn = [members[n] for n in range(longest) for members in of_class.values() if n < len(members)]
    wanted = sum(PHOTOS.values())
    # Few photos are used more than once: nothing is concluded from the score.
    chosen = np.array((in_turn * (wanted // len(in_turn) + 1))[:wanted])
    labels = data.labels[chosen]
    part = np.repeat([prepare.PARTS.index(name) for name in PHOTOS], list(PHOTOS.values()))
    with _drawing:
        if not (view / "view.json").exists():
            aside = view.with_name(f"building-{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            np.save(aside / prepare.IMAGES, data.images[chosen])
            about = {"labels": labels.tolist(), "part": part.tolist(), "image_size": data.image_size}
            about |= prepare.as_json(data.classes)
            (aside / "view.json").write_text(json.dumps(about))
            shutil.rmtree(view, ignore_errors=True)
            os.rename(aside, view)
    return ScoredData(view, Labels.of(prepare.load(view)), view / prepare.IMAGES)
