"""The machine and git: processes, confinement, GPUs, files."""
