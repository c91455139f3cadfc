"""The documented conditions and reasons are exactly those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from tidemill.training import constants

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conditions-training.md"
NO_CONDITION = {"APPROVE", "REJECT", "DECISION_COMMENT", "SPEC", "SCHEDULED", "PROBE", "KUEUE_QUEUE", "JOB_NAME"}


def test_every_word_of_the_code_is_documented() -> None:
    documented = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE.read_text()))
    ours = {v for k, v in vars(constants).items() if k.isupper() and k not in NO_CONDITION and k != "GROUP"}

    assert ours - documented == set()


def test_every_documented_reason_of_a_table_is_a_word_of_the_code() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (True|False|Unknown) \|", line)]
    documented = {re.search(r"`([A-Za-z]+)`", row).group(1) for row in rows}  # type: ignore[union-attr]

    assert documented <= {str(v) for v in vars(constants).values()}
    assert len(rows) > 25
