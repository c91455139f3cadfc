"""Children belong to somebody and mount only what they need."""

from tidemill.core import labels, podspec

OWNER = {
    "apiVersion": "tidemill.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "r" * 63, "namespace": "ns", "uid": "u", "labels": {"argocd.argoproj.io/instance": "app"}},
}


def test_children_carry_our_labels_and_none_of_the_users() -> None:
    meta = podspec.metadata("child", OWNER, podspec.labels("trainer", OWNER["metadata"]["name"], {labels.RUN: "x"}))
    assert meta["labels"][labels.MANAGED_BY] == "tidemill"
    assert meta["labels"][labels.RUN] == "x"
    assert not any(key.startswith("argocd") for key in meta["labels"])
    assert all(len(value) <= 63 for value in meta["labels"].values())
    assert podspec.is_controlled_by({"metadata": meta}, "u")
    assert not podspec.is_controlled_by({"metadata": meta}, "other")
    assert podspec.controller_of({"metadata": {}}) == {}


def test_scratch_volumes_have_a_limit_when_one_is_given() -> None:
    assert podspec.empty_dir("tmp", "1Gi") == {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}
    assert podspec.empty_dir("tmp") == {"name": "tmp", "emptyDir": {}}
