"""What a user may say about the pods of runs, servers, routers and monitors: one section, the same everywhere.

The names are those of a Pod. What the operator relies on is refused at admission: labels and annotations by which it
selects its pods, variables that configure them or undo what the platform decides (`pod_names`). Its own always win.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, ObjectName, Toleration, list_map, rule, rules
from tidemill.api.v1alpha1.affinity import KEY_LIMIT, KEY_PATTERN, Affinity, LabelKey, LabelValue
from tidemill.api.v1alpha1.pod_names import CONTROL, DOMAINS, ENVIRONMENT, OWN_KEY, OWN_LABELS

TRACING_PREFIX: Final = "OTEL_"

_LOOSENING = "^([a-z]+[.])?(apparmor|seccomp)[.]security[.](alpha|beta)[.]kubernetes[.]io/"
_OWN = f"k.matches('{OWN_KEY}')"
_DOMAINS = f"{DOMAINS[0]}/, a domain below {DOMAINS[0]} or {DOMAINS[1]}/"


def _keys(field: str) -> dict[str, Any]:
    """The rule that every key is one that Kubernetes takes."""
    return rule(
        f"self.all(k, size(k) <= {KEY_LIMIT} && k.matches('{KEY_PATTERN}'))",
        f"{field}: a key must be a name such as team or example.com/team, of at most 63 characters after the slash",
    )


def _named(names: tuple[str, ...]) -> str:
    return f"[{', '.join(map(repr, names))}]"


class EnvironmentVariable(Model):
    """An environment variable with a plain value."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            json_schema_extra=rules(*(refused.rule() for refused in ENVIRONMENT)),
        ),
    ]
    """Name of the variable."""
    value: Annotated[
        str,
        Field(
            max_length=4096,
            json_schema_extra=rules(
                rule(
                    f"!self.matches(r'{CONTROL}')",
                    "env: a value must not hold control characters other than tab, line feed and carriage return, "
                    "because no process can be started with them",
                )
            ),
        ),
    ]
    """Value of the variable, taken literally. It is stored in plain text and visible to everybody who may read the
    object or its pods, so it must not be a secret."""


class TopologySpreadConstraint(Model):
    """How evenly the pods are spread. The pods that are counted are those of the same kind and object."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                "topologySpreadConstraints: minDomains may be set only with whenUnsatisfiable DoNotSchedule",
            )
        )
    }

    topology_key: LabelKey
    """Label of nodes. Nodes with the same value of this label count as one place, for example kubernetes.io/hostname or
    topology.kubernetes.io/zone."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What happens to a pod that would break the constraint. DoNotSchedule: it waits. ScheduleAnyway: it runs where it
    breaks the constraint least."""
    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """Maximum difference between the numbers of pods of two places."""
    min_domains: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Minimum number of places. Used with DoNotSchedule only. If not set, there is no minimum."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes that nodeSelector and affinity exclude are left out of the count. If not set, they are (Honor)."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes with taints that the pods do not tolerate are left out of the count. If not set, they are not
    (Ignore)."""


class PodSettings(Model):
    """Settings of pods, in the form of a Pod's own fields."""

    labels: Annotated[
        dict[str, LabelValue],
        Field(
            max_length=50,
            json_schema_extra=rules(
                rule(
                    f"!self.exists(k, {_OWN} || k in {_named(OWN_LABELS)})",
                    f"labels: a key must not begin with {_DOMAINS} and must not be one of "
                    f"{', '.join(OWN_LABELS)}, because these are set by the operator or by Kubernetes",
                ),
                _keys("labels"),
            ),
        ),
    ] = {}
    """Labels that the pods get beside those of the operator, for example of a team or a service mesh. No selector uses
    them."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(
            max_length=30,
            json_schema_extra=rules(
                rule(
                    f"!self.exists(k, {_OWN})",
                    f"annotations: a key must not begin with {_DOMAINS}, because these are set by the operator or by "
                    "Kubernetes",
                ),
                rule(
                    f"!self.exists(k, k.matches('{_LOOSENING}'))",
                    "annotations: AppArmor and seccomp are set by the operator, as Pod Security restricted requires",
                ),
                _keys("annotations"),
            ),
        ),
    ] = {}
    """Annotations that the pods get beside those of the operator. One of prometheus.io replaces the operator's."""
    node_selector: Annotated[
        dict[str, LabelValue], Field(max_length=50, json_schema_extra=rules(_keys("nodeSelector")))
    ] = {}
    """Labels that a node must have to run the pods. If not set, any node may run them."""
    tolerations: Annotated[
        list[Toleration],
        Field(
            max_length=50,
            json_schema_extra={
                **ATOMIC,
                **rules(
                    rule(
                        "self.all(t, has(t.operator) && t.operator == 'Exists' ? !has(t.value) : has(t.key))",
                        "tolerations: operator Exists takes no value, and any other needs a key",
                    ),
                    rule(
                        "self.all(t, !has(t.tolerationSeconds) || (has(t.effect) && t.effect == 'NoExecute'))",
                        "tolerations: tolerationSeconds may be set only with effect NoExecute",
                    ),
                ),
            },
        ),
    ] = []
    """Taints of nodes that the pods tolerate."""
    affinity: Affinity | None = None
    """Nodes and pods near which, or apart from which, the pods run. If not set, the scheduler decides."""
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint] | None,
        Field(max_length=10, json_schema_extra=list_map("topologyKey", "whenUnsatisfiable")),
    ] = None
    """How evenly the pods are spread over nodes and zones. If not set, servers are spread over nodes and zones and
    routers over nodes, as far as possible. An empty list: they are not."""
    priority_class_name: ObjectName | None = None
    """Name of the PriorityClass of the pods. If not set, the default of the cluster applies."""
    service_account_name: ObjectName | None = None
    """Name of the ServiceAccount of the pods in the same namespace, for image pull secrets and workload identity. Its
    Kubernetes token is not mounted. If not set, the default ServiceAccount of the namespace is used."""
    env: Annotated[list[EnvironmentVariable], Field(max_length=50, json_schema_extra=list_map("name"))] = []
    """Environment variables that the container gets beside those of the operator."""
