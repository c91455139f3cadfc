"""Traffic for the demo: a pod in the cluster that asks the deployment for predictions, evenly, and counts the answers.

It runs in the server image (which has an HTTP client) as an ordinary, restricted pod and goes the way that every
client goes: DNS, Service, router, server. Each second it prints one JSON line; the last line is the total.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from hack.tools.kubectl import Kubectl

SCRIPT = """
import asyncio, collections, json, os, random, signal, time
import aiohttp

URL, MODEL = os.environ["URL"], os.environ["MODEL"]
RATE, ROWS = float(os.environ["RATE"]), json.loads(os.environ["ROWS"])
COLUMNS = json.loads(os.environ["COLUMNS"])
SHIFT = json.loads(os.environ["SHIFT"])
total, errors, versions = collections.Counter(), [], collections.Counter()
latencies = []
stop = asyncio.Event()


def body(row):
    inputs = []
    for name, value in zip(COLUMNS, row, strict=True):
        value = value * SHIFT.get(name, 1.0) if name in SHIFT else value
        inputs.append({"name": name, "shape": [1], "datatype": "FP64", "data": [value]})
    return {"inputs": inputs}


async def ask(session):
    started = time.monotonic()
    try:
        async with session.post(f"{URL}/v2/models/{MODEL}/infer", json=body(random.choice(ROWS))) as reply:
            answer = await reply.json()
            if reply.status == 200:
                total["ok"] += 1
                versions[str(answer.get("model_version"))] += 1
            else:
                total["failed"] += 1
                errors.append(f"{reply.status} {answer}"[:300])
    except Exception as error:
        total["failed"] += 1
        errors.append(f"{type(error).__name__} {error}"[:300])
    latencies.append(time.monotonic() - started)


def say(final=False):
    recent = sorted(latencies[-500:])
    line = {"final": final, "ok": total["ok"], "failed": total["failed"], "versions": dict(versions),
            "p99_ms": round(1000 * recent[int(len(recent) * 0.99)], 1) if recent else None, "errors": errors[-3:]}
    print(json.dumps(line), flush=True)


async def main():
    for s in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(s, stop.set)
    timeout = aiohttp.ClientTimeout(total=30)
    pending, next_at, said = set(), time.monotonic(), time.monotonic()
    async with aiohttp.ClientSession(timeout=timeout) as session:
        while not stop.is_set():
            task = asyncio.create_task(ask(session))
            pending.add(task)
            task.add_done_callback(pending.discard)
            if time.monotonic() - said >= 1:
                said = time.monotonic()
                say()
            next_at = max(next_at + 1 / RATE, time.monotonic() - 1)
            await asyncio.sleep(max(0, next_at - time.monotonic()))
        await asyncio.gather(*pending)
    say(final=True)


asyncio.run(main())
"""


@dataclass(frozen=True)
class Totals:
    """What a traffic pod has counted so far."""

    ok: int = 0
    failed: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    p99_milliseconds: float | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traffic:
    """One traffic pod."""

    kubectl: Kubectl
    name: str
    image: str

    def start(
        self, url: str, model: str, columns: list[str], rows: list[list[float]], rate: float, shift: dict[str, float]
    ) -> None:
        """Start the pod: `rate` requests a second, the columns named in `shift` multiplied by its factors."""
        environment = {
            "URL": url,
            "MODEL": model,
            "RATE": str(rate),
            "ROWS": json.dumps(rows),
            "COLUMNS": json.dumps(columns),
            "SHIFT": json.dumps(shift),
        }
        self.kubectl.apply(pod(self.name, self.image, environment))
        self.kubectl.run("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=90s")

    def totals(self) -> Totals:
        """Return the newest count."""
        lines = self.kubectl.logs(f"pod/{self.name}", "--tail=3").splitlines()
        newest: dict[str, Any] = next((json.loads(line) for line in reversed(lines) if line.startswith("{")), {})
        return Totals(
            ok=newest.get("ok", 0),
            failed=newest.get("failed", 0),
            versions=newest.get("versions", {}),
            p99_milliseconds=newest.get("p99_ms"),
            errors=tuple(newest.get("errors", ())),
        )

    def stop(self) -> None:
        """Remove the pod."""
        self.kubectl.run("delete", "pod", self.name, "--ignore-not-found", "--wait=true")


def pod(name: str, image: str, environment: dict[str, str]) -> dict[str, Any]:
    """Return the manifest of the traffic pod; it satisfies Pod Security `restricted`."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "demo-traffic"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "traffic",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", SCRIPT],
                    "env": [{"name": key, "value": value} for key, value in environment.items()],
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
