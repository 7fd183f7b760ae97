"""The model card: what a model is, what it was trained on, how well it screens, how it was found, and what is not
known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

from search.core.types import Status, short
from search.model.chosen import Chosen, weights_names
from search.report.costs import KINDS, costs_of
from search.report.search_records import SearchRecords

TEMPLATE = Path(__file__).parent / "card.md"
BLANKS = (  # items that no program can fill in
    ("CLAIM 3, 39; TRIPOD+AI 3b; CONSORT-AI 2a(i)", "intended use, its place in the clinical pathway, and its users"),
    (
        "CLAIM 8, 34; TRIPOD+AI 6b, 20b; CONSORT-AI 4a(i)",
        "who may be photographed, and who was: age, sex, skin tone, centre",
    ),
    ("CONSORT-AI 4a(ii), 5(ii); TRIPOD+AI 27a", "which photos may be taken: camera, light, distance, dressing removed"),
    ("CONSORT-AI 5(iii); TRIPOD+AI 27a", "what is done with poor photos, and with none"),
    ("CLAIM 7, 12; TRIPOD+AI 5a, 17", "where the photos came from, ethical approval, how they were de-identified"),
    ("CLAIM 14, 16, 18; TRIPOD+AI 8a", "what counts as infected, by whom it was decided, and how far people agree"),
    ("CLAIM 19; TRIPOD+AI 10", "why so many photos are enough"),
    ("CONSORT-AI 5(iv), 5(vi); TRIPOD+AI 27b", "who acts on an answer, with what training, and how"),
    ("TRIPOD+AI 14; CONSORT-AI 19", "for whom it does worse, and what is done about it"),
    ("CLAIM 40, 41, 42; TRIPOD+AI 18a to 18f", "registration, protocol, funding, conflicts of interest"),
)


def interval(found: Sequence[float] | None) -> str:
    """A figure with its 95 % interval."""
    return "not known" if not found else f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def card(records: SearchRecords, chosen: Chosen, about: dict[str, Any]) -> str:
    """As Markdown, with metadata as Hugging Face reads them. about: as screen.json has it."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    settings, task = records.settings, records.settings.task if records.settings else None
    assert settings is not None and task is not None
    metric, name = task.metric.name, f"{task.name} by {short(chosen.decision.commit)}"
    as_scored = about["validation"]["as_scored"]
    results = [("validation", metric, as_scored[metric]), ("validation", "auroc", (as_scored["auroc"] or [None])[0])]
    data = ModelCardData(
        model_name=name,
        library_name="onnx",
        pipeline_tag="image-classification",
        tags=["medical", "screening", "research"],
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type="private",
                dataset_name=f"{task.name}, {part} photos",
                metric_type=kind,
                metric_value=value,
            )
            for part, kind, value in results
            if value is not None
        ],
    )
    made = ModelCard.from_template(data, template_path=str(TEMPLATE), **values(records, chosen, about))
    return str(made)


def values(records: SearchRecords, chosen: Chosen, about: dict[str, Any]) -> dict[str, Any]:
    """What the template says."""
    settings = records.settings
    assert settings is not None
    task, recommended = settings.task, records.recommended or {}
    names = [about["classes"][at] for at in about["positive"]]
    seeds = about["seeds"]
    footer = chosen.trials[0].footer
    noise = stdev(records.scores_of(0)) if len(records.scores_of(0)) > 1 else None
    words = str(recommended.get("words", ""))
    sentence = f"The search recommends: {words}." if words else ""
    parts = [
        {"name": part, "photos": about["data"][part], "infected": about["data"]["infected"][part]}
        for part in ("train", "validation", "test")
    ]
    return {
        "title": f"{task.name}: {short(chosen.decision.commit)}",
        "recommendation": sentence if about["recommended"] else f"{sentence} **This is another commit.**".strip(),
        "task": task.name,
        "size": about["image_size"],
        "classes": ", ".join(about["classes"]),
        "positive": " or ".join(names),
        "threshold": f"{about['threshold']:.4f}",
        "commit": about["commit"],
        "description": chosen.decision.description,
        "weights": f"of seed {seeds[0]}"
        if len(seeds) == 1
        else f"of {len(seeds)} seeds; the mean of their probabilities",
        "seconds": f"{settings.max_train_seconds:g}",
        "machine": chosen.trials[0].machine or "an unknown machine",
        "parameters": footer.get("parameters", ""),
        "onnx": not about["no_onnx"],
        "no_onnx": about["no_onnx"],
        "onnx_gap": "" if about["onnx_gap"] is None else f"{about['onnx_gap']:.1g}",
        "edited": Path(task.edited_path).name,
        "parts": parts,
        "data_words": f"{about['data']['groups']} groups of photos that belong together, such as a patient's, none of "
        "which is in two parts. The split is by a hash of the photos' content.",
        "fingerprint": about["data"]["fingerprint"],
        "results": [
            shown(part, about[part], task.metric.name) for part in ("validation", "test") if about[part] is not None
        ],
        "metric": task.metric.name,
        "wanted": f"{about['wanted_sensitivity']:g}",
        "temperature": f"{about['temperature']:.3f}",
        "error_before": f"{about['validation']['at_threshold']['calibration_error_before']:.3f}",
        "no_test": ""
        if about["test"]
        else "The test photos have not been opened: `python -m search.audit` does it, once.",
        "subgroups": [
            {**one, "sensitivity": interval(one["sensitivity"]), "specificity": interval(one["specificity"])}
            for one in about["subgroups"]
        ],
        "errors": [
            {"kind": kind, **one}
            for kind, found in (("missed", "missed"), ("false alarm", "false_alarms"))
            for one in about["errors"][found]
        ],
        "confusion": [
            {"name": name, "counts": " | ".join(map(str, counts))}
            for name, counts in zip(about["classes"], about["validation"]["as_scored"]["confusion"], strict=True)
        ],
        "search_words": search_words(records),
        "proof_words": f"Proof by {recommended['method']}." if recommended.get("shown_better") else "",
        "noise": "an unknown amount" if noise is None else f"{noise:.{task.metric.shown_digits}f}",
        "costs": costs(records),
        "again": again(about, settings.task.edited_path),
        "versions": ", ".join(f"{name} {number}" for name, number in about["versions"].items()),
        "blanks": BLANKS,
    }


def shown(part: str, figures: dict[str, Any], metric: str) -> dict[str, Any]:
    """One part's results, for a table."""
    at, scored = figures["at_threshold"], figures["as_scored"]
    return {
        "part": part,
        "note": "" if part == "validation" else ", which nothing was chosen by",
        "photos": figures["photos"],
        "infected": figures["infected"],
        "sensitivity": interval(at["sensitivity"]),
        "specificity": interval(at["specificity"]),
        "sensitivity_as_scored": interval(scored["sensitivity"]),
        "specificity_as_scored": interval(scored["specificity"]),
        "missed": at["missed"],
        "false_alarms": at["false_alarms"],
        "auroc": interval(scored["auroc"]),
        "average_precision": interval(scored["average_precision"]),
        "metric": f"{scored[metric]:.4f}",
        "calibration_error": f"{at['calibration_error']:.3f}",
    }


def search_words(records: SearchRecords) -> str:
    """How much was tried."""
    latest = {one.experiment: one for one in records.decisions}
    counts = {status: sum(one.status is status for one in latest.values()) for status in Status}
    return (
        f"Of {len(latest) - 1} experiments beside the baseline ({len(records.outcomes)} trials), "
        f"{counts[Status.KEEP] - 1} were kept, {counts[Status.DISCARD]} discarded, and {counts[Status.CRASH]} crashed. "
        f"{len(records.proposals)} edits were proposed."
    )


def costs(records: SearchRecords) -> list[dict[str, Any]]:
    found = costs_of(records.costs)
    return [
        {
            "name": kind,
            "trials": found[kind]["trials"],
            "hours": f"{found[kind]['gpu_hours']:.2f}",
            "energy": "not known" if found[kind]["energy_kwh"] is None else f"{found[kind]['energy_kwh']:.3f}",
        }
        for kind in KINDS
        if found[kind]["trials"]
    ]


def again(about: dict[str, Any], edited: str) -> str:
    """One command that trains it anew, once for each seed."""
    lines = [f"git checkout {about['commit']}"]
    for name, seed in zip(weights_names(len(about["seeds"])), about["seeds"], strict=True):
        lines.append(
            f"python {edited} --dataset PHOTOS --seed {seed} --max-train-seconds {about['max_train_seconds']:g} "
            f"--weights {name}"
        )
    return " && \\\n".join(lines)
