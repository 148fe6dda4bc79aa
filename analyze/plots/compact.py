"""Makes the SVG of a figure small: each style once, no empty groups, rounded coordinates."""

import hashlib
import re
from collections import Counter
from html import unescape

_GEOMETRY = re.compile(r' (d|x|y|width|height|transform)="([^"]*)"')
_LONG = re.compile(r"-?\d+\.\d\d+")
_STYLE = re.compile(r' style="([^"]*)"')
_GROUP = re.compile(r"<g>\n?|<g [^>]*>\n?|</g>\n?")
_STRAIGHT = re.compile(r"[MLz\d\s.\-]*")


def compact(body: str) -> str:
    """The content of an <svg> element, smaller, with the same appearance.

    Coordinates have one decimal, a tenth of a point; a figure is 648 points wide.
    """
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    body = _GEOMETRY.sub(lambda match: f' {match[1]}="{_rounded(match[1], match[2])}"', body)
    return _shared_styles(_without_empty_groups(re.sub(r">\n\s+<", ">\n<", body)))


def _rounded(attribute: str, value: str) -> str:
    # The path of a marker is small, and matrices scale: both keep their digits.
    if attribute == "transform" and "scale" in value:
        return value
    value = _LONG.sub(lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), value)
    if attribute != "d":
        return value.replace("-0 ", "0 ") if value.startswith("-0 ") else value
    words = value.split()
    if _STRAIGHT.fullmatch(value):  # after M, further points are the ends of lines
        words = [word for word in words if word != "L"]
    return " ".join(words)


def _without_empty_groups(body: str) -> str:
    """Drops the groups without attributes, which change nothing."""
    kept: list[bool] = []
    parts, end = [], 0
    for match in _GROUP.finditer(body):
        parts.append(body[end : match.start()])
        end = match.end()
        if match[0].startswith("</g>"):
            if kept.pop():
                parts.append(match[0])
        else:
            kept.append(not match[0].startswith("<g>"))
            if kept[-1]:
                parts.append(match[0])
    return "".join([*parts, body[end:]])


def _shared_styles(body: str) -> str:
    """Writes a style that occurs more than once in a rule.

    The name of a rule is a hash of its content, so that figures on one page agree on it.
    """
    often = [style for style, number in Counter(_STYLE.findall(body)).items() if number > 1]
    names = {style: "s" + hashlib.sha256(style.encode()).hexdigest()[:7] for style in often}
    rules = "".join(f".{names[style]}{{{unescape(style)}}}" for style in often)

    def named(match: re.Match[str]) -> str:
        style = match[1]
        return f' class="{names[style]}"' if style in names else match[0]

    return f"<style>{rules}</style>{_STYLE.sub(named, body)}"
