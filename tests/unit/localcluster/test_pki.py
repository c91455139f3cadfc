"""Certificates of the local cluster: who they say that they are, where they are valid, and that they are kept."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import NameOID
from hack.localcluster.local.pki import Pki


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    found.authority("ca")
    return found


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> list[str | bytes]:
    return [attribute.value for attribute in certificate.subject.get_attributes_for_oid(kind)]


def test_a_client_is_its_user_in_its_group_alone(pki: Pki) -> None:
    admin = read(pki.issue("admin", common_name="kubernetes-admin", group="system:masters")[0])
    assert names(admin, NameOID.COMMON_NAME) == ["kubernetes-admin"]
    assert names(admin, NameOID.ORGANIZATION_NAME) == ["system:masters"]
    scheduler = read(pki.issue("scheduler", common_name="system:kube-scheduler")[0])
    assert not any(str(group).startswith("system:") for group in names(scheduler, NameOID.ORGANIZATION_NAME))


def test_a_server_is_valid_for_its_hosts_and_signed_by_its_authority(pki: Pki) -> None:
    certificate, key = pki.issue("apiserver", common_name="kube-apiserver", hosts=["kubernetes.default", "127.0.0.1"])
    found = read(certificate)
    found.verify_directly_issued_by(read(pki.authority("ca")))
    hosts = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["kubernetes.default"]
    assert [str(address) for address in hosts.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert load_pem_private_key(key.read_bytes(), None).public_key() == found.public_key()


def test_each_authority_signs_for_itself(pki: Pki) -> None:
    pki.authority("etcd-ca")
    etcd = read(pki.issue("etcd", common_name="etcd", hosts=["localhost"], authority="etcd-ca")[0])
    with pytest.raises(ValueError, match="does not match"):
        etcd.verify_directly_issued_by(read(pki.authority("ca")))


def test_what_is_there_is_kept_and_keys_are_read_by_their_owner_only(pki: Pki) -> None:
    def everything() -> dict[str, bytes]:
        pki.authority("ca")
        pki.issue("admin", common_name="kubernetes-admin")
        pki.key_pair("service-account")
        return {path.name: path.read_bytes() for path in pki.folder.iterdir()}

    first = everything()
    assert everything() == first
    assert set(first) == {"ca.crt", "ca.key", "admin.crt", "admin.key", "service-account.pub", "service-account.key"}
    assert {path.stat().st_mode & 0o077 for path in [pki.folder, *pki.folder.glob("*.key")]} == {0}


def test_the_public_half_of_a_key_pair_belongs_to_the_private_one(pki: Pki) -> None:
    public, private = (path.read_bytes() for path in pki.key_pair("service-account"))
    assert load_pem_private_key(private, None).public_key() == load_pem_public_key(public)
