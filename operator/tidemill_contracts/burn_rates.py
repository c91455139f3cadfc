"""Burn rates of error budgets that somebody is told of: multiwindow, multi-burn-rate alerts of Google's SRE workbook.

The table is that of "Alerting on SLOs" (The Site Reliability Workbook, 2018, chapter 5, tables 5-6 and 5-8): with 30
days, 14.4 uses 2 % of the budget in an hour, 6 uses 5 % in six hours, 3 uses 10 % in a day and 1 uses 10 % in three
days. The short window, a twelfth of the long one, ends the finding soon after its cause ends. Operator and alerts use
these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidemill_contracts.alert import Alert, Severity


@dataclass(frozen=True, slots=True)
class BurnRateRule:
    """One rule: the burn rate is at least `factor` in both windows."""

    reason: str
    """Of the condition SLOBreached, when it is this rule that says so."""
    factor: float
    long: str
    short: str
    severity: Severity

    @property
    def windows(self) -> tuple[str, str]:
        """Both windows."""
        return self.long, self.short


WINDOWS: Final = {"5m": 300, "30m": 1_800, "1h": 3_600, "2h": 7_200, "6h": 21_600, "1d": 86_400, "3d": 259_200}
"""Seconds of each window, by its name."""

RULES: Final = (
    BurnRateRule("BurnRate1h", 14.4, "1h", "5m", "page"),
    BurnRateRule("BurnRate6h", 6.0, "6h", "30m", "page"),
    BurnRateRule("BurnRate1d", 3.0, "1d", "2h", "ticket"),
    BurnRateRule("BurnRate3d", 1.0, "3d", "6h", "ticket"),
)
"""The most urgent first."""

BUDGET_SPENT: Final = "BudgetSpent"
"""Reason of SLOBreached where nothing burns fast any more and the budget of the window is used up."""

MIN_BAD: Final = 5
"""Fewer bad requests in a window are no finding: with little traffic, a single one would be a high rate."""

_COMMAND: Final = "kubectl get md NAME -o jsonpath='{.status.slo}'"

ALERTS: Final = (
    *(
        Alert(
            name=f"TidemillSLO{rule.reason}",
            kinds=("ModelDeployment",),
            condition="SLOBreached",
            reasons=(rule.reason,),
            severity=rule.severity,
            summary="the error budget is used too fast",
            meaning=f"An error budget of spec.slo burns with a rate of {rule.factor:g} or more in the last {rule.long} "
            f"and in the last {rule.short}. With a rate of 1 it lasts for exactly its window.",
            todo=(
                "Read which objective the message of the condition names, and what is left of its budget.",
                "If a rollout is in progress or has just ended, look at the candidate, and abort or roll back.",
                "Errors: look at the pods of the served version, at their logs, limits and restarts.",
                "Slow answers: compare CPU use with limits, raise replicas or limits, and look at spec.server.",
            ),
            command=_COMMAND,
        )
        for rule in RULES
    ),
    Alert(
        name="TidemillSLOBudgetSpent",
        kinds=("ModelDeployment",),
        condition="SLOBreached",
        reasons=(BUDGET_SPENT,),
        severity="ticket",
        summary="the error budget is used up",
        meaning="More requests of the window of spec.slo were bad than its objective allows. Nothing burns fast now.",
        todo=(
            "Read which objective the message of the condition names.",
            "Put off risky changes until the budget has recovered: bad requests leave it when they are older than "
            "spec.slo.windowDays.",
            "If the objective is stricter than users need, change it.",
        ),
        command=_COMMAND,
    ),
)
