"""What the screening task says to people, and the figures beside its metrics."""

ITEM = "photo"
RATES = ("sensitivity", "specificity", "balanced_accuracy", "auroc", "average_precision", "calibration_error")
SHOWN_RATES = {"sensitivity": "sens", "specificity": "spec"}  # beside the metric everywhere, with their short names
AT_THRESHOLD = "sensitivity_at_threshold"  # of a search with a least sensitivity; shown beside the metric too
RATES_AT_THRESHOLD = (AT_THRESHOLD, "specificity_at_threshold")
SHOWN_AT_THRESHOLD = {AT_THRESHOLD: "sens at threshold"}
MAJORITY_HINT = "weigh infected photos more before anything else"
POSITIVE, NEGATIVE = "infected", "not_infected"  # what the metric tells apart, as in users' files
