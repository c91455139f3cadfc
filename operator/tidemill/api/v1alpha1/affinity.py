"""Affinity of pods to nodes and to other pods: the fields of a Pod's `affinity` of the same names.

Typed, so that a wrong value is refused at `kubectl apply` and not when the pod is made. Left out is what reaches beyond
the namespace (`namespaces`, `namespaceSelector`) and what depends on names that the operator gives (`matchFields`,
`matchLabelKeys`).
"""

from typing import Annotated, Literal

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, rule, rules

MAX_TERMS = 20
KEY_LIMIT = 317
KEY_PATTERN = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
"""Keys of labels and annotations."""

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
LabelKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=KEY_LIMIT,
        pattern=KEY_PATTERN,
    ),
]
Weight = Annotated[int, Field(ge=1, le=100)]
_VALUES = Annotated[list[LabelValue], Field(max_length=50, json_schema_extra=ATOMIC)]
_KNOWS_VALUES = rule(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : "
    "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || size(self.values) == 0 : "
    "has(self.values) && size(self.values) == 1",
    "values must have at least one entry with operator In or NotIn, exactly one with Gt or Lt, and none with Exists or "
    "DoesNotExist",
)


class NodeRequirement(Model):
    """A condition on one label of a node."""

    model_config = {"json_schema_extra": rules(_KNOWS_VALUES)}

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label is compared with values: In, NotIn, Exists, DoesNotExist, Gt (greater than) or Lt (less than)."""
    values: _VALUES = []
    """Values that the label is compared with."""


class NodeTerm(Model):
    """Conditions on the labels of a node, all of which must hold."""

    match_expressions: Annotated[
        list[NodeRequirement], Field(min_length=1, max_length=MAX_TERMS, json_schema_extra=ATOMIC)
    ]
    """Conditions on labels of the node."""


class NodeSelector(Model):
    """Conditions on nodes, of which one must hold."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=MAX_TERMS, json_schema_extra=ATOMIC)]
    """Alternatives: a node is suitable if one of them holds."""


class PreferredNodes(Model):
    """Nodes that are preferred."""

    weight: Weight
    """Weight of this preference among all."""
    preference: NodeTerm
    """Conditions on the nodes."""


class NodeAffinity(Model):
    """Nodes that may run the pods."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Conditions that a node must meet. If not set, any node may run the pods."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredNodes], Field(max_length=MAX_TERMS, json_schema_extra=ATOMIC)
    ] = []
    """Nodes that are preferred."""


class LabelRequirement(Model):
    """A condition on one label of a pod."""

    model_config = {"json_schema_extra": rules(_KNOWS_VALUES)}

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared with values: In, NotIn, Exists or DoesNotExist."""
    values: _VALUES = []
    """Values that the label is compared with."""


class PodLabelSelector(Model):
    """Selects pods by their labels. All conditions must hold."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=20)] = {}
    """Labels that the pods must have."""
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=MAX_TERMS, json_schema_extra=ATOMIC)] = []
    """Conditions on labels of the pods."""


class PodTerm(Model):
    """Pods of the same namespace, and how near they are."""

    label_selector: PodLabelSelector
    """Selects pods of the same namespace."""
    topology_key: LabelKey
    """Label of nodes. Nodes with the same value of this label count as one place, for example kubernetes.io/hostname or
    topology.kubernetes.io/zone."""


class PreferredPods(Model):
    """Pods near which, or apart from which, the pods should run."""

    weight: Weight
    """Weight of this preference among all."""
    pod_affinity_term: PodTerm
    """The pods, and how near they are."""


class PodAffinity(Model):
    """Pods of the same namespace near which, or apart from which, the pods run."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodTerm], Field(max_length=MAX_TERMS, json_schema_extra=ATOMIC)
    ] = []
    """Conditions that must hold, or the pod is not scheduled."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredPods], Field(max_length=MAX_TERMS, json_schema_extra=ATOMIC)
    ] = []
    """Conditions that should hold."""


class Affinity(Model):
    """Where the pods may or should run, in the form of a Pod's affinity."""

    node_affinity: NodeAffinity | None = None
    """Nodes on which the pods run. If not set, their place does not depend on labels of nodes."""
    pod_affinity: PodAffinity | None = None
    """Pods of the same namespace near which the pods run. If not set, their place depends on no other pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Pods of the same namespace apart from which the pods run. If not set, their place depends on no other pods."""
