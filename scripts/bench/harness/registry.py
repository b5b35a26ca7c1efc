"""Finds the rows: one Python file each in scripts/bench/rows."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Optional

ROWS = Path(__file__).resolve().parents[1] / "rows"


@dataclass
class Row:
    """One line of the table.

    A side is a function of a `sides.Context` that gives an object with `sample()`, a list of figures for one round, and
    optionally `close()`. It raises `sides.Skip` where it cannot run here. `ours` comes first in the table. A goal is what the
    ratio should reach.
    """

    name: str
    title: str
    unit: str
    ours: Callable
    peers: Dict[str, Callable] = field(default_factory=dict)
    higher_is_better: bool = True
    note: str = ""
    order: int = 100
    goal: Optional[str] = None
    # Whether a quick run times it, and which peers it leaves out because they take long to get ready.
    in_quick: bool = False
    slow_peers: tuple = ()
    # No more rounds than these, where figures hardly differ or take long.
    rounds: Optional[int] = None


def load(wanted=None, quick=False):
    rows = []
    for path in sorted(ROWS.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"bench_row_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = getattr(module, "ROWS", None) or [module.ROW]
        rows += found
    rows.sort(key=lambda row: (row.order, row.name))
    names = [row.name for row in rows]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"bench: error: two rows are called {', '.join(sorted(twice))}")
    if wanted is None:
        return [row for row in rows if row.in_quick or not quick]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"bench: error: no row {', '.join(unknown)}; there are {', '.join(names)}")
    return [row for row in rows if row.name in wanted]
