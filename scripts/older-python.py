"""Lets packages that are written for a newer Python run on 3.11 and later.

Rewrites the files of the folders it is given, in place: type parameters and `type` statements, which
mean nothing while a program runs, are taken out; exceptions that are caught together get
parentheses; expressions in strings are put on one line. A file that was rewritten is left alone.
"""

import ast
import pathlib
import re
import sys

MARK = "# Rewritten for an older Python.\n"


def closing(text: str, at: int) -> int:
    """Where the bracket that opens at a place is closed."""
    depth = 0
    for place in range(at, len(text)):
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError("a bracket is not closed")


def names(parameters: str) -> list[str]:
    """Names of type parameters."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(parameters + ","):
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            one = parameters[start:place].strip().lstrip("*")
            if one:
                found.append(re.split(r"[:=\s]", one)[0])
            start = place + 1
    return found


def rewritten(text: str) -> str:
    parameters: list[str] = []
    head = re.compile(r"^([ \t]*)((?:async )?def|class) (\w+)\[", re.M)
    while found := head.search(text):
        opens = found.end() - 1
        closes = closing(text, opens)
        parameters += names(text[opens + 1 : closes])
        rest = text[closes + 1 :]
        if found[2] == "class":
            # What it was made for is asked for in brackets still.
            line = rest.index(":\n") + 2
            inner = f"{found[1]}    __class_getitem__ = classmethod(lambda cls, _: cls)\n"
            docs = re.compile(r'\s*r?"""(?:.|\n)*?"""\n').match(rest, line)
            line = docs.end() if docs else line
            rest = rest[:line] + inner + rest[line:]
        text = text[:opens] + rest
    for name in set(re.findall(r"\b(\w+)\.__value__", text)):
        text = re.sub(rf"^type {name} = ", f"{name} = ", text, flags=re.M)
        text = text.replace(f"{name}.__value__", name)
    text = re.sub(r"^type (\w+) = ", r"\1 = _typing.Any; \1_: ", text, flags=re.M)
    text = re.sub(r"^(\s*except) ([\w.]+(?:, [\w.]+)+):", r"\1 (\2):", text, flags=re.M)
    flat = lambda found: 'f"{' + re.sub(r"\s+", " ", found[1]).strip() + "}" + found[2]
    text = re.sub(r'f"\{\n([^"}]*)\}([^"\n]*")', flat, text)
    # Came with 3.13; here it may count what this program may not use.
    text = text.replace("os.process_cpu_count()", "os.cpu_count()")
    # After the docstring nothing else may come first.
    tree = ast.parse(text)
    first = tree.body[0] if tree.body else None
    doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    lines = text.splitlines(keepends=True)
    after = first.end_lineno if doc else 0
    future = ["from __future__ import annotations\n", "import typing as _typing\n"]
    future += [f"{name} = _typing.Any\n" for name in sorted(set(parameters))]
    lines = [line for line in lines if line != future[0]]
    return MARK + "".join(lines[:after] + ["\n"] * (after > 0) + future + lines[after:])


for folder in sys.argv[1:]:
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if not text.startswith(MARK):
            text = rewritten(text)
            ast.parse(text, str(path))
            path.write_text(text, encoding="utf-8")
