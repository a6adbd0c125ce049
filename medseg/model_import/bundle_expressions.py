"""Values of a MONAI configuration's expressions, from a short list of forms; nothing is run.

MONAI runs what stands after ``$``. Here the text is parsed, and literals, references, choices,
comparisons, sums and products, ``len``, ``os.path.join`` and ``CommonKeys`` have their meaning;
everything else has none.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

#: Of a reference to another value, such as ``@network#channels``.
REFERENCE = re.compile(r"@\w+(?:(?:#|::)\w+)*")

_NUMBER_TYPE = re.compile(r"(?:torch|np|numpy)\.(float16|float32|float64|int\d+|uint8)")

_COMMON_KEY = re.compile(r"(?:monai\.utils\.)?(?:enums\.)?CommonKeys\.([A-Z]+)")

#: Of ``monai.utils.CommonKeys``, as far as they name data.
_COMMON_KEYS = {"IMAGE": "image", "LABEL": "label", "PRED": "pred"}

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}

_PREFIX = "reference_"


class UnknownExpression(Exception):
    """An expression of another form."""


def value_of(expression: str, resolve: Callable[[str], Any]) -> Any:
    """The value of an expression, without its ``$``.

    Args:
        expression: Python text in which references begin with ``@``.
        resolve: from a reference to its plain value.

    Raises:
        UnknownExpression: it is of none of the known forms.

    >>> value_of("[1.5, 1.5] if @high else [3, 3]", {"@high": True}.get)
    [1.5, 1.5]
    >>> value_of("len(@labels) + 1", {"@labels": ["liver", "spleen"]}.get)
    3
    """
    if named := _NUMBER_TYPE.fullmatch(expression):
        return named.group(1)
    references: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        references.append(match.group())
        return f" {_PREFIX}{len(references) - 1} "

    try:
        tree = ast.parse(REFERENCE.sub(stand_in, expression).strip(), mode="eval")
        return _value(tree.body, lambda number: resolve(references[number]))
    except (SyntaxError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise UnknownExpression(expression) from error
    except (RecursionError, MemoryError) as error:
        raise UnknownExpression(expression[:80]) from error


def _value(node: ast.expr, referred: Callable[[int], Any]) -> Any:
    match node:
        case ast.Name(id=name) if name.startswith(_PREFIX):
            return referred(int(name.removeprefix(_PREFIX)))
        case ast.IfExp():
            chosen = node.body if _value(node.test, referred) else node.orelse
            return _value(chosen, referred)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part, referred) for part in parts]
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, referred)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, referred) for part in parts)
        case ast.BoolOp(op=ast.Or(), values=parts):
            return any(_value(part, referred) for part in parts)
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            compare = _COMPARISONS[type(comparison)]
            return compare(_value(left, referred), _value(right, referred))
        case ast.BinOp(left=left, op=operation, right=right):
            return _combined(operation, _value(left, referred), _value(right, referred))
        case ast.Subscript(value=whole, slice=key):
            return _value(whole, referred)[_value(key, referred)]
        case ast.Call(func=function, args=arguments, keywords=[]):
            return _called(ast.unparse(function), [_value(each, referred) for each in arguments])
        case ast.Attribute():
            return _COMMON_KEYS[_common_key(ast.unparse(node))]
    return ast.literal_eval(node)


def _combined(operation: ast.operator, left: Any, right: Any) -> Any:
    """Sums of texts, lists and numbers; other arithmetic of numbers alone."""
    if isinstance(operation, ast.Add) and any(
        isinstance(left, kind) and isinstance(right, kind) for kind in (str, list, int | float)
    ):
        return left + right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _ARITHMETIC[type(operation)](left, right)
    raise TypeError("no numbers")


def _called(name: str, arguments: list[Any]) -> Any:
    match name, arguments:
        case "len", [list() | dict() | str() as whole]:
            return len(whole)
        case (("list" | "tuple"), [list() as whole]):
            return whole
        case (("int" | "float"), [int() | float() as number]):
            return int(number) if name == "int" else float(number)
        case "os.path.join", [str(), *_] if all(isinstance(part, str) for part in arguments):
            return "/".join(arguments)
    raise LookupError(name)


def _common_key(text: str) -> str:
    named = _COMMON_KEY.fullmatch(text)
    if named is None:
        raise LookupError(text)
    return named.group(1)


def painting(expression: str) -> list[tuple[int, int]] | None:
    """Channel and value of every ``torch.where`` in a nest of them, in the order of painting.

    ``None`` where the expression is no function of that form.

    >>> painting("lambda x: torch.where(x[[1]] > 0, 4, torch.where(x[[0]] > 0, 2, 0))")
    [(0, 2), (1, 4)]
    """
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(body, ast.Lambda) or len(body.args.args) != 1:
        return None
    argument = body.args.args[0].arg
    layers: list[tuple[int, int]] = []
    rest: ast.expr = body.body
    while isinstance(rest, ast.Call):
        if ast.unparse(rest.func) != "torch.where" or len(rest.args) != 3 or rest.keywords:
            return None
        condition, value, rest = rest.args
        form = re.fullmatch(
            rf"{argument}\[\[(\d+)\]\] (?:> 0(?:\.5)?|== 1)", ast.unparse(condition)
        )
        if form is None or not _is_count(value):
            return None
        layers.append((int(form.group(1)), ast.literal_eval(value)))
    is_background = isinstance(rest, ast.Constant) and rest.value == 0
    return layers[::-1] if layers and is_background else None


def _is_count(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0
