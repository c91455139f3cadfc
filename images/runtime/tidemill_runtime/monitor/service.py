"""The monitor without HTTP: what a batch, a reference, a label and a report do.

Counting runs on the caller's thread, writing on the writer's. What was acknowledged is committed and synced.
"""

import logging
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidemill_contracts.inference import Feedback, PredictionBatch, Reference
from tidemill_contracts.monitoring import MonitorConfig, MonitorReport
from tidemill_runtime.monitor import (
    bounds,
    clients,
    detection,
    ground_truth,
    payloads,
    queries,
    retention,
    schema,
    writes,
)
from tidemill_runtime.monitor.binning import Layout
from tidemill_runtime.monitor.bounds import InvalidBatchError
from tidemill_runtime.monitor.evaluation import Evaluator
from tidemill_runtime.monitor.exposition import MonitorCollector
from tidemill_runtime.monitor.ground_truth import Outcome
from tidemill_runtime.monitor.ingest import count_batch
from tidemill_runtime.monitor.notifier import Notifier
from tidemill_runtime.monitor.page.content import PageContent
from tidemill_runtime.monitor.payload_writer import PayloadWriter
from tidemill_runtime.monitor.senders import Senders, UnauthenticatedError
from tidemill_runtime.monitor.writer import Writer
from tidemill_runtime.monitor.writes import UnknownDigestError

_LOG = logging.getLogger(__name__)
EVALUATE_SECONDS: Final = 5.0
PRUNE_SECONDS: Final = 60.0
_TOKEN_SEEN: Final = "ingest_token"  # noqa: S105  the name of a total


@dataclass(frozen=True)
class FeedbackResult:
    """What became of posted labels: ids in the order they came."""

    outcomes: list[tuple[str, Outcome]]

    def count(self, outcome: Outcome) -> int:
        """Return how many labels had this outcome."""
        return sum(o == outcome for _, o in self.outcomes)

    @property
    def conflicts(self) -> list[str]:
        """Ids whose stored label differs from the posted one."""
        return [identifier for identifier, outcome in self.outcomes if outcome == "conflict"]


class Monitor:
    """Owns the database, the writer and the evaluator."""

    def __init__(
        self, config: MonitorConfig, clock: Callable[[], float] = time.time, senders: Senders | None = None
    ) -> None:
        """Open the database and bring it to the newest schema. `senders`: None for the usual files.

        One that a newer monitor has written is left as it is: then nothing is taken, and the report says why.
        """
        self.config = config
        self.collector = MonitorCollector(config)
        self._clock = clock
        self._retention = retention.Retention.of(config)
        connection, self._newer = _open(config.database)
        self.senders = senders or Senders()
        if queries.total(connection, _TOKEN_SEEN):
            self.senders.demand()
        self._layouts: dict[str, Layout] = writes.layouts(connection, config)
        self._writer = Writer(connection)
        reader = schema.connect(_file(connection), readonly=True)
        self._evaluator = Evaluator(config, reader, self._layouts, clock)
        self._is_token_noted = False
        self._stop = threading.Event()
        reader = schema.connect(_file(connection), readonly=True)
        self.payloads = PayloadWriter(config, reader, self._writer, clock)
        self._notifier = Notifier(config, schema.connect(_file(connection), readonly=True), self._writer, clock)
        self._keeper = threading.Thread(target=self._keep_house, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start writer and housekeeping."""
        self._writer.start()
        self._keeper.start()
        self._notifier.start()
        if self._newer is None:
            self.payloads.start()

    def close(self) -> None:
        """Write what is queued and close."""
        self._stop.set()
        self._keeper.join()
        self._notifier.stop()
        self.payloads.stop()
        self._writer.stop()
        self._evaluator.close()

    def add_batch(self, batch: PredictionBatch) -> "Future[bool]":
        """Count a batch; resolves to False when one of this id was counted before.

        Raises:
            InvalidBatchError: it contradicts itself, or is meant for another deployment.
            UnknownDigestError: its version's reference must be posted first (also from the future).
            BusyError: too much waits to be written.
            NewerSchemaError: the database is a newer monitor's.
        """
        self._check_database()
        self._check_deployment(batch.deployment)
        layout = self._layouts.get(batch.digest)
        if layout is None:
            raise UnknownDigestError(batch.digest)
        seconds = self.config.window_seconds
        now, keeps = self._clock(), self.config.payloads
        addition = count_batch(
            batch,
            layout,
            now=now,
            window_seconds=seconds,
            retention_seconds=self._retention.windows,
            by_client=self.config.gaming is not None,
        )
        kept = [] if keeps is None else payloads.rows(batch, keeps, now)
        return self._writer.submit(lambda connection: writes.add_batch(connection, addition, seconds, kept))

    def add_reference(self, reference: Reference) -> "Future[bool]":
        """Store a version's reference; resolves to False when it is stored already.

        Raises:
            InvalidBatchError: a profile that contradicts itself, or is not the version's, or another deployment.
            NotServedError: the version is not in service, as far as is known here.
            ReferenceConflictError: from the future: stored with another profile.
            NewerSchemaError: the database is a newer monitor's.
        """
        self._check_database()
        self._check_deployment(reference.deployment)
        reference = self.senders.verified(reference)
        bounds.check_reference(reference)
        digest, config = reference.digest, self.config
        try:
            writes.layout(reference.profile, config)
        except ValueError as error:
            raise InvalidBatchError(str(error)) from error
        now = self._clock()
        stored: list[Layout] = []  # of what all posts together said, once that is committed

        def job(connection: sqlite3.Connection) -> bool:
            added = writes.add_reference(connection, reference, now)
            if added or digest not in self._layouts:
                stored.append(writes.layout(writes.stored_profile(connection, digest), config))
            return added

        future = self._writer.submit(job)
        future.add_done_callback(lambda done: self._know(digest, stored, done))
        return future

    def check_labeller(self, sender: str | None) -> None:
        """Take labels of somebody whom a feedback key has shown, or of anybody where no keys are demanded.

        Raises:
            UnauthenticatedError: keys are demanded, and none was shown.
        """
        if sender is None and self.config.performance is not None and self.config.performance.authenticated:
            raise UnauthenticatedError(
                "labels of this model need a feedback key: send them with it to the address of the deployment"
            )

    def add_feedback(
        self, feedback: list[Feedback], *, authenticated: bool = False, client: str | None = None
    ) -> "Future[FeedbackResult]":
        """Store labels, all in one transaction; equal repetitions are no conflict.

        `authenticated`: with a feedback key; `client`: who sent them, as a keyed hash.

        Raises:
            BusyError: too much waits to be written.
            NewerSchemaError: the database is a newer monitor's.
        """
        self._check_database()
        now = self._clock()

        def job(connection: sqlite3.Connection) -> FeedbackResult:
            labeller = self._labeller(connection, client, now)
            return FeedbackResult(
                [
                    (one.id, ground_truth.add_feedback(connection, one, self._layouts, now, authenticated, labeller))
                    for one in feedback
                ]
            )

        return self._writer.submit(job)

    def _labeller(self, connection: sqlite3.Connection, client: str | None, now: float) -> int | None:
        if self.config.gaming is None:
            return None
        return clients.POOL if client is None else clients.identify(connection, [client], now)[client]

    def report(self, digest: str | None = None) -> MonitorReport:
        """Return the report as of now."""
        found = self._evaluator.evaluate(digest).report
        changes = {
            "payloads": self.payloads.report(),
            "webhooks": self._notifier.report(),
            "newer_database": self._newer,
        }
        return found.model_copy(update={name: value for name, value in changes.items() if value is not None})

    def page(self, digest: str | None = None) -> PageContent:
        """Return what people read of a version; of the one that was heard of last, where none is named."""
        return self._evaluator.page(digest)

    def problem(self) -> str | None:
        """Return why the monitor cannot acknowledge anything; None when it can."""
        if not self._writer.alive or not self._keeper.is_alive():
            return "a thread of the monitor has ended"
        if self._writer.last_error is not None:
            return f"database: {self._writer.last_error}"
        return None

    @property
    def alive(self) -> bool:
        """Whether a restart would not help."""
        return self._writer.alive and self._keeper.is_alive()

    def _check_database(self) -> None:
        if self._newer is not None:
            raise schema.NewerSchemaError(self._newer)

    def _check_deployment(self, deployment: str) -> None:
        if deployment != self.config.deployment:
            raise InvalidBatchError(f"deployment: this monitor watches {self.config.deployment!r}, not {deployment!r}")

    def _know(self, digest: str, stored: list[Layout], done: "Future[bool]") -> None:
        if done.exception() is None and stored:
            self._layouts[digest] = stored[-1]

    def _keep_house(self) -> None:
        """Evaluate and look at labels every few seconds, prune every minute; an error is logged and tried again."""
        next_prune = 0.0
        while not self._stop.is_set():
            try:
                self.collector.update(self._evaluator.evaluate())
                if self._clock() >= next_prune:
                    next_prune = self._clock() + PRUNE_SECONDS
                    self.prune()
                self.detect()
                self._remember_token()
            except Exception:  # the loop must go on; the timestamp of the last success shows that it fails
                _LOG.exception("housekeeping failed")
            self._stop.wait(EVALUATE_SECONDS)

    def detect(self) -> None:
        """Look at labels that are due, in steps between which others may write, and wait until that is committed."""
        gaming = self.config.gaming
        if self._newer is None and gaming is not None:
            self._writer.submit(lambda c: clients.look(c, gaming, self._clock())).result()
        while self._newer is None and not self._stop.is_set():
            now, layouts = self._clock(), dict(self._layouts)
            if not self._writer.submit(lambda c: detection.detect(c, self.config, layouts, now)).result():  # noqa: B023  done before the next turn
                return

    def _remember_token(self) -> None:
        """Keep for good that a token was there: one that is gone later opens nothing."""
        if self._newer is None and self.senders.is_demanded and not self._is_token_noted:
            self._writer.submit(lambda connection: writes.set_total(connection, _TOKEN_SEEN, 1)).result()
            self._is_token_noted = True

    def prune(self) -> None:
        """Forget what is beyond retention, and wait until it is committed."""
        now = self._clock()
        keep = retention.Retention.of(self.config)  # now: the volume may have grown
        removed = self._writer.submit(lambda connection: retention.prune(connection, keep, now)).result()
        watched = self.config.gaming is not None
        self._writer.submit(lambda connection: clients.prune(connection, watched=watched, now=now)).result()
        for digest in removed:
            self._layouts.pop(digest, None)


def _open(path: str) -> tuple[sqlite3.Connection, int | None]:
    """Return a connection to the database, migrated, and None.

    Where it is a newer monitor's: a connection to an empty one in a temporary folder, and the newer schema.
    """
    connection = schema.connect(path)
    try:
        schema.migrate(connection)
    except schema.NewerSchemaError as newer:
        connection.close()
        _LOG.error("%s: %s; it is left as it is, and nothing is counted", path, newer)
        connection = schema.connect(str(Path(tempfile.mkdtemp(prefix="tidemill-monitor-")) / "monitor.db"))
        schema.migrate(connection)
        return connection, newer.found
    return connection, None


def _file(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])
