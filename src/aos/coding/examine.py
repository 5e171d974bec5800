"""The measuring process: reads sources from standard input, answers with what their syntax trees say.

It is run as a file of its own, imports nothing of AOS, and ends when its standard input does, so that it
never outlives the process that started it. A request and its answer are each four bytes of length and JSON:
a list of `[name, source]`, and a list of objects as `examine` returns them.
"""

from __future__ import annotations

import ast
import json
import math
import re
import struct
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from radon.metrics import mi_compute
from radon.visitors import ComplexityVisitor, HalsteadVisitor
from vulture.core import Vulture
from vulture.noqa import parse_noqa

LENGTH = struct.Struct(">I")
_DEPTH = 6000
_CERTAIN = 100
_UNREACHABLE = "unreachable_code"
_NOQA = re.compile("noqa", re.IGNORECASE)


def examine(name: str, source: str) -> dict[str, Any]:
    """Complexity, maintainability and dead code of one file.

    Returns:
        `problem` ("syntax: …", "too deep" or empty), `complexities` (of each function and method),
        `maintainability` (0 to 100) and `dead` (rows of rule, line and message).
    """
    answer: dict[str, Any] = {"problem": "", "complexities": [], "maintainability": None, "dead": []}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return answer | {"problem": f"syntax: {error}"}
    except (RecursionError, MemoryError):
        return answer | {"problem": "too deep"}
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_DEPTH)
    try:
        return answer | _complexity(tree, source) | {"dead": _dead_code(tree, name, source)}
    except RecursionError:
        return answer | {"problem": "too deep"}
    finally:
        sys.setrecursionlimit(limit)


def _complexity(tree: ast.Module, source: str) -> dict[str, Any]:
    blocks = ComplexityVisitor.from_ast(tree, off=False)
    functions = [*blocks.functions, *(method for found in blocks.classes for method in found.methods)]
    return {
        "complexities": [function.complexity for function in functions],
        "maintainability": round(_maintainability(tree, source, blocks.total_complexity), 2),
    }


def _maintainability(tree: ast.Module, source: str, complexity: int) -> float:
    """radon's index, over statements and comment lines counted from the tree: its own count is slow."""
    visitor = HalsteadVisitor.from_ast(tree)
    length = visitor.operators + visitor.operands
    vocabulary = visitor.distinct_operators + visitor.distinct_operands
    volume = length * math.log2(vocabulary) if vocabulary else 0.0
    statements = documented = remarked = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            statements += 1
            if _is_string(node):
                height = (node.end_lineno or node.lineno) - node.lineno + 1
                documented += height
                remarked += height if height > 1 else 0
    lines = [line for line in map(str.strip, source.splitlines()) if line]
    comments = sum(line.startswith("#") for line in lines)
    code = len(lines) - comments - documented
    remarked += comments + sum("  #" in line for line in lines)
    index: float = mi_compute(volume, complexity, statements, 100.0 * remarked / code if code > 0 else 0.0)
    return index


def _is_string(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _dead_code(tree: ast.Module, name: str, source: str) -> list[tuple[str, int, str]]:
    """What vulture is certain of within one file: other files cannot make it wrong."""
    vulture = Vulture()
    vulture.filename = Path(name)
    vulture.noqa_lines = parse_noqa(source.splitlines() if _NOQA.search(source) else ())
    vulture.visit(tree)
    imposed = _method_parameters(tree)
    return [
        ("V201" if item.typ == _UNREACHABLE else "V107", item.first_lineno, item.message)
        for item in vulture.get_unused_code(min_confidence=_CERTAIN)
        if (item.first_lineno, item.name) not in imposed
    ]


def _method_parameters(tree: ast.Module) -> set[tuple[int, str]]:
    """Parameters of methods, which a protocol or a base class in another file may ask for."""
    methods = [
        statement
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {
        (parameter.lineno, parameter.arg)
        for method in methods
        for parameter in (
            *method.args.posonlyargs,
            *method.args.args,
            *method.args.kwonlyargs,
            *filter(None, (method.args.vararg, method.args.kwarg)),
        )
    }


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        files = json.loads(requests.read(*LENGTH.unpack(head)))
        answer = json.dumps([examine(name, source) for name, source in files]).encode()
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, sys.stdout.buffer)
