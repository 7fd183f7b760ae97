"""The task that ships: photos of catheter exit sites, screened for infection. The only package that names it."""
