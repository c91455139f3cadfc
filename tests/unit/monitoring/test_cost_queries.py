"""The queries of docs/metrics.md for the cost of predictions give what the page says, under promtool."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.support import promtool

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
LABELS = 'namespace="team",deployment="churn"'
SERIES = {  # of eight days, every two minutes: half a CPU, 10 predictions a second, 100 MiB
    "process_cpu_seconds_total": "0+60x5760",
    "tidemill_predictions_total": "0+1200x5760",
    "process_resident_memory_bytes": "104857600x5760",
    "up": "1x5760",
}
EXPECTED = {
    "CPU seconds per 1,000 predictions": 50.0,
    "memory in MiB for 1,000 predictions per second": 10_000.0,
    "idle share of the requested CPU": 0.75,
    "CPU request that fits": 0.6,
    "memory limit that fits": 1.2 * 104_857_600,
}


def queries() -> dict[str, str]:
    """The queries of the page by what they say, for one deployment."""
    text = PAGE.read_text().split("## Cost of predictions")[1].split("\n## ")[0]
    found = dict(re.findall(r"^\| ([^|`]+) \| `(.+)` \|$", text, re.MULTILINE))
    return {what: query.replace("…", LABELS) for what, query in found.items()}


def test_each_query_gives_the_figure(tmp_path: Path) -> None:
    found = queries()
    assert set(found) == set(EXPECTED)
    series = [{"series": f"{name}{{{LABELS}}}", "values": values} for name, values in SERIES.items()]
    wanted = f'kube_pod_container_resource_requests{{resource="cpu",{LABELS}}}'
    series.append({"series": wanted, "values": "2x5760"})
    tests = [
        {
            "expr": f"round({query}, 0.0001)",
            "eval_time": "8d",
            "exp_samples": [{"labels": "{}", "value": round(EXPECTED[what], 4)}],
        }
        for what, query in found.items()
    ]
    document = {"evaluation_interval": "2m", "tests": [{"interval": "2m", "input_series": series}]}
    document["tests"][0]["promql_expr_test"] = tests  # type: ignore[index]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump(document))
    promtool.run("test", "rules", path)
