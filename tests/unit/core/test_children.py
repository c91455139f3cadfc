"""Children belong to somebody and carry our labels."""

from tidemill.core import children, labels

OWNER = {
    "apiVersion": "tidemill.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "r" * 63, "namespace": "ns", "uid": "u", "labels": {"argocd.argoproj.io/instance": "app"}},
}


def test_children_carry_our_labels_and_none_of_the_users() -> None:
    meta = children.metadata("child", OWNER, children.labels("trainer", OWNER["metadata"]["name"], {labels.RUN: "x"}))
    assert meta["labels"][labels.MANAGED_BY] == "tidemill"
    assert meta["labels"][labels.RUN] == "x"
    assert not any(key.startswith("argocd") for key in meta["labels"])
    assert all(len(value) <= 63 for value in meta["labels"].values())
    assert children.is_controlled_by({"metadata": meta}, "u")
    assert not children.is_controlled_by({"metadata": meta}, "other")
    assert children.controller_of({"metadata": {}}) == {}
