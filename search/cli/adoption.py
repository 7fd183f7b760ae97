"""What a repository that was made for such a loop says of its task: inferred from its files, each with its source."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.cli.adopted_space import space_of
from search.core.recipe import constants_of, has_recipe, parsed, read_recipe
from search.core.types import SearchError, UsageError
from search.report.other_loops.histories import HIGHER, LOWER, metric_of, read_other
from search.system.files import end_of
from search.system.process import TRAINING_LINE
from search.trial.footer import parse_footer

EDITED, HISTORY, LOG, PROGRAM = "train.py", "results.tsv", "run.log", "program.md"
LARGEST_LOG = 2**20  # bytes, the last
SECONDS_NAME = (
    r"[\w-]*(?:max[-_]?time|time[-_]?(?:budget|limit)|budget[-_]?s(?:econds)?\b|(?:train|max)\w*[-_]seconds)[\w-]*"
)
SECONDS = re.compile(SECONDS_NAME, re.IGNORECASE)
SEED = re.compile(r"(?:\w*_)?seed", re.IGNORECASE)
MEMORY = re.compile(
    r"(?:peak_?)?(?:vram|mem(?:ory)?|rss)_?(?:used_?)?(kb|mb|gb|mib|gib)$|^peak_(?:vram|mem\w*)_(mb|gb)$", re.I
)
PRINTED = re.compile(r"""(?:print\(\s*f?["']|\\n)(\w+):\s""")
SAYS_STEP = re.compile(r"""print\(\s*f?["'](?:\\r)?(?:step|epoch)\b""", re.IGNORECASE)
ENVIRONMENT = re.compile(r"""environ(?:\.get\(|\[)\s*["'](\w+)["']""")
FLAG = re.compile(r"""add_argument\(\s*["'](--[\w-]+)["']""")
NEEDS_CUDA = re.compile(r"""torch\.device\(\s*["']cuda|\.cuda\(\)|get_device_capability\(\)""")
USUAL_SECONDS = 300.0


@dataclass(frozen=True)
class Finding:
    """One thing that was inferred. source: from what. check: what a person should look at; '' if nothing."""

    what: str
    value: str
    source: str
    check: str = ""


@dataclass
class Adoption:
    """What was found. tables: of the task.toml, '' for its top. space: the text of a space."""

    folder: Path
    edited: str
    findings: list[Finding] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    space: str = ""

    def found(self, what: str, value: object, source: str, check: str = "") -> None:
        self.findings.append(Finding(what, str(value), source, check))

    @property
    def task_text(self) -> str:
        """The task.toml."""
        lines = ["# Written by search.adopt: what a search of this repository is about."]
        for name, table in self.tables.items():
            lines += [f"\n[{name}]"] if name else []
            lines += [f"{key} = {toml(value)}" for key, value in table.items()]
        return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A text, number, truth value, or a list of texts as TOML."""
    return json.dumps(value, ensure_ascii=False)


def look_at(folder: Path, edited: str = "", metric: str = "", higher: bool | None = None) -> Adoption:
    """Looks at a repository's folder. edited, metric, higher: what the caller knows better. Raises UsageError for what
    cannot be found, naming the flag that says it."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    name = edited or EDITED
    path = folder / name
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.glob("*.py"))) or "no Python file"
        raise UsageError(f"{folder}: no {name}; name the file that experiments edit with --edited (there are {there})")
    source = text_of(path)
    try:
        fields, is_recipe = read_recipe(source), has_recipe(source)
    except SearchError as error:
        raise UsageError(
            f"{path}: {error}; a search needs hyperparameters, in a class Recipe or as constants"
        ) from error
    made = Adoption(folder, name)
    run = program_of(folder, source, name)
    fixed = imported(folder, source, name)
    if run != name:
        fixed = sorted({run, *fixed, *imported(folder, text_of(folder / run), name)})
    sources = {name: source, **{file: text_of(folder / file) for file in fixed}}
    log = end_of(folder / LOG, LARGEST_LOG)
    made.tables[""] = head = {
        "name": folder.resolve().name,
        "command": ["{python}", run],
        "edited": name,
        "fixed": fixed,
        "hyperparameters": "recipe" if is_recipe else "constants",
        "trust": "reported",
    }
    made.found("edited", name, "--edited" if edited else "its name")
    if fixed:
        made.found(
            "fixed", ", ".join(fixed), f"{run} imports them" if run == name else f"what {run} imports, and itself"
        )
    made.found("hyperparameters", head["hyperparameters"], f"{len(fields)} in {name}")
    uv = re.search(r"\buv run\b", text_of(folder / PROGRAM) + text_of(folder / "README.md"))
    made.found(
        "command",
        f"python {run}",
        "its name" if run == name else f"{name} runs nothing itself, and {run} imports it",
        "its own words run it with uv: install its packages beside this project, or write the command there"
        if uv
        else "",
    )
    reads = sorted({path for text in sources.values() for path in home_paths(text)})
    if reads:
        head["reads"] = reads
        made.found(
            "reads", ", ".join(reads), "paths in its files", "is that all that a run reads outside of its folder?"
        )
    if (folder / PROGRAM).is_file():
        head["program"] = PROGRAM
    add_metric(made, sources, log, metric, higher)
    told = add_passing(made, sources)
    add_log(made, sources, log)
    made.space, axes, left = space_of(fields, source, told)
    if not axes:
        raise UsageError(f"{path}: no hyperparameter that a search could move was found")
    made.found("space", f"{axes} axes", "its hyperparameters", "are the ranges sensible?")
    if left:
        made.found("no axes", ", ".join(left), "no number, unused, or no hyperparameter by name")
    return made


def program_of(folder: Path, source: str, edited: str) -> str:
    """The file that is run: the edited one, unless it runs nothing itself and one other program imports it."""
    if "__main__" in source or PRINTED.search(source):
        return edited
    module = edited.removesuffix(".py")
    others = [path for path in folder.glob("*.py") if path.name != edited and "__main__" in text_of(path)]
    users = [path.name for path in others if re.search(rf"^\s*(?:from|import) {module}\b", text_of(path), re.MULTILINE)]
    return users[0] if len(users) == 1 else edited


def text_of(path: Path) -> str:
    """'' if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def imported(folder: Path, source: str, edited: str) -> list[str]:
    """The folder's own files that a program imports, and those that these do."""
    found: list[str] = []
    waiting = [source]
    while waiting:
        for node in ast.walk(parsed(waiting.pop())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in names:
                file = f"{name.split('.')[0]}.py"
                if file not in (*found, edited) and (folder / file).is_file():
                    found.append(file)
                    waiting.append(text_of(folder / file))
    return sorted(found)


def home_paths(source: str) -> Iterator[str]:
    """Folders below the home folder that a program names: os.path.join(os.path.expanduser("~"), …), Path.home() / …."""
    for node in ast.walk(parsed(source)):
        parts = _path_parts(node)
        if parts and parts[0].startswith("~") and len(parts) > 1:
            yield "/".join(parts)


def _path_parts(node: ast.AST) -> list[str] | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left, right = _path_parts(node.left), _path_parts(node.right)
        return [*left, *right] if left and right else None
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    if called in ("Path.home", "pathlib.Path.home"):
        return ["~"]
    parts = [_path_parts(argument) for argument in node.args]
    if called in ("os.path.expanduser", "expanduser", "Path", "pathlib.Path") and len(parts) == 1:
        return parts[0]
    if called in ("os.path.join", "join") and all(parts):
        return [one for part in parts if part for one in part]
    return None


# --- the metric -----------------------------------------------------------------------------------------------------


def add_metric(made: Adoption, sources: Mapping[str, str], log: str, name: str, higher: bool | None) -> None:
    """The metric, its direction and its decimals: by the history of what was kept, else by names."""
    footer = parse_footer(log)
    printed = list(dict.fromkeys(key for text in sources.values() for key in PRINTED.findall(text)))
    known_by, check = "", ""
    if (made.folder / HISTORY).is_file():
        try:
            metric = metric_of(read_other(made.folder / HISTORY), name, higher)
            name, higher, known_by = metric.name, metric.higher_is_better, f"{HISTORY}: {metric.known_by}"
        except SearchError as error:
            made.found("history", "not used", str(error))
    if not name:
        named = re.findall(r"`(\w+)`", text_of(made.folder / PROGRAM))
        keys = [key for key in (*footer, *printed, *named) if LOWER.search(key) or HIGHER.search(key)]
        if not keys:
            raise UsageError(
                f"{made.folder}: nothing tells which figure is the metric; name it with --metric NAME and --minimize "
                "or --maximize"
            )
        val = [key for key in keys if key.startswith(("val", "test", "oof", "eval", "dev"))]
        name = (val or keys)[0]
        known_by = "the name of what it prints" if name in (*footer, *printed) else f"{PROGRAM} names it"
        check = "is it what counts?"
    if higher is None:
        if LOWER.search(name) is None and HIGHER.search(name) is None:
            raise UsageError(f"{made.folder}: whether a higher {name} is better is not known; --minimize or --maximize")
        higher, check = LOWER.search(name) is None, check or "is the direction right?"
    is_there = name in footer or name in printed or re.search(rf"^\s*{re.escape(name)}\s*[:=]", log, re.MULTILINE)
    if not is_there:
        check = f"no line `{name}: …` was seen in what it prints: --try shows, and a pattern helps if it has none"
    made.tables["metric"] = {"name": name, "direction": "higher" if higher else "lower"}
    set_decimals(made, footer.get(name, ""))
    made.found("metric", f"{name}, {'higher' if higher else 'lower'} is better", known_by or "as you said", check)


def set_decimals(made: Adoption, printed: str) -> None:
    """Rows have as many decimals of the metric as a run printed."""
    decimals = decimals_of(printed)
    made.tables["metric"] |= {"decimals": decimals, "shown_decimals": min(decimals, 4)}


def decimals_of(text: str) -> int:
    """As many as a printed number has; 6 if there is none."""
    found = re.fullmatch(r"[-+]?\d+\.(\d+)", text.strip())
    return min(max(len(found[1]), 1), 9) if found else 6


# --- how it is told its seed and its budget, and what it prints -----------------------------------------------------


def add_passing(made: Adoption, sources: Mapping[str, str]) -> set[str]:
    """How a run is told its seed and its seconds; the names of constants of the edited file that are taken so."""
    taken = set()
    for table, pattern, what in (("seed", SEED, "seed"), ("seconds", SECONDS, "budget")):
        way, value, source = _way_to_tell(made.edited, sources, pattern)
        made.tables[table] = dict(way)
        if way:
            made.found(table, ", ".join(f"{key} {text}" for key, text in way.items()), source)
        else:
            made.found(table, "not at all", "no flag, variable or constant", f"can a run be told its {what}?")
        if table == "seconds":
            made.tables[table]["usual"] = value or USUAL_SECONDS
            if not value:
                made.found("seconds.usual", f"{USUAL_SECONDS:g}", "a guess", "how long does a run train?")
        if "constant" in way and way.get("file", made.edited) == made.edited:
            taken.add(way["constant"])
    return taken


def _way_to_tell(
    edited: str, sources: Mapping[str, str], pattern: re.Pattern[str]
) -> tuple[dict[str, str], float | None, str]:
    """(the way, the number that it has without, where that was seen)."""
    for flag in FLAG.findall(sources[edited]):
        if pattern.fullmatch(flag[2:]):
            default = re.search(rf"""["']{flag}["'][^)]*?default=(?:float\()?([\d.]+)""", sources[edited])
            return {"flag": flag}, float(default[1]) if default else None, f"a flag of {edited}"
    for file, text in sources.items():
        for variable in ENVIRONMENT.findall(text):
            if pattern.fullmatch(variable):
                return {"variable": variable}, None, f"{file} reads it from the environment"
    for file, text in sources.items():
        for name, item in constants_of(parsed(text)).items():
            value = item.value
            is_number = isinstance(value, ast.Constant) and type(value.value) in (int, float)
            if pattern.fullmatch(name) and is_number:
                way = {"constant": name} | ({"file": file} if file != edited else {})
                return way, float(value.value), f"a constant of {file}"  # type: ignore[union-attr,arg-type]
    return {}, None, ""


def add_log(made: Adoption, sources: Mapping[str, str], log: str) -> None:
    """Memory, training lines, and whether it can be tried on the CPU."""
    printed = {key for text in sources.values() for key in PRINTED.findall(text)}
    for key in (*parse_footer(log), *sorted(printed)):
        match = MEMORY.search(key)
        if match:
            unit = (match[1] or match[2]).upper().replace("IB", "B")
            made.tables["memory"] = {"key": key, "unit": unit}
            made.found("memory", f"{key}, in {unit}", "what it prints")
            break
    text = sources[made.edited]
    trains = TRAINING_LINE.search(log.encode()) or SAYS_STEP.search(text)
    if not trains:
        made.tables["log"] = {"training_lines": False}
        made.found("training lines", "none", "what it prints", "a run is ended by its whole time alone")
    if NEEDS_CUDA.search(text) and "is_available" not in text:
        made.found("smoke run", "none", "it needs a GPU", "edits are tried for the first time as experiments")
    else:
        made.tables["smoke"] = {"seconds": 5}
        made.found("smoke run", "5 s on the CPU", "nothing in it demands a GPU", "does it run on a CPU?")
