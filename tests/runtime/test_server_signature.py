"""What a server says of its model's columns to the operator, on the admin port."""

from pathlib import Path

from tests.support import versions

from tidemill_contracts import signatures
from tidemill_contracts.signatures import SIGNATURE_PATH, ServedSignature
from tidemill_runtime.server.host.state import State
from tidemill_runtime.server.process import lifecycle
from tidemill_runtime.server.process.admin_server import AdminServer
from tidemill_runtime.server.telemetry.metrics import Telemetry


def test_the_admin_port_tells_the_operator_what_the_model_takes_and_gives(tmp_path: Path) -> None:
    published = versions.mixed(tmp_path)
    config = published.config()
    counted = Telemetry(config)
    admin = AdminServer(0, State(), counted, stuck_after_seconds=60)
    try:
        assert admin.answer(SIGNATURE_PATH)[0] == 503
        lifecycle.load(config, counted, 1)
        status, kind, body = admin.answer(SIGNATURE_PATH)
    finally:
        admin.stop()
    assert (status, kind) == (200, "application/json")
    served = ServedSignature.from_json(body)
    assert served.digest == published.digest
    assert served.signature == signatures.brief(published.manifest.signature), "without categories, which may be long"
    assert signatures.digest(served.signature) == signatures.digest(published.manifest.signature)
