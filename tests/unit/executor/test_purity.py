"""The domain imports msgspec, itself, and what of the standard library has no clock, chance or I/O; nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import executor.domain

ROOT = Path(executor.domain.__file__).parent
ALLOWED = {
    *(
        "__future__",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
    ),
    *("math", "msgspec", "operator", "re", "string", "typing"),
}
IMPURE = {"now", "utcnow", "today", "open", "print", "input"}
"""Calls that the allowed modules and the builtins would still let through."""


def imported(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def called(tree: ast.Module) -> set[str]:
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return names | {function.attr for function in functions if isinstance(function, ast.Attribute)}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_domain_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text())
    foreign = {
        name
        for name in imported(tree)
        if name.partition(".")[0] not in ALLOWED and not f"{name}.".startswith("executor.domain.")
    }
    assert foreign | {name for name in called(tree) if name in IMPURE} == set()
