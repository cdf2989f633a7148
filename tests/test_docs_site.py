"""The documentation site: strictly built, nothing fetched from elsewhere, and its reference says what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import yaml

import pytest_saliency
from pytest_saliency.checks.registry import KINDS
from pytest_saliency.cli import SCHEMAS, main
from pytest_saliency.contracts.models import CasesSpec, CheckHead, Contrast, Defaults, ModelSpec, Preprocess
from tests.shell_words import pytest_options
from tools import docs_reference
from tools.docs_site import without_ways_out

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
COUNTED = ("ul", "ol", "li", "table", "tr", "td", "pre", "h2", "h3", "p", "strong", "em")


class Page(HTMLParser):
    """Counts the elements of a page and gathers its text and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        values = dict(attrs)
        for name in ("src", "href") if tag != "a" else ():
            if values.get(name):
                self.fetched.append(str(values[name]))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as ``make docs`` does: one warning, and there is none."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def article(site: Path, name: str) -> Page:
    html = (site / name).read_text(encoding="utf-8")
    return Page(html[html.index("<article") : html.index("</article>")])


def test_every_page_is_in_one_of_the_four_parts() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    first, *parts = yaml.safe_load(text)["nav"]
    assert first == {"Start": "README.md"}
    assert [next(iter(part)) for part in parts] == ["Tutorial", "How-to", "Explanation", "Reference"]
    listed = [name for part in parts for entry in next(iter(part.values())) for name in entry.values()]
    assert len(listed) == len(set(listed))
    made = {name for name in docs_reference.pages() if name.endswith(".md")}
    missing = {page.name for page in PAGES} - {"README.md"} | made
    assert missing == set(listed), "add the page to 'nav' in mkdocs.yml, in the part it belongs to"


def test_the_site_shows_what_the_repository_shows(site: Path) -> None:
    cmarkgfm = pytest.importorskip("cmarkgfm")
    for page in PAGES:
        shown = article(site, "index.html" if page.stem == "README" else f"{page.stem}.html").elements
        text = without_ways_out(page.read_text(encoding="utf-8"), page.name)
        text = re.sub(r'(?m)^```(\w+) title=".*"$', r"```\1", text)
        meant = Page(cmarkgfm.github_flavored_markdown_to_html(text)).elements
        assert {name: shown[name] for name in COUNTED} == {name: meant[name] for name in COUNTED}, page.name


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for address in Page(page.read_text(encoding="utf-8")).fetched:
            assert not re.match(r"(https?:)?//", address), (page.name, address)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_search_knows_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {f"{page.stem}.html" for page in PAGES} - {"README.html"} <= found


def test_links_out_of_the_pages_name_the_file() -> None:
    assert without_ways_out("see [the table](../benchmarks/x.md#y).", "claims.md") == (
        "see the table (`benchmarks/x.md` in the repository)."
    )
    assert without_ways_out("see [checks](../checks.md)", "reference/a.md") == "see [checks](../checks.md)"
    assert without_ways_out("[`a/b.md`](../a/b.md)", "x.md") == "`a/b.md`"


def test_every_key_of_a_contract_is_on_its_page() -> None:
    page = docs_reference.contract_page()
    sections = dict(re.findall(r"^##+ [^\n]*\{ #key-(\w+) \}\n(.*?)(?=^##|\Z)", page, flags=re.MULTILINE | re.DOTALL))
    for model in (ModelSpec, CasesSpec, Contrast, Defaults, Preprocess):
        rows = set(re.findall(r"^\| `(\w+)` \|", sections[model.__name__.lower()], flags=re.MULTILINE))
        assert rows == set(model.model_fields), model.__name__
        for name, field in model.model_fields.items():
            said = " ".join((field.description or "").split())
            assert said.replace("*", "\\*").replace("|", "&#124;").replace("<", "&lt;") in page, (model.__name__, name)
    checks = page.partition("{ #checks }")[2]
    common = set(re.findall(r"^\| `(\w+)` \|", checks.partition("###")[0], flags=re.MULTILINE))
    for kind, check in KINDS.items():
        rows = set(re.findall(r"^\| `(\w+)` \|", sections[kind], flags=re.MULTILINE))
        unwritten = {"method", "of_kind", "of_criterion"}  # where the kind has none, or another check gives it
        assert set(check.parameters.model_fields) - rows - common <= unwritten, kind
        roles = {"model", "before", "after", "nulls", "models", "of"}  # which models, or which other check
        assert rows | common <= set(check.parameters.model_fields) | set(CheckHead.model_fields) | roles, kind
        assert f"checks.md#{kind})" in page


def test_every_anchor_of_a_key_is_there(site: Path) -> None:
    html = (site / "reference" / "contract.html").read_text(encoding="utf-8")
    targets = set(re.findall(r'href="#(key-[\w-]+)"', html))
    assert targets
    assert targets <= set(re.findall(r'id="(key-[\w-]+)"', html))


def test_every_command_and_option_is_on_its_page() -> None:
    page = docs_reference.commands_page()
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        section = re.search(rf"^## pytest-saliency {name}\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL)
        assert section is not None, name
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in section[1], (name, option)


def test_every_option_of_pytest_is_on_its_page() -> None:
    ours = {option for option in pytest_options() if option.startswith("--saliency")}
    assert set(re.findall(r"^\| <code>(--saliency-[a-z-]+)", docs_reference.options_page(), flags=re.MULTILINE)) == ours


def test_every_public_name_is_on_its_page(site: Path) -> None:
    html = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in set(pytest_saliency.__all__) - {"__version__"}:
        value = getattr(pytest_saliency, name)
        assert f'id="{value.__module__}.{name}"' in html, name
        first = (value.__doc__ or "").strip().split("\n\n")[0].split(". ")[0].split("``")[0]
        assert " ".join(first.split())[:40].rstrip(".") in " ".join(Page(html).text.split()), name


def test_every_schema_is_a_file_of_the_site(site: Path) -> None:
    for name in SCHEMAS:
        text = (site / "reference" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
        assert json.loads(text) == json.loads(docs_reference.schema_files()[name])
        assert f"## {name}\n" in docs_reference.files_page()


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "string"}, "text"),
        ({"enum": ["a", "b"]}, "<code>a</code> or <code>b</code>"),
        ({"type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0}, "number > 0, ≤ 1"),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, "text or list of text"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "mapping to whole number"),
        ({"$ref": "#/$defs/Sample"}, "[a draw](#key-sample)"),
        ({"const": 1}, "<code>1</code>"),
    ],
)
def test_types_in_words(schema: dict[str, object], said: str) -> None:
    assert docs_reference.type_of(schema) == said
