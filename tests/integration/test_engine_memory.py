"""Large objects of other people do not kill the operator: at its start, and while they change.

On a control plane of its own, since every other operator would see them, too. `python -m hack.bench memory` measures
each kind of objects alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hack.bench import memory
from hack.bench.operator_process import Operator

from tidemill.kube.access import from_kubeconfig
from tidemill.kube.client import KubeClient

pytestmark = pytest.mark.integration


@pytest.mark.timeout(600)  # the API server takes a minute or more of processor time to store them
def test_two_hundred_objects_of_a_mebibyte_each_of_config_maps_and_pipelines() -> None:
    with memory.cluster() as kubeconfig:
        asyncio.run(peaks(kubeconfig))


async def peaks(kubeconfig: Path) -> None:
    async with KubeClient(from_kubeconfig(kubeconfig)) as client:
        maps = await memory.create(client, memory.config_map)
        pipelines = await memory.create(client, memory.pipeline)
        operator = Operator(kubeconfig, 18184, "memory")
        try:
            await working(operator)
            start = operator.peak_mebibytes()
            await memory.touch(client, [*maps, *pipelines[:50]])
            await asyncio.sleep(2)
            live = operator.peak_mebibytes()
        finally:
            operator.stop()
    assert start <= memory.GOAL_MEBIBYTES, f"{start:.0f} MiB at the start"
    assert live <= memory.GOAL_MEBIBYTES, f"{live:.0f} MiB after they have changed"


async def working(operator: Operator) -> None:
    """Wait until passes over such pipelines have been made."""
    async with asyncio.timeout(60):
        while not operator.leads() or memory.passes(operator) < 20:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.25)
