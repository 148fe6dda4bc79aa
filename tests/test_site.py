"""The documentation: formulas as mathematics, and a site that is whole and needs no network."""

import inspect
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from small_runs import ROOT

sys.path.append(str(ROOT / "docs"))
from docstrings import mathml

SITE = ROOT / "build" / "docs" / "site"


def shape(formula):
    """The tree of a formula: a tag's name and its children, or its text."""

    def of(node):
        children = [of(child) for child in node if child.tag != "mspace"]
        return (node.tag, *children) if children else node.text

    return of(ElementTree.fromstring(f"<row>{mathml(formula)}</row>"))[1:]


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("w_y log p_y", (("msub", "w", "y"), "log", ("msub", "p", "y"))),
        ("(1 + p)^k", (("msup", ("mrow", "(", "1", "+", "p", ")"), "k"),)),
        ("-z", ("\N{MINUS SIGN}", "z")),
        ("x_c²", (("msubsup", "x", "c", "2"),)),
        ("1 / C z", (("mfrac", ("mrow", "1"), ("mrow", "C")), "z")),
        ("(a + b) / (2 c)", (("mfrac", ("mrow", "a", "+", "b"), ("mrow", "2", "c")),)),
        ("max_{j≠y} z_j", (("munder", "max", ("mrow", "j", "≠", "y")), ("msub", "z", "j"))),
        ("p < q", ("p", "<", "q")),
    ],
)
def test_a_formula_is_set_as_it_is_read(formula, expected):
    assert shape(formula) == expected


@pytest.mark.parametrize("formula", ["(a + b", "a + b)", "(a + b]"])
def test_an_unbalanced_formula_is_refused(formula):
    with pytest.raises(ValueError, match=r"a formula opens|nothing opens"):
        mathml(formula)


def test_every_loss_has_a_formula_and_those_with_a_paper_its_number():
    import clsloss

    for name in clsloss.__all__:
        function = getattr(clsloss, name)
        if name.endswith(("_loss", "cross_entropy")):
            text = inspect.getdoc(function)
            assert "\n\nFormula:\n    " in text, name
            if "Source:" in text:
                assert re.search(
                    r"arXiv:\d{4}\.\d{5}|doi:10\.|Journal|Proceedings|NeurIPS \d", text
                ), name


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere():
    subprocess.run([sys.executable, "docs/build.py"], cwd=ROOT, check=True)
    pages = sorted(SITE.rglob("*.html"))
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in texts.items()}
    assert len(pages) > 50
    for page, text in texts.items():
        for loaded in re.findall(
            r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]+)"', text
        ):
            assert not urlsplit(loaded).netloc, (page, loaded)
        if page.name == "404.html":  # served from any address, so its links are absolute
            continue
        for link in re.findall(r'<a\b[^>]*?href="([^"]+)"', text):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), (page, link)
            assert not parts.fragment or unquote(parts.fragment) in anchors[target], (page, link)
    assert "<math" in texts[SITE / "reference" / "clsloss" / "focal.html"]
