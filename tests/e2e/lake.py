"""A data store in the cluster: a real S3 server, and the same files over plain HTTP.

The server is the one of the other tests (versitygw, built on this machine), sent into a pod by `kubectl exec`, so that
it runs on any cluster without an image of its own. Tests look at it with another vendor's client, through
`kubectl port-forward`.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.tools.kubectl import Kubectl, wait_for
from tests.e2e import incluster
from tests.support import s3

NAME = "lake"
S3_PORT = 7070
WEB_PORT = 8000

# Waits for the program, then becomes it.
_RUN = f"""
import os, time
while not os.path.exists("/data/versitygw"):
    time.sleep(0.1)
os.makedirs("/data/files", exist_ok=True)
os.execv("/data/versitygw", ["versitygw", "--port", ":{S3_PORT}", "--region", "{s3.REGION}", "--quiet",
                             "posix", "/data/files"])
"""
_RECEIVE = """
import os, shutil, sys
with open("/data/unfinished", "wb") as file:
    shutil.copyfileobj(sys.stdin.buffer, file)
assert os.path.getsize("/data/unfinished") == int(sys.argv[1]), "the program did not arrive whole"
os.chmod("/data/unfinished", 0o755)
os.rename("/data/unfinished", "/data/versitygw")
"""


def manifests() -> list[dict[str, Any]]:
    """Return the pod with both servers over one folder, and the Service that gives them an address."""
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    account = {"ROOT_ACCESS_KEY": s3.ACCESS_KEY, "ROOT_SECRET_KEY": s3.SECRET_KEY}
    store = incluster.container(
        "s3",
        ["python", "-c", _RUN],
        env=[{"name": key, "value": value} for key, value in account.items()],
        readinessProbe={"tcpSocket": {"port": S3_PORT}, "periodSeconds": 1, "failureThreshold": 300},
        **mount,
    )
    serve = ["python", "-m", "http.server", str(WEB_PORT), "--directory", "/data/files"]
    web = incluster.container("web", serve, **mount)
    ports = [{"name": "s3", "port": S3_PORT}, {"name": "web", "port": WEB_PORT}]
    service = {"selector": {"test-pod": NAME}, "ports": ports}
    return [
        incluster.pod(NAME, store, web, volumes=[{"name": "data", "emptyDir": {}}]),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": service},
    ]


def secret(name: str, namespace: str | None, **changes: str) -> dict[str, Any]:
    """Return the Secret that a person writes to let pods in."""
    endpoint = f"http://{NAME}.{namespace}.svc.cluster.local:{S3_PORT}"
    values = {**s3.S3Server(endpoint, Path()).secret, **changes}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def web_url(namespace: str | None, path: str) -> str:
    """Return the address of a file over plain HTTP."""
    return f"http://{NAME}.{namespace}.svc.cluster.local:{WEB_PORT}/{path}"


@contextmanager
def running(kubectl: Kubectl) -> Iterator[Any]:
    """Run the store in a namespace and give a boto3 client of it."""
    program = s3.binary()
    kubectl.apply(manifests())
    wait_for("the store's pod", lambda: _phase(kubectl) == "Running", 90, lambda: kubectl.run("get", "pod", NAME))
    receive = ["python", "-c", _RECEIVE, str(program.stat().st_size)]
    command = kubectl.command("exec", "-i", NAME, "-c", "s3", "--", *receive)
    with program.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    kubectl.run("wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=60s")
    with incluster.forwarded(kubectl, f"pod/{NAME}", S3_PORT) as address:
        yield s3.S3Server(f"http://{address}", Path()).client()


def _phase(kubectl: Kubectl) -> str:
    found = kubectl.get("pod", NAME) or {}
    return str((found.get("status") or {}).get("phase"))
