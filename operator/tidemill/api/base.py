"""Building blocks that every kind shares: strict camelCase models, kind metadata, status with conditions.

`json_schema_extra` entries that start with `x-kubernetes-` reach the CRD as they stand; a rule beside a
field is a CEL rule, so that a bad manifest fails at `kubectl apply`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from tidemill_contracts import digests
from tidemill_contracts.quantities import PATTERN

GROUP: Final = "tidemill.io"
"""API group of the six kinds, prefix of every own label and annotation."""
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
"""The one served version."""
if TYPE_CHECKING:
    _ApiVersion = str
else:
    _ApiVersion = Literal[API_VERSION]


def _check_quantity(value: int | str) -> int | str:
    if isinstance(value, str) and not re.match(PATTERN, value):
        raise ValueError(f"{value!r} is not a quantity such as 500m, 2 or 1.5Gi")
    return value


# A Kubernetes quantity: 500m, 2, 1.5Gi.
Quantity = Annotated[
    int | str,
    AfterValidator(_check_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
# RFC 3339, as the API server writes it.
Time = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
Digest = Annotated[str, Field(pattern=digests.PATTERN, max_length=71)]
# The name of another object in the same namespace.
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
# A DNS label, for names that become part of a Service's name.
LabelName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
Ratio = Annotated[float, Field(ge=0, le=1)]
# Durations: at most ten years, so that no sum with a time can overflow.
MAX_SECONDS = 315_360_000
# Labels that a user chooses, for example of nodes.
Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=50)]


def rule(expression: str, message: str, **more: Any) -> dict[str, Any]:
    """Return one CEL validation rule of a CRD schema."""
    return {"rule": expression, "message": message, **more}


def rules(*items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema extra that carries CEL rules."""
    return {"x-kubernetes-validations": list(items)}


def list_map(*keys: str) -> dict[str, Any]:
    """Return the schema extra of a list of objects that is merged by key."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


NetworkPolicies = Annotated[
    Literal["Managed", "None"] | None,
    Field(
        description=(
            "Whether the operator creates a NetworkPolicy for the pods of this object. Managed: it keeps a "
            "NetworkPolicy that lets each kind of caller reach only the port meant for it. None: it creates none and "
            "deletes the one that it created. If not set, Managed applies."
        )
    ),
]
"""No default in the schema: that would be stored, and could never change for objects that say nothing."""

ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
UNCHANGED = rule("self == oldSelf", "spec is immutable; create a new object instead")
IMMUTABLE = rules(UNCHANGED)


class Model(BaseModel):
    """A part of a resource."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        allow_inf_nan=False,  # JSON has neither
        use_attribute_docstrings=True,  # the text below a field is its description in the CRD
    )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form as `kubectl get -o json` shows it, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class Column:
    """One printer column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    type: Literal["string", "integer", "number", "boolean", "date"]
    json_path: str
    description: str
    priority: int = 0


@dataclass(frozen=True)
class DefaultCondition:
    """One condition that every object of a kind has before the operator's first look: a default of the CRD.

    It must be true of any object of the kind from the moment of its creation.
    """

    type: str
    status: Literal["True", "Unknown"]
    reason: str
    message: str


DEFAULT_TIME = "1970-01-01T00:00:00Z"
"""lastTransitionTime of default conditions, as in the Gateway API: a schema cannot know when an object is made."""
PENDING = "Pending"
"""Reason of what nobody has looked at yet."""
DEFAULT_READY = DefaultCondition("Ready", "Unknown", PENDING, "The operator has not written a status yet")


@dataclass(frozen=True)
class Kind:
    """What the CRD says about a kind besides its schema."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    description: str
    columns: tuple[Column, ...]
    default_conditions: tuple[DefaultCondition, ...] = (DEFAULT_READY,)
    """Ready first, then Reconciling, then the others by name."""
    scale: bool = False
    name_rule: dict[str, Any] | None = None  # a CEL rule on the whole object
    selectable: tuple[str, ...] = ()  # spec fields for `kubectl get --field-selector`
    categories: tuple[str, ...] = ("tidemill",)


class Resource(Model):
    """A whole object. Metadata is kept as the API server sends it."""

    model_config = ConfigDict(extra="ignore")

    INFO: ClassVar[Kind]

    api_version: _ApiVersion = API_VERSION
    kind: str
    metadata: dict[str, Any]


class Condition(Model):
    """One observation about an object, as `metav1.Condition`."""

    type: Annotated[str, Field(max_length=316)]
    """Type of the condition in CamelCase, for example Ready."""
    status: Literal["True", "False", "Unknown"]
    """Status of the condition: True, False or Unknown."""
    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """The metadata.generation that this condition was computed from. Not set in the default conditions that an object
    has until the operator writes its status for the first time."""
    last_transition_time: Time
    """When the status of the condition last changed. 1970-01-01 in the default conditions that an object has until the
    operator writes its status for the first time."""
    reason: Annotated[str, Field(max_length=1024, min_length=1)]
    """Reason for the last change of the status: one CamelCase word from the documented set of reasons."""
    message: Annotated[str, Field(max_length=32768)]
    """Explanation for people."""


class Status(Model):
    """What every status has. Unknown fields are ignored, so that an older operator reads a newer status."""

    model_config = ConfigDict(extra="ignore")

    observed_generation: int = -1
    """The metadata.generation that this status was computed from. -1 until the operator has written the status for the
    first time."""
    conditions: Annotated[list[Condition], Field(json_schema_extra=list_map("type"))] = []
    """Conditions of the object: Ready, Reconciling and Stalled with the meaning that kstatus gives them, and further
    types of this kind."""


class SecretRef(Model):
    """A Secret in the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class ConfigMapRef(Model):
    """A ConfigMap in the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""


class Resources(Model):
    """CPU and memory of the container, in the form of a Pod's resources."""

    requests: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """Minimum resources that are reserved for the container, for example {cpu: 500m, memory: 1Gi}."""
    limits: Annotated[dict[str, Quantity] | None, Field(max_length=16)] = None
    """Maximum resources that the container may use, for example {memory: 2Gi}."""


class Toleration(Model):
    """A taint that the pods tolerate, in the form of a Pod's tolerations."""

    key: Annotated[str | None, Field(max_length=317)] = None
    """Key of the tolerated taint. If not set, operator must be Exists, and taints with any key are tolerated."""
    operator: Literal["Exists", "Equal"] | None = None
    """How the taint is matched. Exists: by key alone. Equal: by key and value. If not set, Equal applies."""
    value: Annotated[str | None, Field(max_length=63)] = None
    """Value of the tolerated taint. Used with operator Equal only."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the tolerated taint: NoSchedule, PreferNoSchedule or NoExecute. If not set, taints with any effect are
    tolerated."""
    toleration_seconds: int | None = None
    """Time in seconds for which a NoExecute taint is tolerated. If not set, it is tolerated forever."""


READY_COLUMNS = (
    Column(
        "Ready",
        "string",
        '.status.conditions[?(@.type=="Ready")].status',
        "Whether the object is in the state that its spec asks for.",
    ),
    Column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Reason of the Ready condition."),
)
TAIL_COLUMNS = (
    Column("Age", "date", ".metadata.creationTimestamp", "Time since the object was created."),
    Column("Message", "string", '.status.conditions[?(@.type=="Ready")].message', "Message of the Ready condition.", 1),
)
