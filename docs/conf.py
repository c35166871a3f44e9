# ruff: noqa: INP001 - Sphinx reads this file by its path; it is in no package
"""How the documentation becomes HTML: ``scripts/docs``. Reads the checkout, asks no network, and knows no page by its content.

The source directory is the checkout's root, so that a link from ``docs/`` to ``SECURITY.md`` or to an example DAG leads to the
same place here as where the repository is read. Docstrings are Google's, with several short entries on one line; `split_entries`
gives each a line of its own before napoleon reads them.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import re
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes
from sphinx.domains.python import PyObject
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from docutils.parsers.rst.states import Inliner
    from sphinx.application import Sphinx
    from sphinx.domains.python import ObjectEntry
    from sphinx.environment import BuildEnvironment

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_360dialog"
START = "docs/index"
ROOT_PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]

# Airflow writes its configuration to its home as soon as it is imported: here one that ends with the build.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

# --- the site -----------------------------------------------------------------------------------------------------

project = "airflow-provider-360dialog"
version = release = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
author = "The airflow-provider-360dialog authors"
project_copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = START
include_patterns = [*ROOT_PAGES, "docs/**"]
exclude_patterns = [each.name for each in CHECKOUT.iterdir() if each.name not in {*ROOT_PAGES, "docs"}]  # not even looked into

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"  # where a block does not say what it is
pygments_style = "default"  # furo's own choices fall short of the contrast that small text needs
pygments_dark_style = "github-dark"

# --- Markdown -----------------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 6  # made in GitHub's manner

# --- docstrings ---------------------------------------------------------------------------------------------------

default_role = "code-or-link"
nitpicky = True
nitpick_ignore_regex = [
    # Their documentation is on other hosts, and a build asks none.
    (r"py:.*", r"(airflow|collections|contextlib|datetime|os|pathlib|threading|typing)\..*"),
    (r"py:.*", r"datetime|timedelta|Asset|ObjectStoragePath"),  # the same, imported for type checkers only
    (r"py:.*", r"Calls"),  # what `get_conn` gives is no promise
]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_trailing_comma_in_multi_line_signatures = False
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_SECTION = re.compile(r"^(\s*)(Args|Attributes|Raises|Returns):$")
_NAME = r"(?:\*{0,2}[a-z_]\w*|[A-Z]\w*Error)"
_ENTRY = re.compile(rf"(?:^|(?<=[.;] )|(?<=\n))(?P<names>{_NAME}(?:, {_NAME})*)(?P<more> \([^)]*\)| and others)?: ")
_TOGETHER = "\u2063"  # stands between the names of one entry while napoleon and Sphinx, who would part them, look at it


def split_entries(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001 - Sphinx's
    """Of ``a: text. b, c: text`` in a section make two entries, where ``a``, ``b`` and ``c`` are names that the object has."""
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = ": " + lines[0]  # else napoleon would take what stands before a colon for a type
    known, made, at = _names_of(obj), [], 0
    while at < len(lines):
        made.append(lines[at])
        section = _SECTION.match(lines[at])
        at += 1
        if section:
            body, at = _body(lines, at, len(section[1]))
            if section[2] == "Returns":
                made += _returns(body)
            else:
                made += _entries(body, section[1] + "    ", known, comma=", " if section[2] == "Raises" else _TOGETHER)
    lines[:] = made


def _names_of(obj: Any) -> set[str]:
    """What an entry may be called: arguments and fields."""
    makers = [each.__init__ for each in obj.__mro__ if "__init__" in vars(each)] if isinstance(obj, type) else [obj]
    names = set(getattr(obj, "__annotations__", {}))
    for maker in makers:
        with contextlib.suppress(TypeError, ValueError):
            names |= set(inspect.signature(maker).parameters)
    return names


def _body(lines: list[str], at: int, indent: int) -> tuple[list[str], int]:
    """The lines of a section, and where it ends."""
    end = at
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    return lines[at:end], end


def _returns(body: list[str]) -> list[str]:
    """The sentences of a result: napoleon would take what stands before a first colon for a type."""
    if not body:
        return body
    text = body[0].lstrip()
    return [body[0].removesuffix(text) + ": " + text, *body[1:]]


def _entries(body: list[str], indent: str, known: set[str], *, comma: str) -> list[str]:
    """One line for each entry: it begins a line of the section, or a sentence with a name that the object has."""
    deep = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    text = "".join(("\n" if len(line) - len(line.lstrip()) == deep else " ") + line.strip() for line in body).strip()
    starts = [found for found in _ENTRY.finditer(text) if _is_entry(found, text, known)]
    if not starts:
        return body
    ends = [*(found.start() for found in starts[1:]), len(text)]
    made = []
    for found, end in zip(starts, ends, strict=True):
        more = (found["more"] or "").strip().replace("and others", "and others:")
        said = " ".join([more, *text[found.end() : end].split()]).strip()
        made.append(f"{indent}{found['names'].replace(', ', comma)}: {said}")
    return [*made, ""]


def _is_entry(found: re.Match[str], text: str, known: set[str]) -> bool:
    if found.start() == 0 or text[found.start() - 1] == "\n":
        return True
    return all(name in known or name.endswith("Error") for name in found["names"].split(", "))


def part_names(app: Sphinx, doctree: nodes.document) -> None:  # noqa: ARG001 - Sphinx's signature
    """Give the names of one entry their space back."""
    for text in list(doctree.findall(nodes.Text)):
        if _TOGETHER in text:
            text.parent.replace(text, nodes.Text(text.replace(_TOGETHER, ", ")))


def code_or_link(
    _role: str, rawtext: str, text: str, _line: int, inliner: Inliner, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Single backquotes: code, and a link where it is the name of one thing of the reference."""
    code = nodes.literal(rawtext, nodes.unescape(text))
    if not re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return [code], []
    env: BuildEnvironment = inliner.document.settings.env
    return [addnodes.pending_xref(rawtext, code, reftype="code-or-link", reftarget=text, refdoc=env.docname)], []


def resolve_name(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.Element) -> nodes.Node | None:
    """A link where one thing of the reference has that name, whole or in its last parts. Code that names nothing stays code."""
    is_code = node["reftype"] == "code-or-link"
    if not is_code and node.get("refdomain") != "py":
        return None
    known = env.domains.python_domain.objects
    name = _called(node["reftarget"], known)
    if name is None:
        return contnode if is_code else None
    return make_refnode(app.builder, node["refdoc"], known[name].docname, known[name].node_id, contnode, name)


def _called(target: str, known: dict[str, ObjectEntry]) -> str | None:
    """The one thing that is called so; None where there is none, or more than one.

    What is imported from a package may be written by the module where it is made: then its last name decides.
    """
    if target.islower() and "." not in target:
        return None  # an argument, a key, a word
    for name in (target, f"{PACKAGE}.{target}"):
        if name in known:
            return name
    tail = target.rpartition(".")[2] if target.startswith(f"{PACKAGE}.") else target
    found = [name for name, entry in known.items() if name.endswith(f".{tail}") and not entry.aliased]
    return found[0] if len(found) == 1 else None


# --- links --------------------------------------------------------------------------------------------------------


class FolderLinks(SphinxPostTransform):
    """A link to a folder of the checkout: a page of the site cannot show one, so its words stand without a link."""

    default_priority = 8  # right before MyST looks for what is left

    def run(self, **kwargs: Any) -> None:  # noqa: ARG002 - docutils' signature
        """Replace them."""
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node["reftype"] == "myst" and node.get("refdomain") is None:
                path = self.env.relfn2path(node["reftarget"], node["refdoc"])[1]
                if Path(path).is_dir() and "#" not in node["reftarget"]:
                    node.replace_self(node[0].deepcopy())


def drop_ways_back(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:  # noqa: ARG001 - Sphinx's
    """Of pages with source code: their links back know one module a page, and miss what is documented as another's."""
    if page.startswith("_modules/"):
        context["body"] = re.sub(r'<a class="viewcode-back".*?</a>', "", context["body"])


def add_front_door(app: Sphinx, exception: Exception | None) -> None:
    """The start page lies in a folder; who opens the site's root is sent there."""
    if exception is None and app.builder.name == "html":
        page = f'<!doctype html><title>{project}</title><meta http-equiv="refresh" content="0; url={START}.html">\n'
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"  # what our docstrings call them
    app.add_lexer("csv", TextLexer)  # Pygments has none
    app.add_role("code-or-link", code_or_link)
    app.add_post_transform(FolderLinks)
    app.connect("autodoc-process-docstring", split_entries, priority=400)  # napoleon comes at 500
    app.connect("doctree-read", part_names)
    app.connect("missing-reference", resolve_name)
    app.connect("html-page-context", drop_ways_back)
    app.connect("build-finished", add_front_door)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
