"""Docstrings as pages show them, while `help` shows them as they are written.

Formulas become mathematics, names and sources become links, and a package lists what it exports.

A section ``Formula:`` has one formula per line; a remark follows after two spaces. In text,
outside code, a letter with an index, ``p_y``, is set too. The mathematics is MathML, which
browsers show without a script.
"""

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from griffe import Alias, AliasResolutionError, Extension, Module, NameResolutionError, Object

FORMULAS = re.compile(r"^Formula:\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE)
CODE = re.compile(r"(``[^`]*``|`[^`]*`|^ *>>> .*)", re.MULTILINE)
NAME = re.compile(r"\A`([A-Za-z_][\w.]*)`\Z")
INDEXED = re.compile(r"(?<![\w<])([^\W\d_])_(?:([^\W\d_])(?!\w)|\{([\w,]+)\})")
SOURCE = re.compile(r"\b(doi|arXiv):(\S*\w)")
SITES = {"doi": "https://doi.org/", "arXiv": "https://arxiv.org/abs/"}
TOKEN = re.compile(r"\d+(?:\.\d+)?|[A-Za-z]+|\S")
CLOSING = {"(": ")", "[": "]", "{": "}"}
POWERS = {"²": "2", "³": "3"}
MINUS = "\N{MINUS SIGN}"
LARGE = {"Σ": "∑", "max": "max"}
SCRIPTS = {"_": "sub", "^": "sup", "_^": "subsup"}
LIMITS = {"_": "under", "^": "over", "_^": "underover"}


class Formulas(Extension):
    """Prepares the docstrings of a package for the page."""

    def on_package(self, *, pkg: Module, **_: object) -> None:
        """Rewrites them once all names are known, and before their sections are read."""
        for obj in _objects(pkg):
            if obj.docstring:
                obj.docstring.value = as_page(obj.docstring.value, obj) + _exports(obj)


def _objects(obj: Object) -> Iterator[Object]:
    yield obj
    for member in obj.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _exports(obj: Object) -> str:
    """What a package takes from its modules, in a line each: whole, it is on their pages."""
    names, obj.exports = map(str, obj.exports or []), None
    lines = []
    for name in names:
        target = _target(name, obj)
        if target and target.parent is obj:
            continue  # defined here, and shown whole below
        docstring = target.docstring if target else None
        summary = f": {_text(docstring.value.splitlines()[0], obj)}" if docstring else ""
        lines.append(f"- {_reference(name, obj)}{summary}")
    return "\n\n" + "\n".join(lines)


def as_page(text: str, obj: Object) -> str:
    """An object's docstring with formulas in MathML, and with names and sources as links."""
    # griffe knows the section by its plural alone
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    parts = FORMULAS.split(text)
    parts[::2] = (_text(part, obj) for part in parts[::2])
    parts[1::2] = map(_block, parts[1::2])
    return "".join(parts)


def _text(text: str, obj: Object) -> str:
    parts = CODE.split(text)
    for i in range(0, len(parts), 2):
        part = _indexed(parts[i])
        parts[i] = SOURCE.sub(lambda m: _link(SITES[m[1]] + quote(m[2]), m[0]), part)
    parts[1::2] = (NAME.sub(lambda m: _reference(m[1], obj), part) for part in parts[1::2])
    return "".join(parts)


def _indexed(text: str) -> str:
    return INDEXED.sub(r"<i>\1<sub>\2\3</sub></i>", text)


def _link(address: str, text: str) -> str:
    return f'<a href="{address}">{escape(text)}</a>'


def _reference(name: str, obj: Object) -> str:
    """A link where the name is one of ours, else the name as code."""
    target = _target(name, obj)
    path = target.canonical_path if target else name
    return f'<autoref optional identifier="{path}"><code>{name}</code></autoref>'


def _target(name: str, obj: Object) -> Object | Alias | None:
    """What a name in an object's docstring means, if it is one of the package's.

    A function may hide the module of its name, as in ``clsloss.cross_entropy``.
    """
    try:
        target = obj.modules_collection[obj.resolve(name)]
        return target.members.get(name, target) if target.is_module else target
    except (NameResolutionError, AliasResolutionError, KeyError):
        return None


def _block(lines: str) -> str:
    """Formulas under each other, each with its remark, in a grid of two columns."""
    cells = ""
    for line in filter(None, map(str.strip, lines.splitlines())):
        formula, _, remark = line.partition("  ")
        cells += f'<math displaystyle="true">{mathml(formula)}</math>'
        cells += f"<span>{_indexed(escape(remark.strip()))}</span>"
    return f'<div class="formula">{cells}</div>\n\n'


def mathml(formula: str) -> str:
    """A formula in Unicode as MathML.

    ``a_i``, ``a_{i≠j}`` and ``a^2`` are indices and powers. A slash makes a fraction of the two
    symbols or brackets beside it. Words of several letters are upright.
    """
    tokens = TOKEN.findall(formula)
    row = _row(tokens)
    if tokens:
        raise ValueError(f"formula {formula!r}: nothing opens {tokens[0]!r}")
    return row


def _row(tokens: list[str]) -> str:
    """Items up to a closing bracket; words stand a thin space apart, as in log x."""
    row, before = "", " "
    while tokens and tokens[0] not in CLOSING.values():
        first = tokens[0]
        factors = first.isalnum() and (before.isalnum() or before in CLOSING)
        if factors and max(len(first), len(before)) > 1:
            row += '<mspace width="0.2em"/>'
        item, inner = _item(tokens)
        if tokens[:1] == ["/"]:
            tokens.pop(0)
            below, below_inner = _item(tokens)
            parts = (inner or item, below_inner or below)
            item = "<mfrac>" + "".join(f"<mrow>{part}</mrow>" for part in parts) + "</mfrac>"
        row, before = row + item, first
    return row


def _item(tokens: list[str]) -> tuple[str, str]:
    """A symbol or bracket with its scripts; and, of a bracket without any, what is in it."""
    marks = LIMITS if tokens[0] in LARGE else SCRIPTS
    base, inner = _atom(tokens)
    scripts = {}
    while tokens and (tokens[0] in SCRIPTS or tokens[0] in POWERS):
        mark = tokens.pop(0)
        power = POWERS.get(mark)
        scripts["^" if power else mark] = f"<mn>{power}</mn>" if power else _atom(tokens)[0]
    if not scripts:
        return base, inner
    kind = "".join(sorted(scripts, reverse=True))
    return f"<m{marks[kind]}>{base}{''.join(map(scripts.get, kind))}</m{marks[kind]}>", ""


def _atom(tokens: list[str]) -> tuple[str, str]:
    """A number, name, operator or bracket; and what is in the bracket."""
    token = tokens.pop(0)
    if token in CLOSING:
        inner = _row(tokens)
        if tokens[:1] != [CLOSING[token]]:
            raise ValueError(f"a formula opens {token!r} and does not close it")
        ends = token, tokens.pop(0)
        if token == "{":
            return f"<mrow>{inner}</mrow>", ""
        return f"<mrow><mo>{ends[0]}</mo>{inner}<mo>{ends[1]}</mo></mrow>", inner
    if token in LARGE:
        return f"<mo>{LARGE[token]}</mo>", ""
    if token[0].isdigit():
        return f"<mn>{token}</mn>", ""
    if token.isalpha() or token == "∞":
        return f"<mi>{token}</mi>", ""
    return f"<mo>{escape(token.replace('-', MINUS))}</mo>", ""
