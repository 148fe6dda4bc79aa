"""A figure as SVG for a page, or as PNG."""

import io
import re
import warnings
from html import escape

from matplotlib.figure import Figure
from PIL import Image

from analyze.plots.style import INK, styled

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_GEOMETRY = re.compile(r' (?:d|x|y|width|height|transform)="[^"]*"')
_DECIMALS = re.compile(r"(-?\d+\.\d\d)\d+")


def svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as one <svg> element, to stand in a page or, as it is, in a file.

    Text, axes and grid are in `currentColor` (black where nothing says otherwise; in a page the
    colour of the text around it), on a transparent background. It is as wide as what holds it.
    Text stays text. The same figure gives the same bytes.

    Args:
        figure: Made by one of the functions here.
        name: Begins every id, so that figures of several names can stand in one page.
        alt: What the figure says, for those who cannot see it; becomes the element's <title>.
    """
    text = _drawn(figure)
    body = text[text.index("<svg") :]
    opening, body = body.split(">", 1)
    viewbox = re.search(r'viewBox="[^"]*"', opening)
    assert viewbox is not None
    # matplotlib's one style rule would apply to everything in the page
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = _GEOMETRY.sub(lambda found: _DECIMALS.sub(r"\1", found[0]), body)
    body = _own_ids(body, name).replace(INK, "currentColor")
    body = re.sub(r"'DejaVu Sans'", FONTS, body)
    body = re.sub(r">\n\s+<", ">\n<", body)
    label = escape(alt)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{viewbox[0]} width="100%" role="img" aria-label="{label}" fill="currentColor" '
        f'style="stroke-linejoin: round; stroke-linecap: butt">\n<title>{label}</title>{body}'
    )


@styled
def png(figure: Figure, dpi: float = 110) -> bytes:
    """The figure as a PNG file on white, of 256 colours: a third of the bytes."""
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
        # text stays text: the reader's fonts have the signs that the layout's lacks
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    return buffer.getvalue()


def _own_ids(body: str, name: str) -> str:
    """Numbers the ids that something refers to, after `name`, and drops the others.

    matplotlib's own are hashes of unrounded coordinates, whose last bits vary between drawings.
    """
    prefix = re.sub(r"[^A-Za-z0-9_-]", "-", name)
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', body)
    ids = {
        key: f"{prefix}.{i}" for i, key in enumerate(dict.fromkeys(a or b for a, b in references))
    }
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{ids[m[1]]}"' if m[1] in ids else "", body)
    body = re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", body)
    return re.sub(r'href="#([^"]+)"', lambda m: f'href="#{ids[m[1]]}"', body)
