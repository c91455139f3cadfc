"""`spec.logging.payloads` of a ModelDeployment: the rows that it answers, kept as data."""

from typing import Annotated

from pydantic import Field

from tidemill.api.base import ATOMIC, Model, SecretRef, rule, rules
from tidemill.api.v1alpha1.training_template import none_of
from tidemill_contracts import schemes

_KEYLESS = tuple(s for s in schemes.ARTIFACT_SCHEMES if not schemes.BY_NAME[s].secret)
ColumnName = Annotated[str, Field(min_length=1, max_length=256)]


class Payloads(Model):
    """Keeps the rows of requests with their answers and labels as Parquet files."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                f"!has(self.secretRef) || {none_of(_KEYLESS)}",
                f"secretRef may be set only with a uri of {schemes.prefixes(schemes.with_secret('artifacts'))}",
            ),
            rule(
                "!has(self.redact) || !has(self.columns) || self.redact.all(c, c in self.columns)",
                "redact may name only columns that are kept",
            ),
        )
    }

    purpose: Annotated[str, Field(min_length=1, max_length=256)]
    """What the rows are kept for, in your own words, for example "training data of the churn model". Nothing reads it
    but people: whoever keeps personal data has to be able to say why."""
    uri: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=schemes.uri_pattern("artifacts"),
            description=f"Location of the files: {schemes.listed(schemes.forms('artifacts'))}. They are written to the "
            "folder <namespace>/<deployment>/rows below it.",
        ),
    ]
    secret_ref: SecretRef | None = None
    """Secret in the same namespace with the credentials of the object store. Must not be set with pvc://. If not set,
    no Secret is used."""
    columns: Annotated[list[ColumnName] | None, Field(max_length=500, json_schema_extra=ATOMIC)] = None
    """Names of the inputs that are kept, besides ids, versions, times, answers and labels. An empty list keeps ids,
    versions and times only. If not set, all inputs are kept."""
    redact: Annotated[list[ColumnName], Field(max_length=100, json_schema_extra=ATOMIC)] = []
    """Names of kept inputs whose values are replaced by keyed digests: equal values stay equal and cannot be read. The
    key is random and stays in the database of the monitor. If not set, no value is replaced."""
    retention_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Number of days after which a file is removed."""
