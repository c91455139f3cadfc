"""Prediction records of a scored data set: the run waits until the monitor has them, where a server drops records.

Ids of batches follow from version, data and place alone, so that a run that is started again counts no row twice.
Without the monitor the run fails after a while and can be started again.
"""

import asyncio
import logging
import time
import zlib
from typing import Any

import numpy as np
import orjson

from tidemill_contracts.inference import ServerConfig
from tidemill_runtime.model.errors import PredictError
from tidemill_runtime.model.frame import Frame
from tidemill_runtime.model.prediction import Prediction
from tidemill_runtime.predictionlog.client import MonitorClient, MonitorUnavailableError, is_retryable
from tidemill_runtime.predictionlog.record_batches import MAX_BATCH_BYTES, batch_rows, rows_document

_log = logging.getLogger(__name__)
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 15.0


class RecordSender:
    """Sends records in batches and returns when the monitor has them."""

    def __init__(
        self, config: ServerConfig, url: str, ratio: float, reference: bytes | None, run: str, timeout_seconds: float
    ) -> None:
        self._config = config
        self._below = int(ratio * 2**32)
        self._reference = reference
        self._run = run
        self._timeout_seconds = timeout_seconds
        self._sequence = 0
        self.sent = 0
        self._runner = asyncio.Runner()
        self._client = MonitorClient(url)

    def send(self, ids: list[str], frame: Frame, answer: Prediction) -> None:
        """Send the rows of one answer that are sampled; `ids` has one for each.

        Raises:
            PredictError: MonitorUnavailable (another run may help) or MonitorRefused.
        """
        rows = np.arange(frame.rows)
        if self._below < 2**32:
            rows = rows[[zlib.crc32(one.encode()) < self._below for one in ids]]
        size = batch_rows(frame.schema)
        for start in range(0, len(rows), size):
            self._send(rows[start : start + size], ids, frame, answer)

    def _send(self, rows: Any, ids: list[str], frame: Frame, answer: Prediction) -> None:
        head = {
            "batch_id": f"predict-{self._run}/{self._config.digest[-12:]}/{self._sequence + 1}",
            "deployment": self._config.deployment,
            "version": self._config.version,
            "digest": self._config.digest,
            "sent_at": time.time(),
        }
        chosen = Frame(frame.schema, len(rows), arrays=[array[rows] for array in frame.arrays])
        probabilities = None if answer.probabilities is None else answer.probabilities[rows]
        some = Prediction(answer.names[:2], answer.prediction[rows], probabilities, (), answer.class_columns)
        body = orjson.dumps(rows_document(head, [ids[row] for row in rows], time.time(), chosen, some))
        if len(body) > MAX_BATCH_BYTES and len(rows) > 1:  # long texts
            for half in np.array_split(rows, 2):
                self._send(half, ids, frame, answer)
            return
        self._sequence += 1
        self._runner.run(self._deliver(body))
        self.sent += len(rows)

    async def _deliver(self, body: bytes) -> None:
        deadline, wait = time.monotonic() + self._timeout_seconds, _FIRST_WAIT_SECONDS
        while True:
            try:
                problem = await self._post(body)
            except MonitorUnavailableError as error:
                problem = str(error)
            if not problem:
                return
            if time.monotonic() + wait > deadline:
                text = f"no answer that counts within {self._timeout_seconds:g} s: {problem}"
                raise PredictError("MonitorUnavailable", text, retryable=True)
            _log.warning("prediction records wait for the monitor: %s", problem)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _post(self, body: bytes) -> str:
        """Return an empty string when the monitor has the batch, else why it may have it later."""
        status, answer = await self._client.post_batch(body, self._reference)
        if status < 300:
            return ""
        said = f"answered {status}: {answer[:300].decode('utf-8', 'replace')}"
        if is_retryable(status):
            return said
        raise PredictError("MonitorRefused", said)

    def close(self) -> None:
        """Close the connection and the event loop."""
        try:
            self._runner.run(self._client.close())
        finally:
            self._runner.close()
