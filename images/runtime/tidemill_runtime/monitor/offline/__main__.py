"""`python -m tidemill_runtime.monitor.offline`: the page of a monitor's database, or of a table of rows, as files.

Exit code 2 where arguments or files are wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tidemill_contracts import model_metrics
from tidemill_contracts.drift_tests import AUTO
from tidemill_contracts.monitoring import DriftConfig, MonitorConfig, PerformanceConfig, QualityConfig, TestConfig
from tidemill_runtime.monitor.offline import files
from tidemill_runtime.monitor.page.content import PageContent
from tidemill_runtime.monitor.page.document import render


def main(arguments: Sequence[str]) -> int:
    """Write the page, and return 0; 2 where something is wrong with what was given."""
    given = _parser().parse_args(arguments)
    try:
        content = _content(given)
        if given.deployment is not None:
            content = files.with_objectives(content, given.deployment)
        given.output.write_text(render(content), encoding="utf-8")
        if given.json is not None:
            given.json.write_text(content.model_dump_json(), encoding="utf-8")
    except (files.FileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tidemill_runtime.monitor.offline", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the HTML file to write")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the monitor's configuration, as JSON")
    parser.add_argument("--deployment", type=Path, metavar="FILE", help="kubectl get md -o json, for its objectives")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--database", type=Path, metavar="FILE", help="a monitor's database; needs --config")
    source.add_argument("--data", type=Path, metavar="FILE", help="rows: .parquet, .csv or .jsonl; needs --reference")
    parser.add_argument("--digest", help="the version of the database to show; the last one where it is left out")
    parser.add_argument("--reference", type=Path, metavar="FILE", help="reference.json of the version")
    parser.add_argument("--time", metavar="COLUMN", help="seconds since the epoch or ISO 8601; none: one window")
    parser.add_argument("--prediction", metavar="COLUMN", help="answers of the model")
    parser.add_argument("--score", metavar="COLUMN", help="probability of the predicted class")
    parser.add_argument("--label", metavar="COLUMN", help="true values; needs --prediction and --metric or --config")
    parser.add_argument("--metric", help="computed from labels, as accuracy")
    parser.add_argument("--window-seconds", type=int, default=86_400, help="86400 where it is left out")
    return parser


def _content(given: argparse.Namespace) -> PageContent:
    config = None
    if given.config is not None:
        try:
            config = MonitorConfig.from_json(given.config.read_bytes())
        except ValueError as error:
            raise files.FileError(f"{given.config}: not a monitor's configuration") from error
    if given.database is not None:
        if config is None:
            raise files.FileError("--database: needs --config")
        return files.of_database(given.database, config, given.digest)
    if given.reference is None:
        raise files.FileError("--data: needs --reference")
    if given.label is not None and given.prediction is None:
        raise files.FileError("--label: needs --prediction")
    columns = files.Columns(given.time, given.prediction, given.score, given.label)
    return files.of_table(given.data, given.reference, config or _usual(given), columns)


def _usual(given: argparse.Namespace) -> MonitorConfig:
    """Return the configuration of rows without one: every test by the column, usual limits, every label due."""
    auto = TestConfig(test=AUTO)
    performance = None
    if given.metric is not None:
        known = [metric.name for metric in model_metrics.METRICS if metric.monitored]
        if given.metric not in known:
            raise files.FileError(f"--metric: must be one of {', '.join(known)}")
        performance = PerformanceConfig(metric=given.metric, min_labels=1, label_delay_seconds=0, estimate=True)
    elif given.label is not None:
        raise files.FileError("--label: needs --metric or --config")
    if given.window_seconds < 1:
        raise files.FileError("--window-seconds: must be at least 1")
    return MonitorConfig(
        namespace="files",
        monitor=given.data.stem,
        deployment=given.data.stem,
        window_seconds=given.window_seconds,
        drift=DriftConfig(features=auto, predictions=auto if given.prediction else None),
        quality=QualityConfig(),
        performance=performance,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
