"""From a recorded comparison to verdicts, tables and a picture: nothing is measured here."""

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hack.bench.serving import __main__ as program
from hack.bench.serving import goals, picture, profiling, report
from hack.bench.serving.comparison import compact, rotated, steps
from hack.bench.serving.results import Figure, Results, figure

RECORDED = Path(__file__).with_name("serving-benchmark.json")
Document = dict[str, Any]


@pytest.fixture
def document() -> Document:
    """A quick run that was recorded: one round, three models."""
    recorded: Document = json.loads(RECORDED.read_text())
    return recorded


def set_rate(document: Document, model: str, server: str, users: int, *rates: float) -> None:
    """Change the throughput of one row in closed loops."""
    for cell in document["cells"]:
        where = (cell["model"], cell["server"], cell["users"], cell["rows"], cell["loop"])
        if where == (model, server, users, 1, "closed"):
            cell["rounds"] = [{**cell["rounds"][0], "per_second": rate} for rate in rates]


def verdict(document: Document, what: str) -> goals.Goal:
    """Return one goal."""
    return next(one for one in goals.judge(Results(document)) if one.what == what)


def test_medians_and_spread_are_of_rounds() -> None:
    assert figure([4.0, 1.0, 2.0]) == Figure(2.0, 1.0, 4.0)
    assert figure([90.0, 100.0, 120.0]).spread == pytest.approx(0.15)  # type: ignore[union-attr]
    assert figure([]) is None


def test_every_goal_is_judged(document: Document) -> None:
    judged = goals.judge(Results(document))
    # answers, records, floor, peers, native, workers with single rows and batches, p99 twice, cold starts, memory
    assert len(judged) == 1 + 1 + 9 + 9 + 2 + 4 + 3 + 3 + 2 + 3
    not_measured = [one.what for one in judged if one.met is None]  # the recorded run is from before this server
    assert not_measured == [
        "prediction records of single rows that were dropped",
        *[f"forest natively, {users} users, two workers beside one" for users in (16, 300)],
        *[f"{model}, p99 of one row at the best peer's half load, beside it" for model in ("iris", "mixed", "forest")],
    ]


def test_a_ratio_is_of_medians(document: Document) -> None:
    set_rate(document, "iris", "tidemill", 16, 14_900, 15_000, 19_000)
    set_rate(document, "iris", "onnx", 16, 1, 10_000, 20_000)
    judged = verdict(document, "iris, 16 users, beside the ONNX floor")
    assert (judged.ratio, judged.met) == (pytest.approx(1.5), True)
    set_rate(document, "iris", "tidemill", 16, 14_900, 14_999, 19_000)
    assert verdict(document, "iris, 16 users, beside the ONNX floor").met is False


def test_the_best_peer_is_the_fastest_one_as_it_comes(document: Document) -> None:
    for key in ("mlserver", "mlserver-0", "kserve-v1", "kserve-v2", "bentoml"):
        set_rate(document, "forest", key, 16, 100)
    set_rate(document, "forest", "kserve-v2", 16, 150)
    set_rate(document, "forest", "mlserver-batching", 16, 1500)  # off by default: shown, not judged by
    set_rate(document, "forest", "bentoml-batching", 16, 100)
    set_rate(document, "forest", "tidemill", 16, 9000)
    judged = verdict(document, "forest, 16 users, beside the best peer")
    assert (judged.ratio, judged.met) == (60, True)
    assert judged.beside == "KServe, V2: 150"
    assert judged.remark == "6.0× MLServer, no pool, batching"


def test_what_was_not_measured_is_no_goal_met(document: Document) -> None:
    document["cells"] = [cell for cell in document["cells"] if cell["server"] != "tidemill-2"]
    judged = verdict(document, "iris, 16 users, two workers beside one")
    assert judged.met is None
    assert "iris, 16 users, two workers beside one: not measured, goal ≥ 1.6×" in goals.missed([judged])


def test_a_round_without_a_right_answer_is_no_figure(document: Document) -> None:
    for cell in document["cells"]:
        if cell["server"] == "bentoml":
            cell["rounds"] = [{"error": "it died"}, {**cell["rounds"][0], "samples": 0, "answers": 0, "errors": 7}]
    results = Results(document)
    assert results.closed("iris", "bentoml", 16, 1) is None
    cells = sum(cell["server"] == "bentoml" and cell["model"] == "iris" for cell in document["cells"])
    assert results.errors("iris", "bentoml") == 8 * cells


def test_latency_is_judged_at_half_load(document: Document) -> None:
    for cell in document["cells"]:
        if cell["loop"] == "open" and cell["rows"] == 1 and cell["model"] == "iris":
            value = {"tidemill": 900.0, "kserve-v1": 2700.0}.get(cell["server"], 5000.0)
            cell["rounds"] = [{**cell["rounds"][0], "p99": value}]
    judged = verdict(document, "iris, p99 of one row at half load, beside the best peer")
    assert (judged.ratio, judged.met) == (pytest.approx(1 / 3), True)
    assert judged.beside == "KServe, V1: 2,700"
    same = next(
        c for c in document["cells"] if c["loop"] == "open" and (c["model"], c["server"]) == ("iris", "tidemill")
    )
    document["cells"].append({**same, "loop": "peers", "rows": 1, "rounds": [{**same["rounds"][0], "p99": 1000.0}]})
    judged = verdict(document, "iris, p99 of one row at the best peer's half load, beside it")
    assert (judged.value, judged.beside, judged.met) == (1000.0, "KServe, V1: 2,700", False)


def test_a_dropped_record_is_a_missed_goal(document: Document) -> None:
    cell = next(c for c in document["cells"] if (c["server"], c["rows"]) == ("tidemill", 1))
    cell["rounds"] = [
        {**cell["rounds"][0], "answers": 100, "dropped": 0.0},
        {**cell["rounds"][0], "answers": 100, "dropped": 3.0},
    ]
    judged = verdict(document, "prediction records of single rows that were dropped")
    assert (judged.value, judged.met) == (3.0, False)
    assert "- Of the prediction records of requests of 1 row, 2% were dropped and counted." in report.render(
        Results(document)
    )
    cell["rounds"].pop()
    assert verdict(document, judged.what).met is True


def test_limits_are_limits(document: Document) -> None:
    document["cold"] = [{"model": "iris", "server": "tidemill", "seconds": s} for s in (0.8, 0.9, 3.0)]
    assert verdict(document, "cold start, Tidemill, ONNX").met is True
    document["memory"] = [{"model": "iris", "server": "tidemill", "mib": 120.5}]
    assert verdict(document, "memory after the load, iris").met is False


def test_servers_of_one_process_share_its_cold_start(document: Document) -> None:
    results = Results(document)
    assert results.cold("kserve-v2") == results.cold("kserve-v1") is not None


def test_tables_name_every_server_and_every_goal(document: Document) -> None:
    results = Results(document)
    text = report.render(results, "x.svg")
    for one in document["servers"]:
        assert text.count(f"| {one['label']} |") >= 2
    for goal in goals.judge(results):
        assert f"| {goal.what} |" in text
    assert "![Requests per second and latencies](x.svg)" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows if "CPU" in line or "±" in line}) == 1


def test_one_wrong_answer_of_ours_is_a_missed_goal(document: Document) -> None:
    what = "answers of ours that were wrong or missing"
    assert verdict(document, what).met is True
    for cell in document["cells"]:
        if cell["server"] == "bentoml":
            cell["rounds"][0]["errors"] = 5
    assert verdict(document, what).met is True
    next(cell for cell in document["cells"] if cell["server"] == "tidemill")["rounds"][0]["errors"] = 1
    assert goals.missed([verdict(document, what)]) == [f"{what}: 1 answers, goal none"]


def test_a_missed_goal_names_what_is_to_be_profiled(document: Document) -> None:
    set_rate(document, "mixed", "tidemill", 16, 1)
    document["cells"] = [cell for cell in document["cells"] if cell["server"] != "tidemill-native"]
    judged = {one.judged for one in goals.judge(Results(document)) if one.met is False and "16 users" in one.what}
    assert ("mixed", "tidemill") in judged
    assert ("forest", "tidemill-native") not in judged  # not measured is not missed


def test_profiles_are_told_by_share(document: Document) -> None:
    functions = {"a/b.py: busy": [60, 90], "a/c.py: quick": [40, 40], "a/d.py: caller": [0, 100]}
    found = profiling.shares({"samples": 100, "functions": functions})
    document["profiles"] = [{"model": "mixed", "server": "tidemill", "users": 16, **found}]
    text = report.render(Results(document))
    assert "## Where the time goes: Tidemill, ONNX, mixed" in text
    assert "| `a/b.py: busy` | 60.0% | 90.0% |\n| `a/c.py: quick` | 40.0% | 40.0% |\n" in text
    assert "caller" not in text


def test_latencies_of_every_load_are_told(document: Document) -> None:
    text = report.render(Results(document))
    loads = ("1 user", "16 users", "300 users", "half load")
    assert f"| {' | '.join(f'p50 / p99 ms, {load}' for load in loads)} |" in text
    ours = next(line for line in text.splitlines() if line.startswith("| Tidemill, ONNX |") and " / " in line)
    cells = [cell.strip().split(" / ") for cell in ours.split("|")[5:9]]
    assert all(0 < float(p50) <= float(p99) for p50, p99 in cells), cells


def test_what_was_left_out_is_said(document: Document) -> None:
    document["missing"] = {"bentoml": "iris: bentoml needs Python 3.13 or older"}
    assert "- BentoML: iris: bentoml needs Python 3.13 or older" in report.render(Results(document))


def test_only_what_is_between_the_marks_is_written(document: Document, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.update(page, Results(document), "x.svg")
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n![")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "\nold\n" not in text
    report.update(page, Results(document), "x.svg")
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md: expected the lines"):
        report.update(page, Results(document), "x.svg")


def test_the_picture_shows_every_bar_within_its_edges(document: Document) -> None:
    results = Results(document)
    root = ET.fromstring(picture.draw(results))
    space = "{http://www.w3.org/2000/svg}"
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    bars = [r for r in root.iter(f"{space}rect") if r.attrib["class"] != "page"]
    assert len(bars) > sum(len(results.of(model)) for model in results.models)
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert 0 <= float(bar.attrib["y"]) < height
    texts = [text.text or "" for text in root.iter(f"{space}text")]
    for one in document["servers"]:
        assert (one["label"] in texts) is (one["key"] not in picture.LEFT_OUT)
    style = root.find(f"{space}style")
    assert style is not None
    assert "prefers-color-scheme: dark" in (style.text or "")


def test_longer_bars_are_greater_figures(document: Document) -> None:
    set_rate(document, "iris", "tidemill", 16, 1000)
    set_rate(document, "iris", "onnx", 16, 500)
    root = ET.fromstring(picture.draw(Results(document)))
    drawn = [element for element in root if element.tag.endswith(("rect", "text"))]
    lengths: dict[str, float] = {}
    for text, bar in pairwise(drawn):
        if text.text and bar.tag.endswith("rect"):
            lengths.setdefault(text.text, float(bar.attrib["width"]))
    assert lengths["Tidemill, ONNX"] == pytest.approx(2 * lengths["bare ASGI, orjson and ONNX"], abs=0.2)


def test_a_recorded_result_is_shown_again(
    document: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "result.json"
    copy.write_text(compact(document))
    assert json.loads(copy.read_text()) == document
    assert program.main(["--render", str(copy), "--no-strict"]) == 0
    assert "## Goals" in capsys.readouterr().out


def test_missed_goals_decide_the_exit_code(document: Document, tmp_path: Path) -> None:
    copy = tmp_path / "result.json"
    document["memory"] = []
    copy.write_text(compact(document))
    assert program.main(["--render", str(copy)]) == 1


def test_unknown_names_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["--servers", "tidemill,seldon"])
    assert ended.value.code == 2
    assert "unknown: seldon" in capsys.readouterr().err


def test_the_order_of_servers_rotates() -> None:
    names: list[Any] = ["a", "b", "c"]
    assert [rotated(names, number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 1) == []


def test_progress_counts_every_load() -> None:
    settings = program.comparison.Settings(rounds=2, cold_starts=3, models=("iris",), users=(1, 16), rows=(1,))
    two = [one for one in program.SERVERS if one.key in ("kserve-v1", "kserve-v2")]
    assert steps(settings, two) == 2 * 3 * 2 + 3  # of one process


def test_answers_to_what_was_sent_before_are_a_rate_without_a_latency(document: Document) -> None:
    for cell in document["cells"]:
        if (cell["model"], cell["server"]) == ("forest", "bentoml"):
            cell["rounds"] = [{**cell["rounds"][0], "samples": 0, "per_second": 40.0}]
    results = Results(document)
    assert results.closed("forest", "bentoml", 300, 1) == Figure(40, 40, 40)
    assert results.closed("forest", "bentoml", 300, 1, "p99") is None
