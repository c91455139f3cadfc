"""The report that people read: what it has, how large it is, who can read it, that no data becomes markup."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.monitoring import DIGEST, PROFILE, START, Clock, batch, config, reference, running

from tidemill_contracts.fairness import MAX_GROUPS, FairnessReport, GapReport, GroupReport
from tidemill_contracts.gaming import ClientReport, GamingFinding, GamingReport
from tidemill_contracts.inference import Feedback
from tidemill_contracts.monitoring import (
    ColumnScore,
    EstimateReport,
    MonitorReport,
    PerformanceConfig,
    PerformanceReport,
    PoweredReport,
    SegmentReport,
    VersionReport,
    WindowReport,
)
from tidemill_contracts.reference import CategoricalProfile, NumericProfile, ReferenceProfile
from tidemill_runtime.monitor import verdict
from tidemill_runtime.monitor.offline import __main__ as command
from tidemill_runtime.monitor.page import style
from tidemill_runtime.monitor.page.content import Bin, Distribution, PageContent
from tidemill_runtime.monitor.page.document import MAX_BYTES, render
from tidemill_runtime.monitor.service import Monitor

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & \u202e\x00\ud83d"
LIMIT = PerformanceConfig(metric="accuracy", min=0.9, min_labels=50, label_delay_seconds=0, segments=("plan",))


class Page(HTMLParser):
    """What a page is made of: every element with its attributes, in order, and whether they close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.path: list[str] = []
        self.texts: list[tuple[str, str]] = []  # (element, text)
        self.below: dict[str, set[str]] = {}  # what stands in each kind of element
        self.feed(text)
        self.close()
        assert not self.path

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        for outer in self.path:
            self.below.setdefault(outer, set()).add(tag)
        if tag not in VOID:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.path[-1] if self.path else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def labelled(monitor: Monitor, number: int, at: float, *, right: float = 0.9, **changes: Any) -> None:
    """Post a batch, and the labels of all its rows, of which a share is right."""
    sent = batch(number, 1_000, at=at, **changes)
    monitor.add_batch(sent).result(10)
    wrong = np.random.default_rng(1_000 + number).random(1_000) >= right
    pairs = zip(sent.ids, sent.predictions, wrong, strict=True)
    monitor.add_feedback([Feedback(id=i, label=1 - int(p or 0) if w else p) for i, p, w in pairs]).result(10)


@contextmanager
def watched(folder: Path) -> Iterator[Monitor]:
    """A monitor with three windows with labels, of which the last drifted."""
    clock = Clock(START + 4 * 3600)
    with running(config(folder, performance=LIMIT), clock) as monitor:
        for number in range(3):
            labelled(monitor, number, START + number * 3600, shift=0.6 if number == 2 else 0.0)
        monitor.detect()
        yield monitor


@pytest.fixture
def content(tmp_path: Path) -> Iterator[PageContent]:
    with watched(tmp_path) as monitor:
        yield monitor.page()


def test_the_page_has_the_figures_of_the_report(tmp_path: Path) -> None:
    with watched(tmp_path) as monitor:
        (version,) = monitor.report().versions
        shown = monitor.page()
    newest = version.windows[-1]
    assert (shown.version, shown.digest, shown.rows) == ("churn-1", DIGEST, 3_000)
    assert [window.drifted_share for window in shown.windows] == [w.drifted_share for w in version.windows]
    assert shown.performance == version.performance
    by_name = {one.name: one for one in shown.distributions if one.kind == "feature"}
    assert [by_name[feature.name].verdict for feature in newest.features] == list(newest.features)
    assert [one.kind for one in shown.distributions] == ["prediction", "feature", "feature"]
    assert shown.distributions[1].name == "age"  # it drifted


def test_distributions_are_shares_beside_those_of_training(content: PageContent) -> None:
    (age,) = (one for one in content.distributions if one.name == "age")
    assert [bin.reference for bin in age.bins] == [0.2] * 5
    assert sum(bin.current for bin in age.bins) == pytest.approx(1)
    assert age.bins[0].current == age.bins[1].current == age.bins[2].current * 0  # shifted by 0.6
    assert [bin.label for bin in age.bins] == ["below 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 or more"]
    assert len(age.scores) == 3
    assert age.scores[-1] == age.verdict.score
    (plan,) = (one for one in content.distributions if one.name == "plan")
    assert [bin.label for bin in plan.bins] == ["basic", "pro", "(other)"]


def test_performance_of_each_window_adds_up_to_that_of_all(content: PageContent) -> None:
    assert content.performance is not None
    assert [point.labels for point in content.points] == [1_000] * 3
    for point in content.points:
        assert point.value == pytest.approx(0.9, abs=0.03)
        assert point.low is not None
        assert point.high is not None
        assert point.value is not None
        assert point.low < point.value < point.high
    assert content.points[-1].value == pytest.approx(content.performance.value)
    assert content.limits.min == 0.9


def test_a_page_without_any_record_says_so(tmp_path: Path) -> None:
    with running(config(tmp_path)) as monitor:
        empty, unknown = monitor.page(), monitor.page("sha256:" + "f" * 64)
    assert empty.version == "churn-1"
    assert empty.distributions == ()
    assert unknown.version is None
    assert "There is no window yet." in render(empty)
    assert "No predictions of this version are recorded." in render(unknown)


def test_windows_of_too_few_rows_are_shown_as_not_judged(tmp_path: Path) -> None:
    with running(config(tmp_path), Clock(START + 7200)) as monitor:
        monitor.add_batch(batch(0, 3)).result(10)
        shown = monitor.page()
    assert shown.shown is not None
    assert not shown.shown.judged
    assert "not judged" in render(shown)


def test_the_page_is_one_file_without_scripts_and_loads_nothing(content: PageContent) -> None:
    text = render(content, links=True)
    page = Page(text)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use", "image", "audio"}
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "style"]
        for key in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
            value = attributes.get(key)
            assert value is None or (name == "a" and re.match(r"#|report\.(html|json)\?digest=", value))
    assert "url(" not in text
    assert "@import" not in text
    policies = [one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]


def test_names_and_values_of_the_data_never_become_markup(tmp_path: Path) -> None:
    name = HOSTILE.encode("utf-8", "ignore").decode()
    profile = ReferenceProfile(
        rows=10,
        features=(
            CategoricalProfile(name=name, categories=(name, "b"), counts=(5, 5, 0), missing=0),
            NumericProfile(name="x" * 5_000, edges=(1.0,), counts=(5, 5), missing=0),
        ),
        prediction=CategoricalProfile(name=f"{name}!", categories=(name, "1"), counts=(5, 5, 0), missing=0),
        prediction_rows=10,
    )
    changes = {"performance": LIMIT.model_copy(update={"segments": (name,)}), "min_rows": 1}
    columns = {name: [name] * 500 + [f"{name}?"] * 500, "x" * 5_000: [2.0] * 1_000}
    with running(config(tmp_path, **changes), Clock(START + 7200)) as monitor:
        monitor.add_reference(reference("sha256:" + "b" * 64, name, profile)).result(10)
        sent = batch(7, at=START, digest="sha256:" + "b" * 64, columns=columns, predictions=[name] * 1_000)
        monitor.add_batch(sent).result(10)
        monitor.add_feedback([Feedback(id=one, label=f"{name}?"[:256]) for one in sent.ids]).result(10)
        found = monitor.page("sha256:" + "b" * 64)
    text = render(found, links=True)
    assert "<script" not in text
    assert "onerror=alert(1)&gt;" in text
    assert not re.search(r"<img|\u202e|\x00", text)
    assert "x" * 300 not in text
    text.encode()  # no half of a surrogate pair
    harmless = {
        name for name, _ in Page(render(PageContent(namespace="a", monitor="b", deployment="c", now=0))).elements
    }
    drawn = {"figure", "svg", "desc", "line", "text", "rect", "figcaption", "details", "summary", "div", "table", "h3"}
    drawn |= {"caption", "thead", "tbody", "tr", "th", "td", "circle", "path"}
    assert {name for name, _ in Page(text).elements} <= harmless | drawn
    assert json.loads(found.model_dump_json())["distributions"]


@pytest.mark.parametrize("columns", [1_000, 2_500])
def test_a_page_of_very_many_columns_has_at_most_2_mb_and_says_what_it_lacks(columns: int) -> None:
    bins = tuple(Bin(label=f"{'<' * 60}{number}", reference=1 / 21, current=1 / 21) for number in range(21))
    one = Distribution(
        name="",
        kind="feature",
        bins=bins,
        reference_rows=10,
        rows=10,
        reference_missing_ratio=0,
        verdict=ColumnScore(name=""),
    )
    found = PageContent(
        namespace="team-a",
        monitor="churn",
        deployment="churn",
        now=START,
        version="churn-1",
        digest=DIGEST,
        shown=WindowReport(
            start=START,
            end=START + 3600,
            closed=True,
            rows=10,
            judged=True,
            quality_problems=tuple("'" * 5_000 for _ in range(columns)),
        ),
        distributions=tuple(one.model_copy(update={"name": f"{'&' * 300}{number}"}) for number in range(columns)),
    )
    text = render(found)
    assert 1_500_000 < len(text.encode()) <= MAX_BYTES
    shown = len(Page(text).all("figure"))
    assert f"{columns - shown} columns more in the JSON" in text
    assert f"{columns - 100} more are in the JSON" in text


def test_every_picture_has_a_title_a_description_and_a_table(content: PageContent) -> None:
    page = Page(render(content))
    pictures = page.all("svg")
    assert len(pictures) == len(page.all("figure")) == len(page.all("details")) > 5
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert len(ids) == sum("id" in attributes for _, attributes in page.elements)  # each once
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(str(picture["aria-labelledby"]).split()) <= ids
    assert {"svg", "figcaption", "details", "table", "caption", "th"} <= page.below["figure"]
    said = [text for tag, text in page.texts if tag in ("title", "desc")]
    assert len(said) == 2 * len(pictures) + 1
    assert all(text.strip() for text in said)


def test_headings_tables_and_regions_are_what_a_screen_reader_needs(content: PageContent) -> None:
    page = Page(render(content, links=True))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert [one.get("lang") for one in page.all("html")] == ["en"]
    assert len(page.all("main")) == 1
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(one.get("aria-label") for one in page.all("nav"))
    targets = {attributes.get("id") for _, attributes in page.elements}
    links = [str(one["href"]) for one in page.all("a")]
    assert all(link[1:] in targets for link in links if link.startswith("#"))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2 of `#rrggbb`."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(colours: style.Colours) -> None:
    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for name in ("text", "quiet", "now"):  # `now` is also the colour of links
        assert contrast(colours[name], colours["back"]) >= 4.5
    for name in ("line", "before", "limit"):
        assert contrast(colours[name], colours["back"]) >= 3
    assert set(colours) == set(style.LIGHT)


def test_the_page_follows_the_screen_light_or_dark() -> None:
    assert "@media (prefers-color-scheme:dark)" in style.SHEET
    assert all(f"--{name}:{value}" in style.SHEET for name, value in [*style.LIGHT.items(), *style.DARK.items()])
    used = set(re.findall(r"var\(--([a-z]+)\)", style.SHEET))
    assert used == set(style.LIGHT)
    assert not re.search(r"#[0-9a-f]{3,6}", re.sub(r":root\{[^}]*\}", "", style.SHEET))


# The command


ROWS = 1_200


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of two days with answers and labels, and the profile beside it."""
    random = np.random.default_rng(5)
    path = tmp_path / "rows.csv"
    (tmp_path / "reference.json").write_text(PROFILE.to_json())
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "age", "plan", "answer", "truth"])
        for row in range(ROWS):
            day = row // 600
            answer = int(random.random() < 0.5)
            truth = answer if random.random() < 0.8 else 1 - answer
            age = random.random() + 0.6 * day
            writer.writerow([f"2026-11-0{day + 1}T12:00:00Z", age, "pro" if row % 2 else "basic", answer, truth])
    return path


def arguments(table: Path, *more: str) -> list[str]:
    folder = table.parent
    return [
        *("--data", str(table), "--reference", str(folder / "reference.json")),
        *("--output", str(folder / "page.html"), "--json", str(folder / "page.json"), *more),
    ]


ALL = ("--time", "when", "--prediction", "answer", "--label", "truth", "--metric", "accuracy")


def test_the_command_makes_the_page_of_a_table(table: Path) -> None:
    assert command.main(arguments(table, *ALL)) == 0
    found = PageContent.from_json((table.parent / "page.json").read_bytes())
    assert [window.rows for window in found.windows] == [600, 600]
    assert [window.drift for window in found.windows] == [False, True]
    assert found.performance is not None
    assert found.performance.value == pytest.approx(0.8, abs=0.04)
    assert [point.labels for point in found.points] == [600, 600]
    assert Page((table.parent / "page.html").read_text()).all("h1")


def test_rows_without_a_time_are_one_window(table: Path) -> None:
    assert command.main(arguments(table)) == 0
    found = PageContent.from_json((table.parent / "page.json").read_bytes())
    assert [window.rows for window in found.windows] == [ROWS]
    assert found.performance is None


def test_parquet_and_json_lines_give_the_same_page(table: Path) -> None:
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pa_parquet

    rows = pa_csv.read_csv(table)
    pa_parquet.write_table(rows, table.with_suffix(".parquet"))
    lines = [json.dumps({**one, "when": one["when"].isoformat()}) for one in rows.to_pylist()]
    table.with_suffix(".jsonl").write_text("\n".join(lines))
    pages = []
    for suffix in (".csv", ".parquet", ".jsonl"):
        assert command.main(arguments(table.with_suffix(suffix), *ALL)) == 0
        pages.append(PageContent.from_json((table.parent / "page.json").read_bytes()))
    assert pages[0] == pages[1] == pages[2]


def test_the_command_makes_the_page_of_a_database_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    with watched(tmp_path) as monitor:
        expected = monitor.page()
    database = tmp_path / "monitor.db"
    before = database.read_bytes()
    (tmp_path / "monitor.json").write_text(config(tmp_path, performance=LIMIT).to_json())
    files = ("--config", str(tmp_path / "monitor.json"), "--json", str(tmp_path / "page.json"))
    assert command.main(["--database", str(database), "--output", str(tmp_path / "page.html"), *files]) == 0
    found = PageContent.from_json((tmp_path / "page.json").read_bytes())
    assert found.distributions == expected.distributions
    assert found.performance == expected.performance
    assert database.read_bytes() == before


def test_objectives_of_a_deployment_are_on_the_page_where_they_are_given(table: Path) -> None:
    deployment = table.parent / "md.json"
    rates = [{"window": "1h", "rate": 14.5}, {"window": "<script>", "rate": "x"}]
    status = {"slo": {"availability": {"objective": 0.999, "budgetLeft": 0.71, "burnRates": rates}, "latency": [1]}}
    deployment.write_text(json.dumps({"metadata": {"name": "churn"}, "status": status}))
    assert command.main(arguments(table, "--deployment", str(deployment))) == 0
    text = (table.parent / "page.html").read_text()
    assert "Objectives of churn" in text
    assert all(figure in text for figure in ("Availability", "0.999", "0.71", "1h: 14.5"))
    assert "<script" not in text


def full(name: str) -> PageContent:
    """A page of all that spec can ask for, with this text wherever the data or a client chooses one."""
    gap = GapReport(metric="SelectionRateRatio", value=0.6, low=0.5, high=0.7, rows=900, judged=True, exceeded=True)
    groups = (
        GroupReport(column=name, group="m", privileged=True, rows=1_000, selection_rate=0.5),
        GroupReport(column=name, group=name, rows=900, selection_rate=0.3, gaps=(gap,)),
    )
    finding = GamingFinding(kind="LabelMix", began=START, found=START, value=0.9, limit=0.1, of=400, expected=0.5)
    estimate = EstimateReport(start=START, end=START + 3600, rows=500, value=0.81, low=0.78, high=0.84, trusted=True)
    return PageContent(
        namespace="a",
        monitor="b",
        deployment="c",
        now=START,
        version="c-1",
        performance=PerformanceReport(
            metric="accuracy",
            value=0.8,
            labels=300,
            estimate=estimate.model_copy(update={"note": name}),
            estimated=0.82,
            powered=PoweredReport(value=0.805, low=0.79, high=0.82, rows=9_000, labels=300),
            segments=(SegmentReport(column=name, segment=name, value=0.7, labels=30),),
        ),
        fairness=FairnessReport(positive=name, groups=groups, start=START, end=START + 3600, note=name),
        gaming=GamingReport(period_start=START, clients=(ClientReport(client=name, findings=(finding,)),), known=1),
    )


def test_the_page_has_estimates_groups_and_evidence() -> None:
    text = render(full("plan"))
    for wanted in (
        "Estimated without labels: 0.81 (0.78 to 0.84) for 500 rows",
        "the estimate is 0.82",
        "from the labels of a random sample of 300 and all answers (prediction-powered): 0.805 (0.79 to 0.82)",
        "SelectionRateRatio",
        "0.6 (0.5 to 0.7)",
        "exceeded",
        "plan: LabelMix",
        "400 labels",
    ):
        assert wanted in text, wanted


def test_the_page_says_what_is_not_asked_for() -> None:
    text = render(PageContent(namespace="a", monitor="b", deployment="c", now=START))
    for wanted in ("spec.fairness is not set", "spec.gaming is not set", "No estimate:", ".status.slo"):
        assert wanted in text, wanted


def test_no_text_of_groups_clients_and_notes_becomes_markup() -> None:
    plain, hostile = Page(render(full("plan"))), Page(render(full(HOSTILE)))
    assert [name for name, _ in hostile.elements] == [name for name, _ in plain.elements]
    assert [set(attributes) for _, attributes in hostile.elements] == [set(found) for _, found in plain.elements]
    links = [a["href"] for a in hostile.all("a")]
    assert all(link is not None and link.startswith("#") for link in links), "nothing from elsewhere"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--time", "nope"], "nope"),
        (["--label", "truth"], "--prediction"),
        (["--prediction", "answer", "--label", "truth"], "--metric"),
        (["--metric", "fame"], "must be one of accuracy"),
        (["--window-seconds", "0"], "--window-seconds"),
        (["--time", "plan"], "'basic' is no time"),
        (["--deployment", "/nowhere/md.json"], "/nowhere/md.json"),
        (["--config", "/nowhere/monitor.json"], "/nowhere/monitor.json"),
    ],
)
def test_wrong_arguments_are_told_and_nothing_is_written(
    table: Path, change: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments(table, *change)) == 2
    assert said in capsys.readouterr().err
    assert not (table.parent / "page.html").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"a,b\n1"])
def test_files_that_cannot_be_read_are_told(table: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    table.with_suffix(".parquet").write_bytes(content)
    assert command.main(arguments(table.with_suffix(".parquet"))) == 2
    assert "rows.parquet" in capsys.readouterr().err
    (table.parent / "reference.json").write_bytes(content)
    assert command.main(arguments(table)) == 2
    assert "reference.json" in capsys.readouterr().err


# What the operator reads


def huge(name: str) -> MonitorReport:
    """A report of two versions with 2,500 drifted columns of long names, as bad as a monitor's can be."""
    columns = tuple(
        ColumnScore(name=f"{name}{n}", test="PSI", score=1.0 + n, threshold=0.2, drifted=True, category=name, note=name)
        for n in range(2_500)
    )
    window = WindowReport(
        start=START,
        end=START + 3600,
        closed=True,
        rows=10**9,
        judged=True,
        features=columns,
        prediction=columns[0],
        probability=columns[1],
        drift=True,
        tested=2_500,
        without_score=tuple(c.name for c in columns),
        quality_problems=tuple(f"{c.name}: missing_ratio 0.31 > 0.05" for c in columns),
    )
    segments = tuple(
        SegmentReport(column=name, segment=f"{n}{name}", value=0.123456789012345, low=0.1, high=0.2, labels=10**9)
        for n in range(50)
    )
    gap = GapReport(
        metric="FalsePositiveRateDifference",
        value=-0.123456789012345,
        low=-0.123456789012345,
        high=1e6 / 7,
        rows=2**53,
        privileged_rows=2**53,
        judged=True,
    )
    groups = tuple(
        GroupReport(column=name, group=f"{n}{name}"[:64], rows=2**53, selection_rate=1 / 3, gaps=(gap,) * 4)
        for n in range(MAX_GROUPS)
    )
    versions = tuple(
        VersionReport(
            version=f"churn-{n}",
            digest=f"sha256:{n}",
            rows=1,
            last_record_at=START + n,
            windows=(window,) * 24,
            performance=PerformanceReport(metric="accuracy", value=0.5, labels=1, segments=segments, note=name),
            fairness=FairnessReport(positive="1", groups=groups, note=name),
        )
        for n in range(2)
    )
    return MonitorReport(monitor="churn", now=START, started_at=START, versions=versions)


@pytest.mark.parametrize("name", ["c", "\U0001f600" * 300, "\x01" * 300, '"\\' * 200])
def test_what_the_operator_reads_has_at_most_64_kib(name: str) -> None:
    whole = huge(name)
    text = verdict.brief(whole)
    assert len(text.encode()) <= 64 << 10
    found = MonitorReport.from_json(text)
    (version,) = found.versions
    assert version.version == "churn-1"
    newest = version.windows[-1]
    assert (newest.drifted, newest.problems, newest.unscored) == (2_500, 2_500, 2_500)
    assert newest.features[0].score == 2_500.0  # the worst first
    assert all(": missing_ratio 0.31 > 0.05" in text for text in newest.quality_problems)
    assert [window.features for window in version.windows[:-1]] == [()] * 23
    assert version.performance is not None
    assert len(version.performance.segments) == 50
    assert version.fairness is not None
    assert len(version.fairness.groups) == MAX_GROUPS
    assert version.fairness.groups[0].gaps[3].value == -0.123457


def test_a_small_report_loses_nothing_that_decisions_need(tmp_path: Path) -> None:
    with watched(tmp_path) as monitor:
        whole = monitor.report(DIGEST)
    found = MonitorReport.from_json(verdict.brief(whole))
    (was,), (now,) = whole.versions, found.versions
    kept = [feature for feature in was.windows[-1].features if feature.drifted]
    assert [c.model_copy(update={"note": ""}) for c in kept] == list(now.windows[-1].features)
    assert was.performance is not None
    assert now.performance == was.performance.model_copy(update={"note": ""})
    assert [w.drifted_share for w in now.windows] == [w.drifted_share for w in was.windows]
