"""Who may call a ModelDeployment."""

from tidemill.api.base import Model, SecretRef, rule, rules


class Keys(Model):
    """Keys of clients, of which only digests are stored."""

    secret_ref: SecretRef
    """The Secret, with one entry named keys: a line for each key, "<name of the client> sha256:<SHA-256 of the key>". A
    changed Secret takes effect within about a minute, without a restart. At most 256 keys are read."""


class Access(Model):
    """Which requests need a key. Requests about health and readiness never do."""

    model_config = {
        "json_schema_extra": rules(
            rule("has(self.apiKeys) || has(self.feedback)", "spec.access: apiKeys or feedback must be set")
        )
    }

    api_keys: Keys | None = None
    """Keys of which every request for predictions, explanations or metadata needs one, over HTTP and gRPC. If not set,
    everybody who reaches the address may send requests."""
    feedback: Keys | None = None
    """Keys of which feedback needs one. Only labels that were sent with such a key can cause a retrain or a rollback.
    If not set, everybody who may send requests may send labels, and they cause neither."""
