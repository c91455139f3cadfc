"""Everything that one decision about a ModelDeployment is based on, frozen, with the time of the look.

Why: plan, policies and builders are pure functions of this. Nothing here reads or decides; `reconciler.gather` fills
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidemill.api.base import GROUP
from tidemill.api.v1alpha1.model_deployment import ModelDeploymentSpec, ModelDeploymentStatus
from tidemill.core import hashing, names, networkpolicy
from tidemill.core import labels as keys
from tidemill.core.last_applied import Applied
from tidemill.core.plan import ObjectRef
from tidemill.core.pod import ClusterSettings
from tidemill.core.podfailure import PodFailure as PodFailure
from tidemill.core.snapshot import ObjectSnapshot
from tidemill.core.staged_updates import ALONE, Fleet
from tidemill.serving.router_stats import Scrape
from tidemill_contracts import digests, signatures
from tidemill_contracts.artifact import Signature
from tidemill_contracts.formats import pickles
from tidemill_contracts.inference import ServedForm
from tidemill_contracts.runtimes import PARITY_CHECK, VERIFIED, Choice, RequestedRuntime, choose

Obj = dict[str, Any]

_RUNNING = {"suspend", "replicas", "autoscaling", "router", "access", "slo", "logging", "network_policies"}
"""Fields of spec that say how a version runs, not which one and how it comes: an autoscaler changes them all day."""

FORMATS_ANNOTATION = f"{GROUP}/formats"
"""On a version's Deployment: the version's forms, for when the ModelVersion is gone."""

ONNX_ANNOTATION = f"{GROUP}/onnx"
"""On a version's Deployment: what the ModelVersion says of its ONNX form, for when that is gone."""

ONNX_CHECK_ANNOTATION = f"{GROUP}/onnx-check"
"""Beside it: the version of the check that said so."""

OWN_NAME_DIGITS = 6
"""Hexadecimal digits that the name of a version's children ends with where another version has the usual one."""

BATCHING_ANNOTATION = f"{GROUP}/batching"
"""Beside it: `false` where requests are not answered together."""


@dataclass(frozen=True, slots=True)
class Version:
    """A model version as data: from its ModelVersion, or, when that is gone, from the configuration of its servers."""

    name: str
    number: int
    digest: str
    uri: str
    formats: tuple[str, ...]
    onnx: str = ""
    """`verified`, or why there is no verified ONNX form; empty: not reported."""
    onnx_check: int = 1
    """Version of the check that said so."""
    batching: bool = True
    """False: its native answers are known to depend on who else is in the batch."""
    secret: str | None = None
    approved: bool = False
    recorded: bool = True
    """Whether the ModelVersion with this digest still exists."""
    note: str = ""
    """Why it is not approved, as its own condition says."""
    rejected: bool = False
    """Whether a person has rejected it; one that nobody has decided on is not approved either."""
    rolled_back: Mapping[str, str] = field(default_factory=dict)
    """By ModelDeployment, why it rolled the version back; empty for one that may be followed."""
    columns: Mapping[str, Any] | None = None
    """Inputs and outputs, as its record has them; None: the record does not have them (`signature`)."""
    signature_digest: str | None = None
    """Digest of what clients depend on, as its record says."""
    lifted: datetime | None = None
    """When a person last gave it another chance: what failed before does not count."""

    @property
    def key(self) -> tuple[str, str]:
        """Name and digest: a ModelVersion that was made anew with other content is another version."""
        return self.name, self.digest

    @property
    def signature(self) -> Signature | None:
        """Inputs and outputs, as its record says; made when needed, since most versions of a pipeline are not."""
        return None if self.columns is None else signatures.recorded(self.columns)


@dataclass(frozen=True, slots=True)
class Workload:
    """The Deployment of one version as last seen."""

    name: str
    version: Version
    replicas: int
    ready: int
    settled: bool
    """The Deployment controller has seen the newest template and every pod runs it."""
    available_since: datetime | None = None
    unavailable_since: datetime | None = None
    failure: PodFailure | None = None
    is_silent: bool = False
    """A pod does not start, and only events can say why: they are looked at again and again."""
    strangers: tuple[str, ...] = ()
    """Names of ready pods that the version's Service selects although no ReplicaSet controls them."""
    forms: frozenset[ServedForm] = frozenset()
    """What its ready pods say that they serve, where only they know (`looks_again`)."""
    signature: Signature | None = None
    """What its ready pods say of the model's inputs and outputs, where the record does not say it."""


@dataclass(frozen=True, slots=True)
class RouterPod:
    """One pod of the router."""

    name: str
    ready: bool
    refreshed: str | None = None
    """Value of the annotation that made the kubelet renew the configuration."""
    scrape: Scrape | None = None
    """None: not asked, or no answer."""
    error: str = ""
    created: datetime | None = None
    """None: not known."""


@dataclass(frozen=True, slots=True)
class RouterWorkload:
    """The router's Deployment as last seen."""

    replicas: int
    ready: int
    settled: bool
    """The Deployment controller has seen the newest template and every pod runs it."""
    failure: PodFailure | None = None
    is_silent: bool = False
    """As of `Workload`."""
    strangers: tuple[str, ...] = ()
    """Names of ready pods that the model's Service selects although no ReplicaSet controls them."""


@dataclass(frozen=True, slots=True)
class Router:
    """The router's pods, and which routes lie in its ConfigMap."""

    pods: tuple[RouterPod, ...] = ()
    routes_version: str | None = None
    routes_since: datetime | None = None
    workload: RouterWorkload | None = None
    """None: not seen."""

    @property
    def ready(self) -> int:
        """How many pods are ready."""
        return sum(p.ready for p in self.pods)

    @property
    def scrapes(self) -> dict[str, Scrape]:
        """Statistics by pod, of the ready ones that answered."""
        return {p.name: p.scrape for p in self.pods if p.ready and p.scrape is not None}

    def follows_routes(self, version: str) -> bool | None:
        """Whether every ready pod routes by that version; None when one did not say."""
        seen = [p.scrape.routes_version if p.scrape else None for p in self.pods if p.ready]
        if any(v is not None and v != version for v in seen):
            return False
        return None if not seen or None in seen else True

    def members(self, cluster: str) -> int | None:
        """Fewest endpoints of a cluster that any ready router pod knows; None when one did not say."""
        seen = [p.scrape.members.get(cluster, 0) if p.scrape else None for p in self.pods if p.ready]
        return None if not seen or None in seen else min(n for n in seen if n is not None)

    def most_members(self, cluster: str) -> int | None:
        """Most endpoints of a cluster that any ready router pod knows; None when all that answered know 0, or none did.

        So 0 is said by all ready pods, and a larger number by at least one.
        """
        seen = [p.scrape.members.get(cluster, 0) if p.scrape else None for p in self.pods if p.ready]
        most = max((n for n in seen if n is not None), default=0)
        return most if most or (seen and None not in seen) else None


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """A ModelMonitor's request to roll back to the previous version."""

    id: str
    version: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Measurement:
    """Statistics of the router at the start and the end of a stretch: pod name → cumulative statistics."""

    start: datetime
    before: Mapping[str, Scrape]
    after: Mapping[str, Scrape]
    missing: tuple[str, ...] = ()
    """Why some ready router pods have no statistics."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator's configuration says about generated pods."""

    server_image: str
    router_image: str
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    network: networkpolicy.Settings = field(default_factory=networkpolicy.Settings)
    data_environment: Mapping[str, str] = field(default_factory=dict)
    """Environment of pods that read artifacts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(ObjectSnapshot):
    """One look at a ModelDeployment and everything around it."""

    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus
    settings: Settings
    versions: tuple[Version, ...] = ()
    """What spec.model may choose from."""
    others: tuple[Version, ...] = ()
    """Versions of the status that spec.model does not speak of: served and rolled back to, but never chosen."""
    pipeline_exists: bool = True
    pipeline_says: str = ""
    """Why the pipeline of spec.model is not Ready; empty when it is."""
    workloads: tuple[Workload, ...] = ()
    router: Router = Router()
    measurement: Measurement | None = None
    rollback_requests: tuple[RollbackRequest, ...] = ()
    children: tuple[ObjectRef, ...] = ()
    """Children that belong to one version (Deployment, Service, PodDisruptionBudget, HorizontalPodAutoscaler)."""
    deployments: Mapping[str, Obj] = field(default_factory=dict)
    """Its Deployments as they are, by name."""
    selectors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels by which each of its Deployments selects pods, by name, also of those that are being deleted."""
    fleet: Fleet = ALONE
    applied: Applied | None = None
    """Which manifests the live children are of; None: not looked at."""

    @property
    def spec_digest(self) -> str:
        """Digest of the parts of spec that decide what is rolled out; defaults written out or not are the same."""
        parts = self.spec.model_dump(mode="json", by_alias=True, exclude=_RUNNING, exclude_defaults=True)
        parts.get("rollout", {}).pop("monitorRollback", None)  # who decides about a rollback changes nothing of it
        if not parts.get("rollout", True):
            del parts["rollout"]
        return hashing.digest(parts)

    @property
    def follows(self) -> bool:
        """Whether spec.model follows a pipeline, and names no version."""
        return self.spec.model.version is None and self.spec.model.number is None

    @property
    def series(self) -> str:
        """What spec.model follows, for sentences: imports make versions of a series that needs no pipeline."""
        kind = "TrainingPipeline" if self.pipeline_exists or not self.versions else "pipeline"
        return f"{kind} {self.spec.model.pipeline}"

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.object["metadata"].get("annotations") or {}

    def workload(self, name: str, digest: str) -> Workload | None:
        """The Deployment of a version, by the version's name and digest."""
        return next((w for w in self.workloads if w.version.key == (name, digest)), None)

    def version(self, name: str, digest: str) -> Version | None:
        """A version by name and digest: its record, else what the configuration of its servers says."""
        found = next((v for v in (*self.versions, *self.others) if v.key == (name, digest)), None)
        if found is None:
            workload = self.workload(name, digest)
            found = workload.version if workload else None
        return found

    def child_of(self, version: Version) -> str:
        """Name of a version's Deployment, headless Service, disruption budget, autoscaler and router cluster.

        The usual name has number and digest. Two versions may share both, as two imports of one artifact do: the one
        that finds the name in use gets one of its own and keeps it for as long as it has pods. A Deployment's selector
        cannot be changed, and a Service must never leave the pods for which it was made.
        """
        usual, own = children_of(self.name, version)
        selector = self.selectors.get(usual)
        if selector is not None and version_labels(version).items() <= selector.items():
            return usual
        has_own = any(ref.name == own and ref.kind in ("Deployment", "Service") for ref in self.children)
        return own if has_own or selector is not None or self._is_of_stable(usual, version) else usual

    def _is_of_stable(self, usual: str, version: Version) -> bool:
        """Whether the stable version is another one with that usual name; its Deployment may have been deleted."""
        record = self.status.stable
        stable = self.version(record.version, record.digest) if record is not None else None
        return stable is not None and stable.key != version.key and children_of(self.name, stable)[0] == usual

    @property
    def kept_pickles(self) -> frozenset[str]:
        """Digests that are loaded from a pickle without spec.server.allowPickle: see decision 0155.

        A status from before that field has no list: then those of its stable and previous version that have a pickle.
        """
        if self.status.kept_pickles is not None:
            return frozenset(self.status.kept_pickles)
        records = (r for r in (self.status.stable, self.status.previous) if r is not None)
        found = (self.version(r.version, r.digest) for r in records)
        return frozenset(v.digest for v in found if v is not None and pickles(v.formats))

    def allows_pickle(self, version: Version) -> bool:
        """Whether a server may load that version's pickle, if it has one."""
        return self.spec.server.allow_pickle or version.digest in self.kept_pickles

    def runtime_of(self, version: Version) -> Choice:
        """What the server will choose for a version, and why."""
        server = self.spec.server
        return runtime_of(
            server.runtime, version, allow_pickle=self.allows_pickle(version), allow_code=server.allow_code
        )


def children_of(deployment: str, version: Version) -> tuple[str, str]:
    """The names that a version's children can have: the usual one, and one that no other version has.

    Which of them they have says `Snapshot.child_of`.
    """
    usual = (version.number, digests.first_digits(version.digest, 8))
    own = hashing.short([version.name, version.digest], OWN_NAME_DIGITS)
    return names.child_name(deployment, *usual), names.child_name(deployment, *usual, own)


def version_labels(version: Version) -> dict[str, str]:
    """Labels of a version's pods, Deployment and Service that say which version it is."""
    digest = digests.first_digits(version.digest, digests.LABEL_DIGITS)
    return {keys.VERSION: names.label_value(version.name), keys.DIGEST: digest}


def router_child(deployment: str) -> str:
    """Name of the router's Deployment, ConfigMap and disruption budget."""
    return names.child_name(deployment, "router")


def runtime_of(
    requested: RequestedRuntime, version: Version, *, allow_pickle: bool, allow_code: bool = False
) -> Choice:
    """What the server will choose, by the rule that it follows itself.

    A record that lists an ONNX form beside a native one and says nothing of it is trusted: only a verified one is
    registered there.
    """
    parity = True if version.onnx in ("", VERIFIED) else None
    return choose(
        requested,
        version.formats,
        parity=parity,
        note=version.onnx,
        allow_pickle=allow_pickle,
        allow_code=allow_code,
    )


def is_checked_on_load(requested: RequestedRuntime, version: Version, *, allow_pickle: bool, allow_code: bool) -> bool:
    """Whether servers compare the version's forms when they load it, as an older check verified them."""
    choice = runtime_of(requested, version, allow_pickle=allow_pickle, allow_code=allow_code)
    return choice.runtime == "ONNX" and len(choice.formats) > 1 and version.onnx_check < PARITY_CHECK
