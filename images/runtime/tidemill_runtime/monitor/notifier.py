"""Tells webhooks of alerts: each that begins, and its end, once to everybody, also across restarts.

What the operator lists is compared with what was told, which the database keeps. A message that is not taken is sent
again, later each time, for a day, and the report says so. Webhooks do not wait for one another. Nothing here decides
what an alert is.
"""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tidemill_contracts.inference import SERVED_ROOT
from tidemill_contracts.monitoring import MonitorConfig
from tidemill_contracts.notices import (
    ALERTS_KEY,
    KEY_ENTRY,
    MAX_WEBHOOKS,
    WEBHOOKS_ROOT,
    AlertNotice,
    WebhookConfig,
    WebhookReport,
)
from tidemill_runtime import mounted_files
from tidemill_runtime.monitor import webhooks
from tidemill_runtime.monitor.webhooks import DeliveryError
from tidemill_runtime.monitor.writer import Writer
from tidemill_runtime.mounts import mounted

LOOK_SECONDS: Final = 5.0
REPEAT_SECONDS: Final = 60.0
_FIRST_WAIT: Final = 5.0
_LONGEST_WAIT: Final = 600.0
_GIVE_UP: Final = 150
"""Attempts: about a day."""
_AT_ONCE: Final = 20
_MAX_ROWS: Final = 2_000
_LOG = logging.getLogger(__name__)

_Row = tuple[str, str, float | None, int]  # id, document, when it ended, attempts
Deliver = Callable[[WebhookConfig, bytes, bytes, float, Sequence[str]], None]


class Notifier:
    """A thread of its own; writes through the monitor's writer, reads by a connection of its own."""

    def __init__(
        self,
        config: MonitorConfig,
        reader: sqlite3.Connection,
        writer: Writer,
        clock: Callable[[], float],
        deliver: Deliver = webhooks.deliver,
    ) -> None:
        """`deliver`: how one message is sent."""
        self._webhooks = {webhook.name: webhook for webhook in config.webhooks}
        self._targets = config.webhook_targets
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._deliver = deliver
        self._reports: dict[str, WebhookReport] = {}
        self._pool = ThreadPoolExecutor(MAX_WEBHOOKS, thread_name_prefix="webhook")  # started when there is work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin, where there is anybody to tell."""
        if self._webhooks:
            self._read_reports()
            self._thread.start()

    def report(self) -> tuple[WebhookReport, ...]:
        """Return what became of the newest message to each webhook that there was one for; any thread may ask."""
        reports = dict(self._reports)
        return tuple(reports[name] for name in self._webhooks if name in reports)

    def stop(self) -> None:
        """End after the message that is on its way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(webhooks.TIMEOUT_SECONDS)
        self._pool.shutdown(wait=False)
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # the next look begins anew
                _LOG.exception("alerts could not be told")

    def look(self) -> None:
        """Compare what is listed with what was told, and send what is due."""
        listed = _listed()
        now = self._clock()
        if listed is not None:
            self._writer.submit(lambda connection: self._note(connection, listed, now)).result()
        due = {
            name: self._reader.execute(
                "SELECT id, document, ended, attempts FROM notice WHERE webhook = ? AND due <= ? ORDER BY due LIMIT ?",
                (name, now, _AT_ONCE),
            ).fetchall()
            for name in self._webhooks
        }
        told = [
            self._pool.submit(self._tell_all, self._webhooks[name], rows, now) for name, rows in due.items() if rows
        ]
        for one in told:
            one.result()
        self._read_reports()

    def _tell_all(self, webhook: WebhookConfig, rows: Sequence[_Row], began: float) -> None:
        """Send what is due to one webhook, until one message is not taken or a look has lasted for long enough."""
        for row in rows:
            is_late = self._clock() - began >= webhooks.TIMEOUT_SECONDS
            if self._stop.is_set() or is_late or not self._tell(webhook, *row):
                return

    def _read_reports(self) -> None:
        """Take what is stored: what became of messages, and how many wait."""
        waiting = dict(
            self._reader.execute("SELECT webhook, count(*) FROM notice WHERE attempts > 0 GROUP BY webhook").fetchall()
        )
        self._reports = {
            name: WebhookReport(name=name, problem=problem, http_status=status, waiting=waiting.get(name, 0))
            for name, problem, status in self._reader.execute("SELECT webhook, problem, http_status FROM delivery")
        }

    def _note(self, connection: sqlite3.Connection, listed: list[AlertNotice], now: float) -> None:
        names = list(self._webhooks)
        marks = ",".join("?" * len(names))
        connection.execute(f"DELETE FROM notice WHERE webhook NOT IN ({marks})", names)  # noqa: S608  marks only
        connection.execute(f"DELETE FROM delivery WHERE webhook NOT IN ({marks})", names)  # noqa: S608  marks only
        for webhook in self._webhooks.values():
            wanted = [a for a in listed if a.severity in webhook.severities and a.not_before <= now]
            connection.executemany(
                "INSERT OR IGNORE INTO notice (webhook, id, document, due) VALUES (?, ?, ?, ?)",
                [(webhook.name, a.id, a.to_json(), now) for a in wanted],
            )
            known = connection.execute(
                "SELECT id, told FROM notice WHERE webhook = ? AND ended IS NULL", (webhook.name,)
            ).fetchall()
            there = {a.id for a in wanted}
            for identity, told in known:
                if identity in there:
                    continue
                key = (webhook.name, identity)
                if told:
                    connection.execute(
                        "UPDATE notice SET ended = ?, due = ?, attempts = 0 WHERE webhook = ? AND id = ?",
                        (now, now, *key),
                    )
                else:  # it ended before anybody was told
                    connection.execute("DELETE FROM notice WHERE webhook = ? AND id = ?", key)
        connection.execute(
            "DELETE FROM notice WHERE (webhook, id) IN "
            "(SELECT webhook, id FROM notice ORDER BY due DESC LIMIT -1 OFFSET ?)",
            (_MAX_ROWS,),
        )

    def _tell(self, webhook: WebhookConfig, identity: str, document: str, ended: float | None, attempts: int) -> bool:
        """Send one message, and keep what became of it; return whether it was taken."""
        row = webhook.name, identity
        key = mounted_files.read(_key_file(webhook))
        now = self._clock()
        try:
            if key is None:
                raise DeliveryError(f"its Secret has no readable entry {KEY_ENTRY!r}", "NoKey")
            message = webhooks.body(webhook, AlertNotice.from_json(document), ended, now)
            self._deliver(webhook, message, key, now, self._targets)
        except DeliveryError as error:
            _LOG.warning("webhook %s was not told of %s: %s", webhook.name, identity, error)
            self._note_outcome(webhook, error)
            wait = min(_FIRST_WAIT * 2 ** min(attempts, 10), _LONGEST_WAIT)
            if attempts + 1 < _GIVE_UP:
                self._write(
                    "UPDATE notice SET attempts = ?, due = ? WHERE webhook = ? AND id = ?",
                    attempts + 1,
                    now + wait,
                    *row,
                )
                return False
            _LOG.error("webhook %s is not told of %s any more", webhook.name, identity)
            self._close(webhook, row, ended)
            return False
        self._note_outcome(webhook, None)
        self._close(webhook, row, ended)
        return True

    def _note_outcome(self, webhook: WebhookConfig, error: DeliveryError | None) -> None:
        """Keep what became of the newest message, and report it at once."""
        problem, status = (None, None) if error is None else (error.problem, error.http_status)
        before = self._reports.get(webhook.name)
        waiting = max(before.waiting if before else 0, int(error is not None))
        found = WebhookReport(name=webhook.name, problem=problem, http_status=status, waiting=waiting)
        self._reports[webhook.name] = found
        statement = "INSERT OR REPLACE INTO delivery (webhook, problem, http_status) VALUES (?, ?, ?)"
        self._write(statement, webhook.name, problem, status)

    def _close(self, webhook: WebhookConfig, row: tuple[str, str], ended: float | None) -> None:
        """Keep that this message is not sent again, but for what is repeated while it lasts."""
        if ended is not None:
            self._write("DELETE FROM notice WHERE webhook = ? AND id = ?", *row)
            return
        repeats = webhook.format == "Alertmanager"
        due = self._clock() + REPEAT_SECONDS if repeats else 1e18
        self._write(
            "UPDATE notice SET told = 1, attempts = 0, due = ? WHERE webhook = ? AND id = ? AND ended IS NULL",
            due,
            *row,
        )

    def _write(self, statement: str, *values: float | str | None) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        self._writer.submit(job).result()


def _key_file(webhook: WebhookConfig) -> Path:
    return mounted(WEBHOOKS_ROOT) / webhook.name / KEY_ENTRY


def _listed() -> list[AlertNotice] | None:
    """Return what the operator lists; None where that cannot be read: then nothing begins or ends."""
    content = mounted_files.read(mounted(SERVED_ROOT) / ALERTS_KEY)
    if content is None:
        return None
    try:
        entries = json.loads(content)
        if not isinstance(entries, list):
            raise TypeError("it is no list")
        return [AlertNotice.from_json(json.dumps(entry)) for entry in entries]
    except (ValueError, TypeError):
        _LOG.exception("%s is not a list of alerts", ALERTS_KEY)
        return None
