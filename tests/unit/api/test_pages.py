"""Pages explain every condition and reason that the operator writes, and the GitOps page shows what the files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tidemill.core import staged_updates
from tidemill.monitoring import state
from tidemill.monitoring import status as monitoring
from tidemill.serving import status as serving

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
WORDS = {
    "conditions-serving.md": serving.REASONS | {serving.AVAILABLE, serving.PROGRESSING, serving.ROLLED_BACK}
    | {staged_updates.PODS_CURRENT, *staged_updates.REASONS},
    "conditions-monitoring.md": monitoring.REASONS | {*state.CONDITION_OF.values(), state.DATA_ARRIVING}
    | {state.LABELS_ARRIVING, state.PROFILE_TOO_OLD, monitoring.PROMETHEUS_READY}
    | {staged_updates.PODS_CURRENT, *staged_updates.REASONS},
    "operator.md": {staged_updates.PODS_CURRENT, *staged_updates.REASONS},
}  # fmt: skip


@pytest.mark.parametrize("page", WORDS)
def test_every_reason_is_explained(page: str) -> None:
    text = (DOCS / page).read_text()

    assert {word for word in WORDS[page] if f"`{word}`" not in text} == set()


def anchors(page: Path) -> set[str]:
    """Names that links to the headings of a page have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [t for t in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in t]
    places = [(page.parent / path if path else page, anchor) for path, _, anchor in (t.partition("#") for t in targets)]

    assert [str(place) for place, _ in places if not place.exists()] == []
    assert [f"{place}#{name}" for place, name in places if name and name not in anchors(place)] == []


@pytest.mark.parametrize("page", sorted((DOCS / "kinds").glob("*.md")), ids=lambda p: p.name)
def test_pages_of_kinds_link_to_others(page: Path) -> None:
    assert re.search(r"\]\((?!https?://)[^)]+\)", page.read_text())


def test_the_gitops_page_shows_the_expressions_as_they_are() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "gitops.md").read_text(), re.DOTALL)
    shown = next(yaml.safe_load(b) for b in blocks if "healthCheckExprs" in b)["spec"]["healthCheckExprs"]
    file = yaml.safe_load((ROOT / "manifests" / "gitops" / "flux" / "healthcheckexprs.yaml").read_text())

    assert shown == file["spec"]["healthCheckExprs"][:1]
