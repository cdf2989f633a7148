"""Formulas of sizes in exported programs: torch hands their text to sympy, which runs it as Python.

So only what torch itself writes is let through: numbers, symbols, arithmetic, comparisons, and known functions of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

SYMBOLS = ("Symbol", "Dummy")
"""The only functions that may take a text: a name."""
FUNCTIONS = {
    "Abs", "Add", "And", "Eq", "Equality", "Float", "Ge", "GreaterThan", "Gt", "Integer", "Le", "LessThan", "Lt", "Max",
    "Min", "Mod", "Mul", "Ne", "Not", "Or", "Piecewise", "Pow", "Rational", "StrictGreaterThan", "StrictLessThan",
    "Unequality", "ceiling", "exp", "floor", "log", "sqrt",
    "CeilDiv", "CeilToInt", "CleanDiv", "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt", "Identity", "IntTrueDiv",
    "IsNonOverlappingAndDenseIndicator", "LShift", "ModularIndexing", "PowByNatural", "PythonMod", "RShift",
    "RoundDecimal", "RoundToInt", "ToFloat", "TruncToFloat", "TruncToInt", "Where",
}  # fmt: skip
"""Those of sympy, and those of torch (``torch.utils._sympy.functions``)."""
NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.Constant, ast.Name, ast.Load, ast.Call, ast.keyword, ast.Tuple,
)  # fmt: skip
LONGEST = 10_000


def formulas(value: Any) -> Iterator[str]:
    """Yield the texts of all formulas in a program's JSON."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if "expr_str" in one:
                yield str(one["expr_str"])
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def is_formula(text: str) -> bool:
    """Tell whether a text is arithmetic on symbols and nothing else."""
    try:
        tree = ast.parse(text.strip(), mode="eval") if len(text) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if tree is None:
        return False
    names: set[int] = set()  # texts and names that a call accounts for
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            return False
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in (*SYMBOLS, *FUNCTIONS):
                return False
            names.add(id(node.func))
            first = node.args[0] if node.args else None
            if node.func.id in SYMBOLS and isinstance(first, ast.Constant) and _is_name(first.value):
                names.add(id(first))
        elif id(node) in names:
            continue
        elif isinstance(node, ast.Constant | ast.Name) and not _plain(node):
            return False
    return True


def _plain(node: ast.Constant | ast.Name) -> bool:
    """Tell whether something that no call accounts for is a number or a name."""
    return _is_name(node.id) if isinstance(node, ast.Name) else not isinstance(node.value, str | bytes)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isidentifier() and not value.startswith("__")
