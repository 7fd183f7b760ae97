"""Pictures of a model's answers: the ROC curve, the decision curve and the calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from search.model.threshold import DECISIONS, decision_curve, roc

BINS = 8
LOWEST = -0.05  # net benefit that is shown


def draw(risk: np.ndarray, infected: np.ndarray, threshold: float, photos: str, path: Path) -> None:
    """One picture of three parts. risk: (n,); infected: (n,); photos: which these are, in words."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    alarms, hits = roc(risk, infected)
    left.plot([0, 1], [0, 1], color="0.75", linewidth=1)
    left.plot(alarms, hits, color="#0072b2", linewidth=2)
    flagged = risk >= threshold
    left.plot(
        flagged[~infected].mean(), flagged[infected].mean(), "o", color="#d55e00", markersize=8, label="threshold"
    )
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"ROC on {photos}", xlim=(0, 1), ylim=(0, 1.01))
    left.legend(loc="lower right")

    curve = decision_curve(risk, infected)
    for name, color, style in (("model", "#0072b2", "-"), ("all", "0.45", "--"), ("none", "0.2", ":")):
        middle.plot(
            DECISIONS, curve[name], style, color=color, linewidth=2, label=f"flag {name}" if name != "model" else name
        )
    middle.axvline(threshold, color="#d55e00", linewidth=1)
    top = max(float(infected.mean()), float(curve["model"].max())) * 1.1 or 0.1
    middle.set(
        xlabel="risk from which one acts", ylabel="net benefit", title="Decision curve", xlim=(0, 1), ylim=(LOWEST, top)
    )
    middle.legend()

    order = np.array_split(np.argsort(risk), min(BINS, len(risk)))
    right.plot([0, 1], [0, 1], color="0.75", linewidth=1)
    right.plot([risk[one].mean() for one in order], [infected[one].mean() for one in order], "o-", color="#009e73")
    right.set(xlabel="risk, by the model", ylabel="share infected", title="Calibration", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(path)
