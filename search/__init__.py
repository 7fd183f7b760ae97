"""A parallel research loop for training code: Optuna, Ray Tune, one git worktree per GPU, one frontier."""

import importlib.util
import sys

# Checked here, because every command of the search passes this line before it imports any of them.
_NEEDED = ("numpy", "PIL", "ray", "optuna", "git", "pygit2", "pydantic", "pandas", "libcst", "rich", "matplotlib")
if sys.version_info < (3, 11):  # noqa: UP036  older ones can run this line, and should say why not more
    sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}")
_missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
if _missing:
    sys.exit(
        f"not installed for {sys.executable}: {', '.join(_missing)}; "
        "use .venv/bin/python, which `make install` sets up, or pip install -r requirements.txt"
    )
