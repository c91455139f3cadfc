"""What the pages show is true: targets of make, modules, files, folders and links exist, and objects are valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.support import manifests

from tidemill.api.v1alpha1 import KINDS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
KIND_PAGES = sorted((DOCS / "kinds").glob("*.md"))
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
SOURCES = (ROOT, ROOT / "operator", ROOT / "images" / "runtime")
FOLDERS = ("crds", "docs", "hack", "images", "manifests", "operator", "tests")
PATH = re.compile(rf"(?<![\w./:-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w/?)(?![\w<{{*…])")


def code(page: Path) -> list[str]:
    """Blocks and spans of code of a page, commands that go on in the next line joined."""
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose), *re.findall(r"^    (\S.*)$", prose, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_are_there(page: Path) -> None:
    commands = "\n".join(code(page))
    targets = set(re.findall(r"(?:^|[;&|( ])make (?:-s )?([a-z][a-z0-9-]*)", commands, flags=re.MULTILINE))
    modules = set(re.findall(r"python -m ([\w.]+)", commands))
    missing = {m for m in modules - {"pytest"} if not any(is_module(base / m.replace(".", "/")) for base in SOURCES)}

    assert targets - TARGETS == set()
    assert missing == set()


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_paths_are_there(page: Path) -> None:
    paths = {path for text in code(page) for path in PATH.findall(text)}

    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("page", [*PAGES, *KIND_PAGES], ids=lambda p: p.name)
def test_objects_are_valid(page: Path) -> None:
    kinds = {kind.model_fields["kind"].default: kind for kind in KINDS}
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    documents = [d for block in blocks for d in yaml.safe_load_all(block) if isinstance(d, dict)]

    for document in documents:
        if str(document.get("apiVersion")).startswith("tidemill.io/"):
            kinds[document["kind"]].model_validate(document)


def anchors(page: Path) -> set[str]:
    """Names that links to the headings of a page have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


def test_links_lead_somewhere() -> None:
    """One test that names all that do not: a test for each page would take longer than reading them."""
    broken = []
    for page in [*PAGES, *KIND_PAGES, *DECISIONS]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            if "://" not in target and (not place.exists() or (anchor and anchor not in anchors(place))):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


@pytest.mark.parametrize("page", KIND_PAGES, ids=lambda p: p.name)
def test_pages_of_kinds_link_to_others(page: Path) -> None:
    assert re.search(r"\]\((?!https?://)[^)]+\)", page.read_text())


def test_the_gitops_page_shows_the_expressions_as_they_are() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "gitops.md").read_text(), re.DOTALL)
    shown = next(yaml.safe_load(b) for b in blocks if "healthCheckExprs" in b)["spec"]["healthCheckExprs"]
    file = manifests.read(ROOT / "manifests" / "gitops" / "flux" / "healthcheckexprs.yaml")

    assert shown == file["spec"]["healthCheckExprs"][:1]


def test_pages_that_show_no_command_prove_nothing() -> None:
    readme, contributing = "\n".join(code(PAGES[0])), "\n".join(code(PAGES[1]))

    assert "make demo" in readme
    assert "python -m pytest" in contributing
    assert len(PATH.findall(contributing)) > 20
