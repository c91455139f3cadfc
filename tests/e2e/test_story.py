"""What the first day and the second month bring, with kubectl and HTTP alone; the tests are chapters, in order.

A churn table of one's own, a canary under traffic, a renamed column, the way back, production by digest, staging that
removes what production serves, a namespace built again, a quota, production built again. The team's namespace is
staging; the store is a namespace of its own, because it is what stays.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hack.tools.kubectl import Kubectl, KubectlError, condition, is_true, wait_for
from tests.e2e import lake, story
from tests.e2e.client import Client
from tests.e2e.conftest import (
    check_all_statuses,
    check_rights,
    make_namespace,
    named,
    wait_condition,
    wait_event,
)
from tests.e2e.manifests import code, deployment
from tests.e2e.story import LAKE, NAME, OWN_CLASS, PRODUCTION, RENAMED, ROW, TEAM, USED, Place, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

V1 = f"/v1/models/{NAME}:predict"
BACK_SECONDS = 20.0
"""From the annotation, or the change of the spec, to the first answer of the version before."""
BOTH = {f"{NAME}-2", f"{NAME}-3"}
"""The versions that answer while a renamed column goes out."""
NAMED_SECONDS = 20.0
"""From the cluster's word to ours."""
QUOTA = "exceeded quota: team"
SERVERS = "app.kubernetes.io/component=server"


@pytest.fixture(scope="module")
def world(cluster: Kubectl) -> Iterator[World]:
    """Everything that needs no chapter before it starts at once: two models and a notebook's file."""
    for name in (LAKE, TEAM, PRODUCTION):
        make_namespace(cluster, name)
    team, production = Kubectl(TEAM), Kubectl(PRODUCTION)
    with lake.running(Kubectl(LAKE)) as store:
        world = World(Place(team, Client(team)), Place(production, Client(production)), store)
        for bucket in ("lake", "models", "production"):
            store.create_bucket(Bucket=bucket)
        world.put(story.subscribers())
        team.apply(lake.secret("lake", LAKE))
        team.apply([code(f"{NAME}-code", story.selecting(1.0)), code(f"{OWN_CLASS}-code", story.WITH_OWN_CLASS)])
        team.apply(story.team_objects())
        production.apply([*story.production_secrets(), *story.notebook(store)])
        for place in (world.team, world.production):
            place.client.start()
        yield world
        for place in (world.team, world.production):
            check_all_statuses(place.kubectl)
    check_rights()
    for name in (LAKE, TEAM, PRODUCTION):
        cluster.run("delete", "namespace", name, "--wait=false")


def test_own_data_with_text_and_nulls_needs_the_used_columns_only(world: World) -> None:
    team = world.team
    team.serves(f"{NAME}-1", timeout=240)
    inputs = team.version(1)["spec"]["signature"]["inputs"]
    assert [column["name"] for column in inputs if column.get("used") is False] == ["customer", "since"]
    without = {**USED, "tenure": None, "plan": None}
    for row in (USED, ROW, {**ROW, "customer": None}, without, list(ROW.values()), list(USED.values())):
        answer = team.client.post(NAME, V1, {"instances": [row]})
        assert answer.status == 200, (row, answer)
        assert answer.json["predictions"][0] in ("yes", "no")
    missing = team.client.post(NAME, V1, {"instances": [{"customer": 900, "tenure": 41, "income": 2.5}]})
    assert (missing.status, "missing columns: 'plan'" in missing.json["error"]) == (400, True)
    extra = team.client.post(NAME, V1, {"instances": [{**ROW, "shoe": 43}]})
    assert (extra.status, "unexpected columns: 'shoe'" in extra.json["error"]) == (400, True)

    team.patch("modeldeployment", {"server": {"extraColumns": "Ignore"}})
    team.serves(f"{NAME}-1")
    # A pod that is being stopped answers for some seconds, while routers learn that it goes.
    wait_for("an answer", lambda: team.ask({**ROW, "shoe": 43}) == (200, f"{NAME}-1"), 30)


def test_a_class_of_ones_own_is_served_where_the_author_allows_it(world: World) -> None:
    team = world.team
    stalled = team.wait(lambda md: is_true(md, "Stalled"), 240, OWN_CLASS)
    assert condition(stalled, "Stalled")["reason"] == "CodeNotAllowed"
    assert "spec.server.allowCode: true" in condition(stalled, "Stalled")["message"]
    version = team.kubectl.get("modelversion", f"{OWN_CLASS}-1") or {}
    assert version["spec"]["formats"] == ["skops-code"]

    team.patch("modeldeployment", {"server": {"allowCode": True}}, OWN_CLASS)
    team.serves(f"{OWN_CLASS}-1", OWN_CLASS)
    assert team.ask(ROW, OWN_CLASS) == (200, f"{OWN_CLASS}-1")
    for kind in ("modeldeployment", "trainingpipeline"):
        team.kubectl.run("delete", kind, OWN_CLASS, "--wait=false")


def imported(place: Place, name: str, version: str) -> dict[str, Any]:
    """Wait until an import has become a version."""

    def done(found: dict[str, Any]) -> bool:
        return is_true(found, "Ready") and (found.get("status") or {}).get("version") == version

    return wait_condition(place.kubectl, "modelimport", name, done, 120)


def folder_of(version: dict[str, Any]) -> str:
    """Return the folder that holds a pipeline's versions by their digests."""
    return str(version["spec"]["uri"].rpartition("/")[0])


def test_a_version_waits_for_approval_as_imported_and_then_serves_in_production(world: World) -> None:
    production, first = world.production, world.team.version(1)
    digest = first["spec"]["digest"]
    production.kubectl.apply([story.promotion(digest, folder_of(first)), deployment(NAME)])
    found = imported(production, "from-staging", f"{NAME}-1")
    assert condition(found, "Ready")["reason"] == "AwaitingApproval"
    version = production.kubectl.get("modelversion", f"{NAME}-1") or {}
    assert version["spec"]["digest"] == digest
    assert version["spec"]["metrics"] == first["spec"]["metrics"]
    assert version["spec"]["uri"].startswith(f"s3://production/{PRODUCTION}/imports/from-staging/")
    assert condition(version, "Approved")["status"] == "Unknown"

    production.annotate("modelversion", f"{NAME}-1", "approve", digest)
    production.serves(f"{NAME}-1")
    assert production.scores() == world.team.scores()


def test_a_notebooks_file_gets_in_and_serves(world: World) -> None:
    production = world.production
    imported(production, "notebook", "iris-notebook")
    version = production.kubectl.get("modelversion", "iris-notebook") or {}
    assert version["spec"]["uri"].startswith("pvc://tidemill-artifacts/imports/notebook/")
    assert condition(version, "Approved")["reason"] == "Imported"
    assert "gates" not in json.dumps(version["status"]["decision"])
    production.serves("iris-notebook", "iris")
    assert production.ask([5.1, 3.5, 1.4, 0.2], "iris") == (200, "iris-notebook")


def test_a_canary_under_traffic_loses_no_request(world: World) -> None:
    team = world.team
    with team.client.streaming(NAME, {"instances": [USED]}, rate=50) as stream:
        team.kubectl.apply(code(f"{NAME}-code", story.selecting(0.5)))
        team.serves(f"{NAME}-2")
        moment = time.monotonic()
        wait_for("more answers", lambda: len(stream.since(moment + 3)) > 50, 30)
    assert stream.failed() == []
    assert {version for _, _, version, _ in stream.answers} == {f"{NAME}-1", f"{NAME}-2"}
    assert set(stream.since(moment + 3)) == {f"{NAME}-2"}
    both = [version for at, _, version, _ in stream.answers if at <= stream.last_of(f"{NAME}-1")]
    assert 0.02 < both.count(f"{NAME}-2") / len(both) < 0.6, "the candidate had a share, and not all at once"


def test_a_renamed_column_is_held_and_no_request_fails(world: World) -> None:
    team = world.team
    with team.client.streaming(NAME, {"instances": [USED]}, rate=50) as stream:
        world.put(story.subscribers("tenure_months"))
        team.kubectl.apply(code(f"{NAME}-code", story.selecting(0.5, "tenure_months")))
        held = team.wait(lambda md: condition(md, "Ready").get("reason") == "SignatureChanged", 180)
        message = condition(held, "Ready")["message"]
        assert "'tenure' is not taken any more and 'tenure_months' is required" in message
        assert f"tidemill.io/promote={NAME}-3" in message
        assert condition(held, "Ready")["status"] == "False"
        assert is_true(held, "Stalled") and is_true(held, "Available")
        candidate = held["status"]["candidate"]
        assert (candidate["version"], candidate["step"], candidate["weight"]) == (f"{NAME}-3", -1, 0)
        wait_event(team.kubectl, "SignatureChanged", "tenure_months")
        team.annotate("modeldeployment", NAME, "promote", "go-on")
        wait_event(team.kubectl, "PromoteIgnored", "go-on")
        seen = len(stream.answers)
        wait_for("more answers", lambda: len(stream.answers) > seen + 250, 30)
    assert stream.failed() == []
    assert stream.last_of(f"{NAME}-3") == 0.0, "not one request reached the version that refuses it"
    assert team.ask(USED) == (200, f"{NAME}-2")


def test_clients_that_send_both_names_are_never_refused_while_it_goes_out(world: World) -> None:
    """Servers ignore what they do not know since the first chapter; its name releases it to the first step."""
    team = world.team
    held = team.wait(lambda md: "First let clients send the columns of both" in condition(md, "Ready")["message"])
    assert held["spec"]["server"]["extraColumns"] == "Ignore"
    with team.client.streaming(NAME, {"instances": [{**USED, **RENAMED}]}, rate=50) as stream:
        team.annotate("modeldeployment", NAME, "promote", f"{NAME}-3/named")
        rolling = team.wait(lambda md: (md["status"].get("candidate") or {}).get("step") == 0)
        assert rolling["status"]["candidate"]["weight"] == 20
        assert condition(rolling, "Progressing")["reason"] == "CanaryStep"
        assert rolling["status"]["stable"]["version"] == f"{NAME}-2"
        wait_for("an answer of each", lambda: {by for _, _, by, _ in list(stream.answers)} >= BOTH, 30)
        team.annotate("modeldeployment", NAME, "promote", f"{NAME}-3/all-at-once")
        team.serves(f"{NAME}-3")
        moment = time.monotonic()
        wait_for("more answers", lambda: len(stream.since(moment + 3)) > 50, 30)
    assert stream.failed() == [], "neither version refused a request"
    assert set(stream.since(moment + 3)) == {f"{NAME}-3"}
    wait_for("answers of version 3", lambda: team.ask(RENAMED) == (200, f"{NAME}-3"), 30)
    assert team.ask(USED)[0] == 400


def test_a_rejected_version_makes_way_within_seconds(world: World) -> None:
    team = world.team
    since = team.annotate("modelversion", f"{NAME}-3", "reject", team.version(3)["spec"]["digest"])
    assert team.seconds_until(USED, f"{NAME}-2", since) <= BACK_SECONDS
    back = team.serves(f"{NAME}-2")
    assert [v["version"] for v in back["status"]["rollbackVersions"]] == [f"{NAME}-1"]
    marked = wait_condition(team.kubectl, "modelversion", f"{NAME}-3", lambda mv: is_true(mv, "TakenBack"), 60)
    assert marked["status"]["takenBack"][NAME]["reason"] == "Rejected"
    wait_for("the record of the way back", lambda: world.records().get(f"{NAME}-3", {}).get("takenBack"), 120)
    assert world.records().keys() == {f"{NAME}-{number}" for number in (1, 2, 3)}


def test_an_object_made_by_hand_does_not_go_out(world: World) -> None:
    """Also with the label and the owner of the operator's own, and with an approval."""
    team, version = world.team, world.team.version(2)
    copied = {key: version["metadata"][key] for key in ("labels", "ownerReferences")}
    annotations = {**version["metadata"].get("annotations", {}), "tidemill.io/approve": version["spec"]["digest"]}
    meta = {"name": f"{NAME}-9", **copied, "annotations": annotations}
    made = {**{k: v for k, v in version.items() if k != "status"}, "metadata": meta}
    try:
        team.kubectl.apply({**made, "spec": {**version["spec"], "number": 9}})
    except KubectlError as error:  # where the administrator of the test cluster is not of system:masters
        assert "records are created by the operator" in str(error)
        return
    wait_condition(team.kubectl, "modelversion", f"{NAME}-9", lambda mv: is_true(mv, "Stalled"), 60)
    team.serves(f"{NAME}-2")
    team.kubectl.run("delete", "modelversion", f"{NAME}-9")


def test_the_next_version_goes_to_production_by_its_digest_and_back_by_its_number(world: World) -> None:
    production, second = world.production, world.team.version(2)
    broken = story.promotion("sha256:" + "0" * 64, "s3://models/staging") | {"metadata": {"name": "mistyped"}}
    production.kubectl.apply([story.promotion(second["spec"]["digest"], folder_of(second)), broken])
    imported(production, "from-staging", f"{NAME}-2")
    production.annotate("modelversion", f"{NAME}-2", "approve", second["spec"]["digest"])
    production.serves(f"{NAME}-2")
    assert production.scores() == world.team.scores()

    found = wait_condition(production.kubectl, "modelimport", "mistyped", lambda mi: is_true(mi, "Stalled"), 90)
    assert condition(found, "Stalled")["reason"] == "ImportFailed"
    assert found["status"]["failure"]["category"] == "DataInvalid"
    production.kubectl.run("delete", "modelimport", "mistyped", "--wait=true", timeout=30)
    assert production.ask(USED) == (200, f"{NAME}-2")

    since = production.patch("modeldeployment", {"model": {"number": 1}})
    assert production.seconds_until(USED, f"{NAME}-1", since) <= BACK_SECONDS
    back = production.serves(f"{NAME}-1")
    assert "failedVersions" not in back["status"]
    assert back["status"].get("rollbackVersions", []) == []


@pytest.fixture(scope="module")
def versions(world: World) -> dict[str, dict[str, Any]]:
    """The versions that staging has in the end, by name."""
    return {v["metadata"]["name"]: v for v in world.team.kubectl.list("modelversion")}


@pytest.fixture(scope="module")
def in_git(world: World, versions: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the team keeps in Git: no status, nothing that the API server adds, no records."""
    objects = world.team.exported("trainingpipelines,modeldeployments,modelmonitors")
    assert [o["metadata"]["name"] for o in objects] == [NAME, NAME]
    return [lake.secret("lake", LAKE), code(f"{NAME}-code", story.selecting(0.5, "tenure_months")), *objects]


def test_staging_removes_what_production_serves(world: World) -> None:
    team, first = world.team, world.team.version(1)
    assert world.keys(first["spec"]["uri"])
    team.patch("modeldeployment", {"rollout": {"rollbackWindow": {"versions": 0}}})
    team.patch("trainingpipeline", {"history": {"versions": 2}})
    world.age()
    wait_for("the end of version 1", lambda: team.kubectl.get("modelversion", f"{NAME}-1") is None, 60)
    team.annotate("trainingpipeline", NAME, "run-requested-at", "now")
    wait_for("the end of its files", lambda: not world.keys(first["spec"]["uri"]), 120)
    assert world.records().keys() == {f"{NAME}-2", f"{NAME}-3"}


def test_production_restarts_without_staging_and_answers_the_same(world: World, in_git: list[dict[str, Any]]) -> None:
    team, production = world.team, world.production
    before = production.scores()
    team.kubectl.run("delete", "trainingpipeline", NAME, "--wait=true", timeout=60)
    production.kubectl.run("delete", "secret", "staging-reader")
    assert team.ask(USED) == (200, f"{NAME}-2"), "what is served stays until its deployment is deleted"
    old = {p["metadata"]["uid"] for p in production.kubectl.list("pod", SERVERS)}
    production.kubectl.run("delete", "pod", "-l", SERVERS, "--wait=true", timeout=90)

    def renewed() -> bool:
        pods = production.kubectl.list("pod", SERVERS)
        return bool(pods) and not old & {p["metadata"]["uid"] for p in pods}

    wait_for("new server pods", renewed, 60)
    production.serves(f"{NAME}-1")
    production.serves("iris-notebook", "iris")
    assert production.scores() == before
    assert production.ask([5.1, 3.5, 1.4, 0.2], "iris") == (200, "iris-notebook")

    digest = (production.kubectl.get("modelversion", f"{NAME}-1") or {})["spec"]["digest"]
    production.kubectl.run("delete", "modelimport", "from-staging", "--wait=true", timeout=30)
    production.kubectl.apply([lake.secret("staging-reader", LAKE), story.promotion(digest, "s3://models/gone")])
    imported(production, "from-staging", f"{NAME}-1")
    assert production.ask(USED) == (200, f"{NAME}-1")
    read = (production.kubectl.get("modelimport", "from-staging") or {})["status"]["records"]["read"]
    assert (read.get("error"), read["refused"]) == (None, 0), "it has found its own records, and believes them"


def test_the_namespace_is_built_again_from_git_and_the_store(
    cluster: Kubectl, world: World, in_git: list[dict[str, Any]], versions: dict[str, dict[str, Any]]
) -> None:
    team, digest = world.team, versions[f"{NAME}-2"]["spec"]["digest"]
    make_namespace(cluster, TEAM)
    assert team.kubectl.list("modelversion") == []
    assert world.production.ask(USED) == (200, f"{NAME}-1")
    team.kubectl.apply(in_git)
    team.client.start()

    assert team.serves(f"{NAME}-2", timeout=240)["status"]["stable"]["digest"] == digest
    after = {v["metadata"]["name"]: v for v in team.kubectl.list("modelversion")}
    assert after.keys() == versions.keys() == {f"{NAME}-2", f"{NAME}-3"}
    for name, version in after.items():
        assert version["spec"] == versions[name]["spec"]
        assert version["status"].get("decision") == versions[name]["status"].get("decision")
        assert version["status"]["registered"]["restored"]
    assert is_true(after[f"{NAME}-3"], "TakenBack")
    status = (team.kubectl.get("trainingpipeline", NAME) or {})["status"]
    assert status["records"]["read"]["restored"] == 2

    wait_condition(team.kubectl, "trainingpipeline", NAME, lambda tp: bool(tp["status"].get("lastRun")), 180)
    assert sorted(v["metadata"]["name"] for v in team.kubectl.list("modelversion")) == [f"{NAME}-2", f"{NAME}-3"]
    assert team.serves(f"{NAME}-2")["status"]["stable"]["digest"] == digest, "the same content again"


def test_a_version_that_production_takes_back_is_recorded_although_there_is_no_pipeline(
    world: World, versions: dict[str, dict[str, Any]]
) -> None:
    """Its namespace then goes while the next chapter is told: Git still names the version that was taken back."""
    production, digest = world.production, versions[f"{NAME}-2"]["spec"]["digest"]
    assert production.kubectl.list("trainingpipeline") == []
    production.kubectl.apply(story.promotion(digest, "s3://models/gone"))
    imported(production, "from-staging", f"{NAME}-2")
    by_hand = {"strategy": "Canary", "steps": [{"weight": 20}]}
    production.patch("modeldeployment", {"model": {"number": None}, "rollout": by_hand})
    production.wait(lambda md: (md["status"].get("candidate") or {}).get("weight") == 20)
    production.annotate("modeldeployment", NAME, "abort", "wrong-for-our-clients")
    assert is_true(production.serves(f"{NAME}-1"), "RolledBack")

    def recorded() -> bool:
        found = world.records("production")
        return bool(found.get(f"{NAME}-2", {}).get("takenBack")) and "decision" in found.get(f"{NAME}-1", {})

    wait_for("the record of it", recorded, 120)
    of_import = production.kubectl.get("modelimport", "from-staging") or {}
    assert not condition(of_import, "VersionsRecorded"), "records could be read and written"
    production.kubectl.run("delete", "namespace", PRODUCTION, "--wait=false")


def test_a_quota_is_named_on_pipeline_and_deployment_and_both_go_on_without_it(world: World) -> None:
    team, kubectl = world.team, world.team.kubectl
    team.patch("modeldeployment", {"rollout": {"progressDeadlineSeconds": 10}})
    kubectl.run("create", "quota", "team", "--hard=pods=0")
    runs = {run["metadata"]["name"] for run in kubectl.list("trainingrun")}
    with team.client.streaming(NAME, {"instances": [USED]}, rate=50) as stream:
        world.put(story.subscribers())
        kubectl.apply(code(f"{NAME}-code", story.selecting(0.25)))
        wait_event(kubectl, "FailedCreate", QUOTA)
        since = time.monotonic()
        wait_condition(
            kubectl, "trainingpipeline", NAME, lambda tp: named(tp, "RunCannotStart", QUOTA), NAMED_SECONDS + 5
        )
        assert time.monotonic() - since <= NAMED_SECONDS
        (run,) = [r for r in kubectl.list("trainingrun") if r["metadata"]["name"] not in runs]
        assert condition(run, "Succeeded")["reason"] == "CannotStart"
        assert QUOTA in condition(run, "Succeeded")["message"]

        # The run's pod gets in, the candidate's does not.
        kubectl.run("delete", "quota", "team")
        job = f"batch.kubernetes.io/job-name={run['metadata']['name']}"
        wait_for("the pod of the run", lambda: kubectl.list("pod", job), 90)
        kubectl.run("create", "quota", "team", "--hard=pods=0")
        found = team.wait(lambda md: named(md, "PodsRefused", QUOTA), 180)
        assert found["status"]["candidate"]["refusedSince"]
        assert is_true(found, "Available")
        stalled = team.wait(lambda md: is_true(md, "Stalled") and named(md, "PodsRefused", QUOTA), 30)
        assert named(stalled, "PodsRefused", f"{NAME}-2 keeps serving")
        assert not stalled["status"].get("failedVersions")

        team.patch("modeldeployment", {"rollout": {"progressDeadlineSeconds": 120}})
        kubectl.run("delete", "quota", "team")
        team.serves(f"{NAME}-4")
    assert stream.failed() == []
    assert "takenBack" not in team.version(4)["status"]


def test_production_is_built_again_and_what_it_took_back_stays_taken_back(
    cluster: Kubectl, world: World, versions: dict[str, dict[str, Any]]
) -> None:
    production, digest = world.production, versions[f"{NAME}-2"]["spec"]["digest"]
    make_namespace(cluster, PRODUCTION)
    assert production.kubectl.list("modelversion") == []
    in_git = [story.promotion(digest, "s3://models/gone"), deployment(NAME)]
    production.kubectl.apply([*story.production_secrets(), *in_git])
    production.client.start()

    found = imported(production, "from-staging", f"{NAME}-2")
    assert found["status"]["records"]["read"]["restored"] == 2
    production.serves(f"{NAME}-1", timeout=240)
    assert production.ask(USED) == (200, f"{NAME}-1")
    after = {v["metadata"]["name"]: v for v in production.kubectl.list("modelversion")}
    assert after.keys() == {f"{NAME}-1", f"{NAME}-2"}, (
        "what Git names is the version that was taken back, and no new one"
    )
    assert all(v["status"]["registered"]["restored"] for v in after.values())
    assert all(condition(v, "Approved")["reason"] == "ApprovedByHand" for v in after.values())
    assert after[f"{NAME}-2"]["spec"]["digest"] == digest
    assert after[f"{NAME}-2"]["status"]["takenBack"][NAME]["reason"] == "Aborted"
    assert not after[f"{NAME}-1"]["status"].get("takenBack")
