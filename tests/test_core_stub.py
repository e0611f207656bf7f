"""Is adanns/_core.pyi true? Names and arguments of the stub against those of the module."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from adanns import _core

STUB = ast.parse((Path(__file__).parents[1] / "adanns" / "_core.pyi").read_text())

Signatures = dict[str, list[str]]


def signatures_of_stub(body: list[ast.stmt], prefix: str = "") -> Signatures:
    """Argument names per function, dotted; "*" stands before those that go by name only, "=" behind optional ones."""
    found: Signatures = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found |= signatures_of_stub(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            plain = [argument.arg for argument in node.args.args]
            optional = len(plain) - len(node.args.defaults)
            names = [name + "=" * (i >= optional) for i, name in enumerate(plain)]
            by_name = [
                argument.arg + "=" * (default is not None)
                for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            ]
            found[prefix + node.name] = names + (["*", *by_name] if by_name else [])
    return found


def signatures_of_module(owner: Any, prefix: str = "") -> Signatures:
    """The same from the docstrings that pybind11 writes: name(first: type, *, second: type = value) -> type."""
    found: Signatures = {}
    for name, value in vars(owner).items():
        if isinstance(value, ModuleType | type):
            found |= signatures_of_module(value, f"{prefix}{name}.")
        elif callable(value) and (name == "__init__" or not name.startswith("_")):
            arguments = re.search(rf"(?m)^{name}\((.*)\) -> ", value.__doc__ or "")
            assert arguments, f"{prefix}{name} says nothing of its arguments"
            found[prefix + name] = [
                re.split(r"[:=]", argument)[0].strip() + "=" * bool(re.search(r" = [^\[\]]*$", argument))
                for argument in split_outside_brackets(arguments[1])
            ]
    return found


def split_outside_brackets(text: str) -> list[str]:
    depth, pieces = 0, [""]
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece for piece in pieces if piece]


def test_the_stub_names_what_the_module_offers() -> None:
    assert signatures_of_stub(STUB.body) == signatures_of_module(_core)


def test_a_difference_would_be_noticed() -> None:
    class Fake:
        def one(self) -> None:
            """one(rows: Array[float, int], *, threads: int, seed: int = 0) -> None"""

    assert signatures_of_module(Fake) == {"one": ["rows", "*", "threads", "seed="]}
    stub = ast.parse(
        "def one(rows: int, threads: int = 0, *, seed: int, k: int = 1) -> None: ...\nclass A:\n def two(self): ..."
    )
    assert signatures_of_stub(stub.body) == {"one": ["rows", "threads=", "*", "seed", "k="], "A.two": ["self"]}


def test_every_function_of_the_stub_says_what_it_takes_and_returns() -> None:
    for node in ast.walk(STUB):
        if isinstance(node, ast.FunctionDef):
            assert node.returns is not None, node.name
            arguments = [*node.args.args, *node.args.kwonlyargs]
            assert all(argument.annotation or argument.arg == "self" for argument in arguments), node.name
