"""What `down` takes away, and above all what it leaves."""

from hack.localcluster.local.host import removal_script

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-OTHER - [0:0]
:CNI-abc - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.244.0.3/32 -m comment --comment "name: \\"tidemill\\" id: \\"1\\"" -j CNI-abc
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-OTHER
-A CNI-abc ! -d 224.0.0.0/4 -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
COMMIT
"""


def test_rules_that_jump_to_our_chains_go_and_others_stay() -> None:
    lines = removal_script(SAVED, {}).splitlines()
    assert lines[0] == "*nat"
    assert [line for line in lines if line.startswith("-D")] == [
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-D POSTROUTING -s 10.244.0.3/32 -m comment --comment "name: \\"tidemill\\" id: \\"1\\"" -j CNI-abc',
    ]
    assert not any("DOCKER" in line for line in lines)


def test_a_table_without_our_chains_is_not_touched() -> None:
    assert "*filter" not in removal_script(SAVED, {})


def test_chains_are_emptied_before_any_is_deleted() -> None:
    lines = removal_script(SAVED, {}).splitlines()
    flushed = [i for i, line in enumerate(lines) if line.startswith("-F ")]
    deleted = [i for i, line in enumerate(lines) if line.startswith("-X ")]
    assert len(flushed) == len(deleted) == 3
    assert max(flushed) < min(deleted)


def test_chains_that_were_there_before_stay_with_their_rules() -> None:
    lines = removal_script(SAVED, {"nat": ["CNI-abc"]}).splitlines()
    assert not any("CNI-abc" in line for line in lines)
    assert "-X KUBE-SERVICES" in lines


def test_nothing_of_ours_gives_an_empty_script() -> None:
    kept = {"nat": ["CNI-abc", "KUBE-SERVICES", "KUBE-OTHER"]}
    assert removal_script(SAVED, kept) == ""
    assert removal_script("", {}) == ""


def test_the_chain_that_keeps_service_addresses_inside_goes_too() -> None:
    saved = """\
*filter
:FORWARD ACCEPT [0:0]
:TIDEMILL-SERVICES - [0:0]
-A FORWARD -d 10.96.0.0/16 -j TIDEMILL-SERVICES
-A TIDEMILL-SERVICES -d 10.96.0.0/16 -j REJECT --reject-with icmp-port-unreachable
COMMIT
"""
    lines = ["*filter", "-D FORWARD -d 10.96.0.0/16 -j TIDEMILL-SERVICES", "-F TIDEMILL-SERVICES"]
    assert removal_script(saved, {}).splitlines() == [*lines, "-X TIDEMILL-SERVICES", "COMMIT"]
