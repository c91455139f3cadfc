"""A configuration is read from its variable or its file; a file that was changed meanwhile is refused."""

from pathlib import Path

import pytest
from tests.runtime.conftest import Trainer
from tests.support import training_code

from tidemill_contracts.delivery import MAX_VARIABLE_BYTES, variables
from tidemill_contracts.training import TrainerConfig
from tidemill_runtime import configuration
from tidemill_runtime.monitor.__main__ import main as monitor

NAME = "TIDEMILL_TRAINER_CONFIG"


def placed(path: Path, text: str, told: str | None = None) -> dict[str, str]:
    """The environment that the operator makes for `told`, with a file that holds `text`."""
    path.write_text(text, encoding="utf-8")
    return {**variables(NAME, told or text), f"{NAME}_FILE": str(path)}


def test_the_variable_is_read() -> None:
    assert configuration.read(NAME, {NAME: "{}"}) == "{}"
    assert configuration.read(NAME, {}) is None


def test_a_file_is_read(tmp_path: Path) -> None:
    text = "ö" * MAX_VARIABLE_BYTES
    assert configuration.read(NAME, placed(tmp_path / "config.json", text)) == text


def test_a_file_with_other_content_is_refused(tmp_path: Path) -> None:
    """Whoever may edit ConfigMaps could delete an immutable one and make another of its name."""
    text = "x" * MAX_VARIABLE_BYTES
    with pytest.raises(ValueError, match=r"_FILE: .* somebody changed the ConfigMap behind it"):
        configuration.read(NAME, placed(tmp_path / "config.json", text + " ", told=text))


def test_a_file_without_a_digest_is_refused(tmp_path: Path) -> None:
    environment = placed(tmp_path / "config.json", "x" * MAX_VARIABLE_BYTES)
    with pytest.raises(ValueError, match="this pod was made for None"):
        configuration.read(NAME, {f"{NAME}_FILE": environment[f"{NAME}_FILE"]})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{NAME}_FILE: cannot read {tmp_path}/none: No such file"):
        configuration.read(NAME, {f"{NAME}_FILE": f"{tmp_path}/none"})


class ByFile(Trainer):
    """Hands the configuration over as the operator does where it is long."""

    def set_config(self, config: TrainerConfig) -> None:
        text = config.to_json()
        assert len(text) > MAX_VARIABLE_BYTES
        for name, value in placed(self.root / "config.json", text).items():
            self._monkeypatch.setenv(name, value)


def test_a_run_of_186_kilobytes_trains(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del mounts
    trainer = ByFile(tmp_path, monkeypatch, capsys)
    text = training_code.TREE.replace("max_depth: int = 3", "max_depth: int = 3, notes: str = ''")
    trained = trainer(text, parameters={"notes": "n" * 186_000})
    assert (trained.exit_code, trained.result.outcome) == (0, "Succeeded"), trained.result.failure


def test_a_changed_configuration_ends_a_run_for_good(
    mounts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del mounts

    class Changed(ByFile):
        def set_config(self, config: TrainerConfig) -> None:
            super().set_config(config)
            path = self.root / "config.json"
            path.write_text(path.read_text().replace('"pipeline":"churn"', '"pipeline":"other"'))

    trained = Changed(tmp_path, monkeypatch, capsys)(training_code.TREE, parameters={"notes": "n" * 186_000})
    assert (trained.exit_code, trained.failure.reason) == (42, "InvalidConfig")
    assert "somebody changed the ConfigMap behind it" in trained.failure.message


def test_a_monitor_refuses_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    environment = {"TIDEMILL_MONITOR_CONFIG_FILE": str(path), "TIDEMILL_MONITOR_CONFIG_DIGEST": "sha256:other"}
    assert monitor(environment) == 2
    assert "somebody changed the ConfigMap behind it" in capsys.readouterr().err
