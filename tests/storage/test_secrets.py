"""Keys on disk, and passwords that are nowhere else."""

import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import MetaData, select

from provisioner.domain.bmc import Bmc
from provisioner.domain.errors import Refused
from provisioner.domain.records import Credential
from provisioner.storage.feed import ChangeFeed
from provisioner.storage.secrets import Keyring
from provisioner.storage.store import SqlStore
from tests.domain.samples import machine

PASSWORD = "correct-horse-battery-staple"


def test_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first, second = Keyring.open(folder), Keyring.open(folder)
    assert second.decrypt(first.encrypt(PASSWORD)) == PASSWORD
    assert first.token_key == second.token_key
    assert len(first.token_key) == 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "credentials.keys": 0o600,
        "tokens.key": 0o600,
    }


def test_processes_that_start_at_once_end_up_with_the_same_key(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from provisioner.storage.secrets import Keyring;"
        "print(Keyring.open(Path(sys.argv[1])).token_key.hex())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "keys")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    keys = {process.communicate(timeout=30)[0] for process in processes}
    assert len(keys) == 1
    assert all(process.returncode == 0 for process in processes)


def test_a_new_key_above_the_old_one_still_opens_what_the_old_one_closed(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    token = Keyring.open(folder).encrypt(PASSWORD)
    keys = folder / "credentials.keys"
    old = keys.read_bytes()
    keys.write_bytes(Fernet.generate_key() + b"\n" + old)
    rotated = Keyring.open(folder)
    assert rotated.decrypt(token) == PASSWORD
    keys.write_bytes(old)
    with pytest.raises(Refused, match="encrypted with a key that is not here"):
        Keyring.open(folder).decrypt(rotated.encrypt(PASSWORD))


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    Keyring.open(folder)
    (folder / "tokens.key").chmod(0o640)
    with pytest.raises(Refused, match=r"tokens.key can be read by other users; `chmod go= "):
        Keyring.open(folder)


@pytest.mark.parametrize("name", ["credentials.keys", "tokens.key"])
def test_a_damaged_key_is_never_replaced(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "keys"
    Keyring.open(folder)
    (folder / name).write_bytes(b"short")
    with pytest.raises(Refused, match=rf"{name} is damaged; restore it from a backup"):
        Keyring.open(folder)
    assert (folder / name).read_bytes() == b"short"


@pytest.mark.rule("threat-04")
def test_a_bmc_password_is_in_no_row_file_or_printed_word(
    store: SqlStore, keyring: Keyring, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    credential = Credential(uuid4(), "rack", "ADMIN", PASSWORD)
    bmc = Bmc(uuid4(), "10.9.0.1", credential_id=credential.id)
    feed = ChangeFeed(store, snapshot_file=tmp_path / "snapshot.json")
    feed.start()
    with store.transaction("cli:test") as tx:
        tx.credentials.put(credential)
        tx.bmcs.put(bmc)
        tx.machines.put(machine(bmc_id=bmc.id))
        tx.credentials.put(Credential(credential.id, "rack", "root", PASSWORD))
        assert tx.credentials.get("rack").password == PASSWORD
        assert PASSWORD not in repr(tx.credentials.list())
    feed.stop()
    metadata = MetaData()
    metadata.reflect(store.engine)
    with store.engine.connect() as connection:
        rows = [row for table in metadata.tables.values() for row in connection.execute(select(table))]
    assert any("ADMIN" in str(row) for row in rows)
    assert PASSWORD not in str(rows)
    store.engine.dispose()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert tmp_path / "snapshot.json" in files
    for path in files:
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert PASSWORD not in "".join(capfd.readouterr())
    assert keyring.token_key.hex() not in repr(keyring)
