"""Ids that the server makes: nobody guesses the next one, and each tells its version and its time."""

import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import versions

from tidemill_runtime.predictionlog import prediction_ids
from tidemill_runtime.predictionlog.prediction_ids import PredictionIds
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process.lifecycle import assemble
from tidemill_runtime.server.telemetry.metrics import Telemetry

DIGEST = "sha256:0123456789abcdef" + "0" * 48
FORM = re.compile(r"([0-9a-f]{12})-([0-9a-f]{12})-([0-9a-f]{32})")


def random_part(made: str) -> str:
    found = FORM.fullmatch(made)
    assert found is not None, made
    return found[3]


def test_an_id_names_its_version_as_the_pods_label_does_and_its_time() -> None:
    before = int(time.time() * 1000)
    found = FORM.fullmatch(PredictionIds(DIGEST).new())
    assert found is not None
    assert found[1] == DIGEST.removeprefix("sha256:")[:12]
    assert before <= int(found[2], 16) <= time.time() * 1000 + 1


def test_the_random_part_is_what_the_kernel_gave_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    given = bytearray()

    def urandom(size: int) -> bytes:
        part = bytes((len(given) + i) % 251 for i in range(size))
        given.extend(part)
        return part

    monkeypatch.setattr(prediction_ids.os, "urandom", urandom)
    ids = PredictionIds(DIGEST)
    parts = [random_part(ids.new()) for _ in range(600)]
    assert "".join(parts) == bytes(given).hex()[: 600 * 32]  # 128 bits each, none twice, across several blocks


def test_a_seeded_generator_does_not_repeat_them(tmp_path: Path) -> None:
    config = versions.numbers(tmp_path).config()
    plane = assemble(config, State(), Telemetry(config), threads=1).plane
    made = set()
    for _ in range(2):
        random.seed(1)
        made |= {random_part(plane.new_id()) for _ in range(50)}
    assert len(made) == 100


def test_processes_that_fork_share_no_id() -> None:
    ids = PredictionIds(DIGEST)
    ids.new()  # the parent has taken a block from the kernel
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.write(writing, ids.new().encode())
        os._exit(0)
    os.waitpid(process, 0)
    child = os.read(reading, 100).decode()
    assert random_part(child) not in {random_part(ids.new()) for _ in range(600)}


def test_threads_share_no_id() -> None:
    ids = PredictionIds(DIGEST)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: random_part(ids.new()), range(20_000)))
    assert len(set(made)) == len(made)
