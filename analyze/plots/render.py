"""Renders figures as SVG for a page, or as PNG."""

import io
import re
import warnings
from html import escape

from matplotlib.figure import Figure
from PIL import Image

from analyze.plots.compact import compact
from analyze.plots.style import INK, OF_LOSS, styled

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element, for a page or a file.

    What belongs to one loss has the attribute `data-loss`. Text, axes and grid use `currentColor`,
    the colour of the surrounding text, which is black by default. The background is transparent.
    The width is that of the container. Text stays text. Equal figures give identical bytes.

    Args:
        figure: A figure drawn by this package.
        name: The prefix of every id, which keeps ids unique in a page.
        alt: The content of the figure, for those who cannot see it; the <title> of the element.
    """
    text = _drawn(figure)
    body = text[text.index("<svg") :]
    opening, body = body.split(">", 1)
    viewbox = re.search(r'viewBox="[^"]*"', opening)
    assert viewbox is not None
    # Drop matplotlib's style rule: it would apply to the whole page.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(f' id="{OF_LOSS}', ' data-loss="', body)
    body = _own_ids(body, name).replace(INK, "currentColor")
    body = re.sub(r"'DejaVu Sans'", FONTS, body)
    label = escape(alt)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{viewbox[0]} width="100%" role="img" aria-label="{label}" fill="currentColor" '
        f'style="stroke-linejoin: round; stroke-linecap: butt">\n'
        f"<title>{label}</title>{compact(body)}"
    )


@styled
def png(figure: Figure, dpi: float = 110) -> bytes:
    """The figure as a PNG file on white, with 256 colours, which saves two thirds of the bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(dither=Image.Dither.NONE).save(
        small, format="png", optimize=True
    )
    return small.getvalue()


@styled
def _drawn(figure: Figure) -> str:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # Text stays text: the fonts of the reader have glyphs that the layout font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    return buffer.getvalue()


def _own_ids(body: str, name: str) -> str:
    """Renumbers the ids that are referenced, with the prefix `name`, and drops the others.

    matplotlib's ids are hashes of unrounded coordinates, whose last bits vary between drawings.
    """
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', body)
    ids = {
        key: f"{prefix}.{i}" for i, key in enumerate(dict.fromkeys(a or b for a, b in references))
    }
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{ids[m[1]]}"' if m[1] in ids else "", body)
    body = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", body)
    return re.sub(r'href="#([^"]+)"', lambda m: f'href="#{ids[m[1]]}"', body)
