"""This machine as a node: its name for life, its GPUs, and the files that searches of other machines keep on it."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.core.paths import SearchPaths, state_root
from search.system.gpus import card_of, visible_gpus


def node_folder() -> Path:
    """$AUTORESEARCH_NODE, or below the user's state one for this machine's name: the home folder may be shared."""
    named = os.environ.get("AUTORESEARCH_NODE")
    return Path(named).absolute() if named else state_root() / "nodes" / platform.node()


def node_name(folder: Path) -> str:
    """The name that this node gave itself when it was first asked; it outlives Ray, reboots and new addresses."""
    path = folder / "name"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f"name.{uuid.uuid4().hex}.partial"
        aside.write_text(f"{platform.node()}-{uuid.uuid4().hex[:8]}\n")
        try:
            os.link(aside, path)  # whoever is first names it
        except FileExistsError:
            pass
        finally:
            aside.unlink(missing_ok=True)
    return path.read_text().strip()


@dataclass(frozen=True)
class SearchFolder:
    """What a search keeps on a node that is not its driver's."""

    root: Path

    @classmethod
    def of(cls, folder: Path, search: str) -> SearchFolder:
        """search: by sealed.id_of."""
        return cls(folder / "searches" / search)

    @property
    def repository(self) -> Path:
        return self.root / "repository.git"

    @property
    def run(self) -> SearchPaths:
        return SearchPaths(self.root / "run")

    @property
    def sealed(self) -> Path:
        return self.root / "sealed"

    @property
    def ending(self) -> Path:
        """There while the search ends on this node: what is not delivered yet is not any more."""
        return self.root / "ending"

    @property
    def photos(self) -> Path:
        """The data set on its way here; gone once it is decoded."""
        return self.root / "photos"


def cards(logical: int) -> list[dict[str, Any]]:
    """The GPUs that Ray has here: id, model and memory_mb; so many logical ones if there are none."""
    ids = visible_gpus()
    if not ids:
        return [{"gpu": str(number), "model": "", "memory_mb": None} for number in range(logical)]
    return [{"gpu": gpu, **card_of(gpu)} for gpu in ids[:logical]]
