"""A search's records, copied to where people track their work: Trackio, Weights & Biases, MLflow."""
