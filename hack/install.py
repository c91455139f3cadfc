"""`python -m hack.install [render|apply|remove] [OVERLAY]`: an overlay with the images of IMAGE_PREFIX and IMAGE_TAG.

`render` prints it: the manifests name the images of a local build, and kustomize alone cannot change the ones in the
operator's settings; --namespaces adds RoleBindings (`hack.installscope`). `apply` applies it, and takes away bindings
of an earlier choice of namespaces. `remove` deletes what was applied, and nothing else. Both touch a cluster that was
not started here only where TIDEMILL_CONTEXT names its context.

The CustomResourceDefinitions are part of it, and with them would go every resource of their kinds, so `remove` refuses
while there are any, unless it is given --force. The Namespace is part of it as well, and with it would go whatever
others have there, the models above all: then it stays, --force or not.
"""

import argparse
import contextlib
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hack import installscope as scope
from hack.localcluster.choice import use_cluster
from hack.localcluster.progress import LocalClusterError
from hack.tools.kubectl import TIMEOUTS, Kubectl, KubectlError, condition, wait_for
from hack.tools.pypi import ToolError

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OVERLAY = ROOT / "manifests" / "overlays" / "cluster-wide"
PLURALS = ("trainingpipelines", "trainingruns", "modelimports", "modelversions", "modeldeployments", "modelmonitors")
# What is in a namespace by itself, or what a running operator leaves: no reason to keep it.
_BY_THEMSELVES = {"ConfigMap/kube-root-ca.crt", "ConfigMap/openshift-service-ca.crt", "ServiceAccount/default"}
RECORD_KEYS = "tidemill-record-keys"
_OPERATORS = {"Lease/tidemill-operator", f"Secret/{RECORD_KEYS}"}
_DERIVED = {"Event", "Endpoints", "EndpointSlice"}
_LOCAL_IMAGE = re.compile(r"tidemill\.io/(operator|trainer|server|monitor|router):dev")


def render(overlay: str | Path = DEFAULT_OVERLAY, namespaces: Sequence[str] = ()) -> str:
    """Return the manifests as YAML; `namespaces` are those to serve, for an overlay that leaves them open.

    Raises:
        KubectlError: kustomize refuses the overlay.
        ScopeError: the overlay and the list do not go together.
    """
    prefix, tag = os.environ.get("IMAGE_PREFIX", "tidemill.io"), os.environ.get("IMAGE_TAG", "dev")
    text = Kubectl().run("kustomize", str(overlay))
    return scope.bound(_LOCAL_IMAGE.sub(rf"{prefix}/\1:{tag}", text), namespaces)


def apply(overlay: str | Path = DEFAULT_OVERLAY, namespaces: Sequence[str] = (), *, force: bool = False) -> str:
    """Apply the manifests, then remove bindings of the operator that are not among them; return what kubectl said.

    `force`: fields that somebody else has set since are taken over; otherwise that is a KubectlError, which names both.
    """
    text = render(overlay, namespaces)
    options = ["--force-conflicts"] if force else []
    made = ensure_record_keys(text)
    try:
        said = made + Kubectl().run("apply", "--server-side", *options, "-f", "-", stdin=text, timeout=300)
    except KubectlError as error:
        if "conflict" not in str(error) or force:
            raise
        hint = "what somebody else has set is left alone; `make install FORCE_CONFLICTS=1` takes these fields over"
        raise KubectlError(f"{error}\n{hint}") from error
    return said + "".join(_unbind(*binding) for binding in scope.stale(text, _bindings()))


def ensure_record_keys(rendered: str) -> str:
    """Create the Secret with the operator's record key, unless there is one; return what kubectl said.

    A key is made once and never changed here: with another one no operator believes the records in artifact stores.
    """
    manifests = {m["kind"]: m for m in yaml.safe_load_all(rendered) if m}  # one Deployment, and a Namespace or none
    namespace, home = manifests["Deployment"]["metadata"]["namespace"], manifests.get("Namespace")
    said = ""
    if home is not None and Kubectl().get("namespace", namespace) is None:
        said = Kubectl().run("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(home))
    if Kubectl(namespace).get("secret", RECORD_KEYS) is not None:
        return said
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": RECORD_KEYS, "namespace": namespace},
        "stringData": {"keys": secrets.token_hex(32)},
    }
    return said + Kubectl().run("create", "-f", "-", stdin=yaml.safe_dump(secret))


def _bindings() -> list[dict[str, Any]]:
    text = Kubectl().run("get", scope.BINDING_KINDS, "-A", "-l", scope.SELECTOR, "-o", "json")
    found: list[dict[str, Any]] = json.loads(text)["items"]
    return found


def _unbind(kind: str, namespace: str, name: str) -> str:
    where = ["-n", namespace] if namespace else []
    return Kubectl().run("delete", kind, name, *where, "--ignore-not-found")


def resources() -> list[str]:
    """Return every resource of our kinds in the cluster as `namespace/plural/name`."""
    # A removal may have been interrupted: kubectl refuses a list in which one kind is unknown.
    known = Kubectl().run("get", "crd", "-o", "name")
    kinds = ",".join(f"{plural}.tidemill.io" for plural in PLURALS if f"/{plural}.tidemill.io" in known)
    if not kinds:
        return []
    columns = "-o=jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name}{'\\n'}{end}"
    return Kubectl().run("get", kinds, "-A", columns).split()


def remove(overlay: str | Path = DEFAULT_OVERLAY, namespaces: Sequence[str] = ()) -> list[str]:
    """Delete what the overlay holds, and with the CustomResourceDefinitions all resources of their kinds.

    A Namespace that holds anything else stays. Returns a sentence for each that does.
    """
    rendered = render(overlay, namespaces)
    manifests = [document for document in yaml.safe_load_all(rendered) if document]
    namespaces = [m["metadata"]["name"] for m in manifests if m["kind"] == "Namespace"]
    kinds = [m["metadata"]["name"] for m in manifests if m["kind"] == "CustomResourceDefinition"]
    text = yaml.safe_dump_all([m for m in manifests if m["kind"] not in ("Namespace", "CustomResourceDefinition")])
    Kubectl().run("delete", "crd", "--ignore-not-found", "--wait=false", *kinds)
    Kubectl().run("delete", "--ignore-not-found", "--wait=true", "-f", "-", stdin=text, timeout=300)
    for binding in scope.stale(rendered, _bindings(), is_removed=True):  # in namespaces that nobody named this time
        _unbind(*binding)
    wait_for_kinds(kinds)
    return [sentence for name in namespaces if (sentence := remove_namespace(name))]


def wait_for_kinds(names: list[str], seconds: float = 300) -> None:
    """Wait until CustomResourceDefinitions under deletion are gone.

    The API server may fail to clean one up at first ("storage is (re)initializing"), and then lose its own second try
    to a conflict: nothing happens until it looks again after five minutes or the object changes, so it is changed.

    Raises:
        TimeoutError: some are still there.
    """

    def left() -> dict[str, dict[str, Any]]:
        found = {crd["metadata"]["name"]: crd for crd in Kubectl().list("customresourcedefinition")}
        return {name: condition(found[name], "Terminating") for name in names if name in found}

    def gone() -> bool:
        waiting = left()
        for name, terminating in waiting.items():
            if terminating.get("reason") == "InstanceDeletionFailed":
                note = f"tidemill.io/removal-asked-again={time.time():.1f}"
                with contextlib.suppress(KubectlError):  # gone by now
                    Kubectl().run("annotate", "crd", name, note, "--overwrite")
        return not waiting

    def hint() -> str:
        return "; ".join(f"{name}: {terminating.get('message')}" for name, terminating in left().items())

    wait_for("the removal of all kinds", gone, seconds, hint)


def remove_namespace(name: str) -> str:
    """Delete a namespace in which nothing is left but what Tidemill installed; else return why it stays."""
    if Kubectl().get("namespace", name) is None:
        return ""
    try:
        found = others(name)
    except KubectlError as error:  # an aggregated API that does not answer, for example
        return f"namespace {name} stays, because what it holds could not be listed: {error}"
    if not found:
        Kubectl().run("delete", "namespace", name, "--ignore-not-found", "--wait=true", timeout=300)
        return ""
    shown = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
    return (
        f"namespace {name} stays, because it also holds {shown}; `kubectl delete namespace {name}` deletes all of that"
    )


def others(namespace: str) -> list[str]:
    """Return what somebody else has in a namespace, as `Kind/name`.

    What has an owner goes when its owner goes: either that is one of ours and is gone, or it is listed itself.
    """
    listed = Kubectl().run("api-resources", "--namespaced", "--verbs=list,delete", "-o", "name").split()
    kinds = ",".join(sorted(kind for kind in listed if not kind.endswith(".tidemill.io")))
    fields = "{.kind}/{.metadata.name} {.metadata.deletionTimestamp}{.metadata.ownerReferences[*].name}"
    text = Kubectl(namespace).run("get", kinds, f"-o=jsonpath={{range .items[*]}}{fields}{{'\\n'}}{{end}}")
    free = {line.strip() for line in text.splitlines() if len(line.split()) == 1}
    return sorted(item for item in free - _BY_THEMSELVES - _OPERATORS if item.partition("/")[0] not in _DERIVED)


def main() -> int:
    """Exit codes: 0 done, 1 refused or failed with a sentence, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m hack.install")
    parser.add_argument("what", choices=("render", "apply", "remove"))
    parser.add_argument("overlay", nargs="?", default=str(DEFAULT_OVERLAY))
    parser.add_argument("--namespaces", default="", help="comma-separated namespaces to serve (overlay namespaces)")
    parser.add_argument("--force", action="store_true", help="remove resources of our kinds, too")
    parser.add_argument("--force-conflicts", action="store_true", help="apply: take over fields that others have set")
    arguments = parser.parse_args()
    try:
        chosen = scope.names(arguments.namespaces)
        if arguments.what == "render":
            print(render(arguments.overlay, chosen))
            return 0
        use_cluster()
        if arguments.what == "apply":
            print(apply(arguments.overlay, chosen, force=arguments.force_conflicts))
            return 0
        found = [] if arguments.force else resources()
        if found:
            namespaces = sorted({item.partition("/")[0] for item in found})
            raise KubectlError(
                f"{len(found)} resources in {', '.join(namespaces)} would be removed with their kinds, for example "
                f"{found[0]}; delete them first, or run `make uninstall FORCE=1`"
            )
        for sentence in remove(arguments.overlay, chosen):
            print(sentence)
    except (LocalClusterError, KubectlError, ToolError, scope.ScopeError, *TIMEOUTS) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
