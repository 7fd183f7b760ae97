"""How a model that was taken home screens the photos of a second hospital, at its fixed threshold."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np

import prepare
from search.model.card import interval
from search.model.operating import Operating, Photos, figures_at
from search.model.pictures import draw
from search.model.predictor import SEEN, PredictError, Predictor
from search.model.subgroups import figures_of_subgroups, read_subgroups
from search.task.screening.photos import manifest_of, photo_files, read_groups, sha_of

NAMES = ("external.json", "external.html", "external.png")


def evaluate(model: Path, folder: Path, out: Path, as_json: bool = False) -> str:
    """Writes JSON, a page and a picture; what to say. Raises PredictError or OSError."""
    predictor = Predictor(model)
    try:
        classes = manifest_of(folder)[1]
        files, of_group, named = photo_files(folder, classes), read_groups(folder), read_subgroups(folder)
    except prepare.DataError as error:
        raise PredictError(str(error)) from error
    if list(classes.names) != predictor.classes:
        raise PredictError(
            f"{folder} has the classes {', '.join(classes.names)}, the model {', '.join(predictor.classes)}"
        )
    answers = list(predictor.answers([folder / path for path, _ in files]))
    kept = [place for place, one in enumerate(answers) if "error" not in one]
    if not kept:
        raise PredictError(f"{folder}: none of its {len(files)} files is a photo")
    probabilities = np.array([answers[place]["probabilities"] for place in kept])
    labels = np.array([files[place][1] for place in kept])
    names = [of_group.get(files[place][0], files[place][0]) for place in kept]
    groups = np.unique(names, return_inverse=True)[1]
    known = set((model / SEEN).read_text().split())
    seen = sum(sha_of(folder / files[place][0]) in known for place in kept)
    about = predictor.about
    photos, at = Photos(probabilities, labels, groups, classes), Operating(about["temperature"], about["threshold"])
    found = {
        "model": about["commit"],
        "folder": str(folder),
        "threshold": about["threshold"],
        "photos_seen_in_training": seen,
        "not_photos": [one["error"] for one in answers if "error" in one],
        **figures_at(photos, at),
        "subgroups": figures_of_subgroups(photos, at, [files[place][0] for place in kept], named),
    }
    out.mkdir(parents=True, exist_ok=True)
    risk, words = photos.risk(at.temperature), f"{len(labels)} photos of another place"
    draw(risk, photos.infected, at.threshold, words, out / NAMES[2])
    (out / NAMES[0]).write_text(json.dumps(found, indent=2) + "\n")
    (out / NAMES[1]).write_text(page(found))
    written = f"{out / NAMES[0]}, {NAMES[1]}, {NAMES[2]}"
    return json.dumps(found) if as_json else "\n".join([*lines(found), written])


def lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    at, scored = found["at_threshold"], found["as_scored"]
    said = [
        f"{found['photos']} photos, {found['infected']} infected; flagged from a risk of {found['threshold']:.4f} on",
        f"sensitivity {interval(at['sensitivity'])}, specificity {interval(at['specificity'])}",
        f"missed {at['missed']}, false alarms {at['false_alarms']}; "
        f"area under the ROC curve {interval(scored['auroc'])}",
    ]
    if found["photos_seen_in_training"]:
        said.append(
            f"{found['photos_seen_in_training']} of these photos were trained on or chosen by: this flatters the model"
        )
    for one in found["subgroups"]:
        rates = f"sensitivity {interval(one['sensitivity'])}, specificity {interval(one['specificity'])}"
        said.append(f"{one['name']} ({one['photos']} photos, {one['infected']} infected): {rates}")
    if found["not_photos"]:
        said.append(f"{len(found['not_photos'])} files are no photos, and left out: {found['not_photos'][0]}")
    return said


def page(found: dict[str, Any]) -> str:
    """The same as a page, with the picture beside it."""
    said = "".join(f"<li>{html.escape(line)}</li>" for line in lines(found))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<title>External validation</title><style>body{font:16px/1.5 system-ui;max-width:70rem;margin:2rem auto;"
        "padding:0 1rem}img{max-width:100%}</style><h1>External validation</h1>"
        f"<p>Model <code>{html.escape(found['model'])}</code> on {html.escape(found['folder'])}</p><ul>{said}</ul>"
        f'<img src="{NAMES[2]}" alt="ROC curve, decision curve and calibration"></html>\n'
    )
