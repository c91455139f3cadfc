"""One row of a benchmark's result and the table that is printed. No measuring here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, the floor or peer measured beside it, and the goal where there is one."""

    what: str
    value: float
    unit: str
    floor: float | None = None  # the same work done barely, in the same unit and the same run
    floor_name: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Value divided by floor; None without a floor."""
        return self.value / self.floor if self.floor else None


def render(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | measured | floor in the same run | ratio | goal |", "|---|---|---|---|---|"]
    for row in rows:
        floor = f"{number(row.floor)} {row.unit} ({row.floor_name})" if row.floor is not None else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        verdict = {True: "met: ", False: "MISSED: ", None: ""}[row.met]
        lines.append(f"| {row.what} | {number(row.value)} {row.unit} | {floor} | {ratio} | {verdict}{row.goal} |")
    return "\n".join(lines)


def missed(rows: list[Row]) -> list[str]:
    """Return a sentence for each goal that was not met."""
    return [f"{row.what}: {number(row.value)} {row.unit}, goal {row.goal}" for row in rows if row.met is False]


def number(value: float) -> str:
    """Return a figure with three significant digits, never in scientific form."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
