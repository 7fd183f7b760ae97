"""A search on more than one machine: what the driver's machine and the others need beside Ray."""
