"""The certificate authorities of a cluster, derived from the appliance's key and the cluster's id.

Nothing is stored: the same key gives the same authorities again, byte for byte, after a restore of the database as
well as on a second appliance. Keys are written into what a control plane is served, at the moment it is served, and
into nothing else; a worker gets certificates only.
"""

import datetime
import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provisioner.domain.tokens import JOINING, cluster_key_placeholder, joining_secret

_SUBJECTS = {"ca": "kubernetes-ca", "front-proxy-ca": "kubernetes-front-proxy-ca", "etcd-ca": "etcd-ca"}
"""kubeadm's names for what it would make itself (kubeadm-certs, "PKI certificates and requirements")."""
_SERVICE_ACCOUNT = "sa"
KEYS = (*_SUBJECTS, _SERVICE_ACCOUNT)
_FROM = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2054, 1, 1, tzinfo=datetime.UTC)
"""Fixed, so that a certificate is the same whenever it is derived; machines' clocks are set before they use it."""
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256 (FIPS 186-4, D.1.2.3)."""


def secret(key: bytes, cluster: UUID, name: str) -> str:
    """What the placeholder ``name`` stands for, on one line: a key (one of KEYS; PEM as in SEC 1, base64), or the
    secret by which control planes ask who joins. Raises KeyError for another name."""
    if name == JOINING:
        return joining_secret(key, cluster)
    if name not in KEYS:
        raise KeyError(name)
    pem = _key(key, cluster, name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return b64encode(pem).decode()


@lru_cache(maxsize=256)
def public(key: bytes, cluster: UUID) -> Mapping[str, str]:
    """What templates see as ``cluster.pki``: PEM as base64 on one line; of keys, the placeholders."""
    shown = {f"{_variable(name)}_crt": b64encode(_certificate(key, cluster, name)).decode() for name in _SUBJECTS}
    verifier = _key(key, cluster, _SERVICE_ACCOUNT).public_key()
    pem = verifier.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    shown["sa_pub"] = b64encode(pem).decode()
    return shown


def placeholders(cluster: UUID) -> Mapping[str, str]:
    """``cluster.pki.ca_key`` and the others: replaced by ``secret`` when a file is served."""
    return {f"{_variable(name)}_key": cluster_key_placeholder(name, cluster) for name in KEYS}


def _variable(name: str) -> str:
    return name.replace("-", "_")


def _key(key: bytes, cluster: UUID, name: str) -> ec.EllipticCurvePrivateKey:
    seed = hmac.digest(key, b"cluster/" + name.encode() + b"/" + cluster.bytes, hashlib.sha512)
    return ec.derive_private_key(int.from_bytes(seed) % (_ORDER - 1) + 1, ec.SECP256R1())


def _certificate(key: bytes, cluster: UUID, name: str) -> bytes:
    signer = _key(key, cluster, name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _SUBJECTS[name])])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(signer.public_key())
        # 159 bits: a serial number is positive and has at most 20 octets (RFC 5280, 4.1.2.2).
        .serial_number(int.from_bytes(identifier.digest) >> 1 or 1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
    )
    return built.public_bytes(serialization.Encoding.PEM)
