"""A parallel research loop: experiments are commits of train.py, slots are GPUs."""
