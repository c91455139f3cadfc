"""Configuration reaches a pod whatever its size: in the environment as far as the kernel lets it, else as a file."""

import subprocess
import sys
from typing import Any

import pytest

from tidemill.core.delivery import deliver
from tidemill_contracts.delivery import MAX_VARIABLE_BYTES, fits
from tidemill_contracts.digests import sha256

NAME = "TIDEMILL_TRAINER_CONFIG"
ROOM = MAX_VARIABLE_BYTES - len(NAME) - 2
OWNER = {
    "apiVersion": "tidemill.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "churn-1", "namespace": "team-a", "uid": "u"},
}


def delivered(text: str, **more: Any) -> Any:
    return deliver(NAME, text, name="churn-1-config", owner=OWNER, labels={"a": "b"}, **more)


@pytest.mark.parametrize(("size", "starts"), [(ROOM, True), (ROOM + 1, False)])
def test_the_limit_is_the_kernels_own(size: int, starts: bool) -> None:
    text = "x" * size
    assert fits(NAME, text) is starts
    try:
        subprocess.run([sys.executable, "-S", "-c", ""], env={NAME: text}, check=True)
    except OSError:
        assert not starts
    else:
        assert starts


def test_characters_of_several_bytes_count_as_bytes() -> None:
    assert fits(NAME, "ö" * (ROOM // 2))
    assert not fits(NAME, "ö" * (ROOM // 2 + 1))


def test_a_document_that_fits_stays_in_the_environment() -> None:
    """Images of before read nothing else; and no further object is made for a run."""
    found = delivered("x" * ROOM)
    assert found.environment == {NAME: "x" * ROOM}
    assert (found.objects, found.volumes, found.mounts) == ((), [], [])


def test_a_longer_one_is_a_file_with_its_digest() -> None:
    text = "ö" * ROOM
    found = delivered(text, immutable=True)
    (config_map,) = found.objects
    assert config_map["data"] == {"config.json": text}
    assert config_map["immutable"] is True
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert config_map["metadata"]["labels"] == {"a": "b"}
    assert found.environment == {
        f"{NAME}_FILE": "/mnt/config/config.json",
        f"{NAME}_DIGEST": sha256(text.encode()),
    }
    assert found.volumes == [{"name": "config", "configMap": {"name": "churn-1-config"}}]
    assert found.mounts == [{"name": "config", "mountPath": "/mnt/config", "readOnly": True}]
