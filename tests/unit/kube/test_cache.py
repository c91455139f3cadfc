import itertools
import random
from typing import Any

from tidemill.core.plan import Key
from tidemill.kube.cache import Cache, slot_of
from tidemill.kube.transform import identity, strip

Obj = dict[str, Any]


def obj(name: str, version: int, kind: str = "Job", owner: str = "", namespace: str = "ns", **meta: Any) -> Obj:
    references = [{"uid": owner, "controller": True, "kind": "K", "name": "k"}] if owner else []
    base = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"apiVersion": "batch/v1", "kind": kind, "metadata": {**base, "ownerReferences": references, **meta}}


def names(found: list[Obj]) -> list[str]:
    return [o["metadata"]["name"] for o in found]


def test_get_and_list_by_namespace_labels_and_owner() -> None:
    cache = Cache()
    cache.put(obj("b", 1, owner="u", labels={"x": "1"}))
    cache.put(obj("a", 2, owner="v", labels={"x": "2"}))
    cache.put(obj("a", 3, namespace="other", owner="u"))
    assert cache.get("Job", "ns", "b")["metadata"]["resourceVersion"] == "1"  # type: ignore[index]
    assert cache.get("Job", "ns", "c") is None
    assert names(cache.list("Job", "ns")) == ["a", "b"]
    assert names(cache.list("Job", owner_uid="u")) == ["b", "a"]
    assert names(cache.list("Job", "ns", owner_uid="u")) == ["b"]
    assert names(cache.list("Job", selector={"x": "2"})) == ["a"]
    assert cache.list("Pod") == []
    assert cache.count("Job") == 3
    assert list(cache.kinds()) == ["Job"]


def test_older_versions_and_the_dead_do_not_come_back() -> None:
    cache = Cache()
    assert cache.put(obj("a", 5))
    assert not cache.put(obj("a", 4))
    assert cache.put(obj("a", 5))
    assert cache.remove("Job", "ns", "a", "uid-a", 7)
    assert not cache.put(obj("a", 6)), "the answer to our own write that came after the deletion"
    assert cache.put(obj("a", 8, uid="uid-new"))


def test_an_object_that_left_the_selector_comes_back() -> None:
    cache = Cache()
    cache.put(obj("a", 5, owner="u"))
    assert cache.remove("Job", "ns", "a", "uid-a", 6), "the label was removed: a watch with a selector says DELETED"
    assert not cache.put(obj("a", 6, owner="u"))
    assert cache.put(obj("a", 7, owner="u")), "the label is there again"
    assert names(cache.list("Job", owner_uid="u")) == ["a"]
    assert not cache.remove("Job", "ns", "a", "uid-a", 6), "the old deletion, delivered once more"
    assert cache.get("Job", "ns", "a") is not None


def test_what_a_list_lacked_comes_back_only_when_newer_than_the_list() -> None:
    cache = Cache()
    cache.put(obj("a", 5))
    cache.prune("Job", set(), 10)
    cache.remove("Job", "ns", "a", "uid-a", 5)
    assert not cache.put(obj("a", 10))
    assert cache.put(obj("a", 11))


def test_removing_by_uid_spares_the_next_object_of_that_name() -> None:
    cache = Cache()
    cache.put(obj("a", 7, uid="uid-new"))
    assert not cache.remove("Job", "ns", "a", "uid-old")
    assert cache.get("Job", "ns", "a") is not None


def test_indices_follow_changes() -> None:
    cache = Cache()
    cache.put(obj("a", 1, owner="u"))
    cache.put(obj("a", 2, owner="v"))
    assert cache.list("Job", owner_uid="u") == []
    assert names(cache.list("Job", owner_uid="v")) == ["a"]
    cache.remove("Job", "ns", "a")
    assert cache.list("Job", owner_uid="v") == []
    assert cache.list("Job", "ns") == []


def test_a_list_prunes_what_the_list_lacks_but_not_what_is_newer() -> None:
    cache = Cache()
    for each in (obj("kept", 1), obj("gone", 2), obj("newer", 12), obj("elsewhere", 3, namespace="other")):
        cache.put(each)
    live = [obj("kept", 1), obj("learnt", 9)]
    assert [cache.learn(each) for each in live] == [False, True]
    assert names(cache.prune("Job", {slot_of(each) for each in live}, 10, "ns")) == ["gone"]
    assert names(cache.list("Job")) == ["kept", "learnt", "newer", "elsewhere"]


def test_the_writer_is_known_once_and_for_the_exact_version() -> None:
    cache, key = Cache(), Key("TrainingRun", "ns", "r")
    cache.put(obj("a", 5), key)
    assert cache.writer_of(obj("a", 6)) is None
    assert cache.writer_of(obj("a", 5)) == key
    assert cache.writer_of(obj("a", 5)) is None


def test_strip_drops_what_nobody_reads() -> None:
    fat = obj(
        "p",
        1,
        kind="Pod",
        managedFields=[{}],
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "x", "a": "b"},
    )
    fat["spec"] = {"nodeName": "n", "containers": [{"name": "c", "image": "i", "env": []}], "volumes": [{}]}
    thin = strip(fat)
    assert "managedFields" not in thin["metadata"]
    assert thin["metadata"]["annotations"] == {"a": "b"}
    assert thin["spec"] == {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    assert fat["spec"]["volumes"] == [{}], "the original is not changed"


def test_foreign_config_maps_keep_their_identity_only() -> None:
    thin = identity({**obj("c", 3, kind="ConfigMap", labels={"a": "b"}), "data": {"k": "v" * 1000}})
    assert thin["metadata"] == {"name": "c", "namespace": "ns", "uid": "uid-c", "resourceVersion": "3"}
    assert "data" not in thin


def test_nothing_is_kept_of_namespaces_that_came_and_went() -> None:
    cache = Cache()
    for n in range(3):
        namespace = f"preview-{n}"
        assert cache.derived("Job", namespace, slot_of) == ()
        for name in ("a", "b"):
            cache.put(obj(name, 1, namespace=namespace))
        assert cache.derived("Job", namespace, slot_of) == ((namespace, "a"), (namespace, "b"))
        assert len(cache.naming("Job", namespace, "a", _own_name)) == 1
        cache.put(obj("a", 2, namespace=namespace))
        cache.remove("Job", namespace, "b")
        assert cache.derived("Job", namespace, slot_of) == ((namespace, "a"),)
        cache.remove("Job", namespace, "a")
    held = (cache._revisions, cache._derived, cache._by_namespace, cache._by_owner, cache._naming["Job"][_own_name])
    assert not any(held), held


def _own_name(o: Obj) -> tuple[str, ...]:
    return (o["metadata"]["name"],)


def test_what_is_derived_is_made_once_for_each_state_of_each_object() -> None:
    """Two thousand pipelines ask about the same five hundred deployments."""
    cache, made = Cache(), list[str]()

    def name(o: Obj) -> str:
        made.append(o["metadata"]["name"])
        return f"{o['metadata']['name']}@{o['metadata']['resourceVersion']}"

    for n in ("b", "a"):
        cache.put(obj(n, 1))
    cache.put(obj("c", 1, namespace="other"))
    for _ in range(3):
        assert cache.derived("Job", "ns", name) == ("a@1", "b@1")
    assert made == ["a", "b"]
    cache.put(obj("a", 2))
    cache.put(obj("c", 2, namespace="other"))
    assert cache.derived("Job", "ns", name) == ("a@2", "b@1")
    assert made == ["a", "b", "a"]
    cache.remove("Job", "ns", "a")
    assert cache.derived("Job", "ns", name) == ("b@1",)
    cache.remove("Job", "ns", "b")
    assert cache.derived("Job", "ns", name) == ()
    assert len(made) == 3


def _friends(obj: dict[str, Any]) -> list[str]:
    return obj["spec"]["friends"]


def test_who_refers_to_a_name_follows_every_change() -> None:
    """As a scan of all objects would say, whatever came, changed and went; also for an index made late."""
    cache, chance = Cache(), random.Random(3)
    people, spaces = list("abcdef"), ("ns", "other")
    for version in range(1, 600):
        name, namespace = chance.choice(people), chance.choice(spaces)
        if chance.random() < 0.3:
            cache.remove("Person", namespace, name)
        else:
            meta = {"name": name, "namespace": namespace, "resourceVersion": str(version), "labels": {"l": name}}
            friends = chance.sample(people, chance.randrange(4))
            cache.put({"kind": "Person", "metadata": meta, "spec": {"friends": friends}})
        if version > 100:
            for wanted, space in itertools.product(people, spaces):
                found = [o["metadata"]["name"] for o in cache.naming("Person", space, wanted, _friends)]
                assert found == [
                    o["metadata"]["name"] for o in cache.list("Person", space) if wanted in o["spec"]["friends"]
                ]
                assert cache.naming("Person", space, wanted, _friends, {"l": "a"}) == [
                    o for o in cache.list("Person", space, {"l": "a"}) if wanted in o["spec"]["friends"]
                ]
