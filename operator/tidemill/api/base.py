"""Building blocks that every kind shares: strict camelCase models, kind metadata, status with conditions.

`json_schema_extra` entries that start with `x-kubernetes-` reach the CRD as they stand; a rule beside a
field is a CEL rule, so that a bad manifest fails at `kubectl apply`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "tidemill.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)


def _check_quantity(value: int | str) -> int | str:
    if isinstance(value, str) and not re.match(_QUANTITY, value):
        raise ValueError(f"{value!r} is not a quantity such as 500m, 2 or 1.5Gi")
    return value


# A Kubernetes quantity: 500m, 2, 1.5Gi.
Quantity = Annotated[
    int | str,
    AfterValidator(_check_quantity),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": _QUANTITY,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
# RFC 3339, as the API server writes it.
Time = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
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
        description="Managed: the operator keeps a NetworkPolicy that lets each kind of caller reach its own port of the pods. None: it keeps none and removes its own. Absent: Managed."
    ),
]
"""No default in the schema: that would be stored, and could never change for objects that say nothing."""

ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
UNCHANGED = rule("self == oldSelf", "spec is immutable: it records what happened; create a new object instead")
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
class Born:
    """One condition that every object of a kind has before the operator's first look: a default of the CRD.

    It must be true of any object of the kind from the moment of its creation.
    """

    type: str
    status: Literal["True", "Unknown"]
    reason: str
    message: str


BORN_TIME = "1970-01-01T00:00:00Z"
"""lastTransitionTime of born conditions, as in the Gateway API: a schema cannot know when an object is made."""
PENDING = "Pending"
"""Reason of what nobody has looked at yet."""
BORN_READY = Born("Ready", "Unknown", PENDING, "The operator has not written a status yet")


@dataclass(frozen=True)
class Kind:
    """What the CRD says about a kind besides its schema."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    description: str
    columns: tuple[Column, ...]
    born: tuple[Born, ...] = (BORN_READY,)  # Ready first, then Reconciling, then the others by name
    scale: bool = False
    name_rule: dict[str, Any] | None = None  # a CEL rule on the whole object
    selectable: tuple[str, ...] = ()  # spec fields for `kubectl get --field-selector`
    categories: tuple[str, ...] = ("tidemill",)


class Resource(Model):
    """A whole object. Metadata is kept as the API server sends it."""

    model_config = ConfigDict(extra="ignore")

    INFO: ClassVar[Kind]

    api_version: Literal["tidemill.io/v1alpha1"] = "tidemill.io/v1alpha1"
    kind: str
    metadata: dict[str, Any]


class Condition(Model):
    """One observation about an object, as `metav1.Condition`."""

    type: Annotated[str, Field(max_length=316, description="Type of the condition, PascalCase.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    observed_generation: Annotated[
        int | None,
        Field(
            ge=0, description="The metadata.generation that this condition was computed from; absent in those of birth."
        ),
    ] = None
    last_transition_time: Annotated[Time, Field(description="When the status last changed.")]
    reason: Annotated[
        str, Field(max_length=1024, min_length=1, description="Why, one PascalCase word from the documented set.")
    ]
    message: Annotated[str, Field(max_length=32768, description="Why, a sentence for people.")]


class Status(Model):
    """What every status has. Unknown fields are ignored, so that an older operator reads a newer status."""

    model_config = ConfigDict(extra="ignore")

    observed_generation: Annotated[
        int, Field(description="The metadata.generation that this status speaks of; -1: as it was born.")
    ] = -1
    conditions: Annotated[
        list[Condition],
        Field(
            description="Ready, Reconciling, Stalled as kstatus reads them, and the kind's own.",
            json_schema_extra=list_map("type"),
        ),
    ] = []


class SecretRef(Model):
    """A Secret in the same namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class ConfigMapRef(Model):
    """A ConfigMap in the same namespace."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]


class Resources(Model):
    """CPU and memory of a container, as in a Pod."""

    requests: Annotated[
        dict[str, Quantity] | None,
        Field(max_length=16, description="What is reserved, for example {cpu: 500m, memory: 1Gi}."),
    ] = None
    limits: Annotated[dict[str, Quantity] | None, Field(max_length=16, description="What may not be exceeded.")] = None


class Toleration(Model):
    """A taint that pods of this object tolerate, as in a Pod."""

    key: Annotated[
        str | None, Field(max_length=317, description="Taint key; absent with operator Exists matches all keys.")
    ] = None
    operator: Annotated[Literal["Exists", "Equal"] | None, Field(description="Exists or Equal (default).")] = None
    value: Annotated[str | None, Field(max_length=63, description="Taint value for Equal.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description="Taint effect; absent: all.")
    ] = None
    toleration_seconds: Annotated[
        int | None, Field(description="How long a NoExecute taint is tolerated; absent: for ever.")
    ] = None


READY_COLUMNS = (
    Column(
        "Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the object is as its spec says."
    ),
    Column("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is, or is not, ready."),
)
TAIL_COLUMNS = (
    Column("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
    Column("Message", "string", '.status.conditions[?(@.type=="Ready")].message', "The reason as a sentence.", 1),
)
