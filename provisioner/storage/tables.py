"""The tables. Ids are immutable UUIDs, names can change, times are UTC microseconds.

``slots`` carry intent, ``machines`` are hardware; the domain's Machine joins both with its interfaces, its
addresses and its latest install. ``changes`` is what the change feed reads: one row for each thing that a
transaction changed, in the order of commits. A change of this file needs a migration (a test compares them).
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    Uuid,
    false,
    text,
    true,
)

from provisioner.storage.columns import (
    AddressColumn,
    FilesColumn,
    MacColumn,
    PrefixColumn,
    Serial,
    Time,
    Words,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("login", Words, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # a Fernet token, never the password
    Column("prefix", PrefixColumn),  # a candidate for all BMCs in it
    Column("position", Integer, nullable=False, server_default="0"),
)

bmcs = Table(
    "bmcs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("address", Words, nullable=False),
    Column("port", Integer, nullable=False),
    Column("protocol", Words, nullable=False),
    Column("credential_id", Uuid, ForeignKey("credentials.id")),
    Column("chassis", Words, nullable=False),
    Column("certificate", Words, nullable=False),
    Column("version", Integer, nullable=False),
    UniqueConstraint("address", "port"),
)

login_tries = Table(
    "login_tries",
    metadata,
    Column("bmc_id", Uuid, ForeignKey("bmcs.id", ondelete="CASCADE"), primary_key=True),
    Column("credential_id", Uuid, ForeignKey("credentials.id", ondelete="CASCADE"), primary_key=True),
    Column("outcome", Words, nullable=False),
    Column("at", Time, nullable=False),
)

clusters = Table(
    "clusters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("endpoint", Words, nullable=False),
    Column("pki", LargeBinary),  # encrypted like a credential's secret
    Column("version", Integer, nullable=False),
)

slots = Table(
    "slots",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("rack", Words, nullable=False),
    Column("chassis", Words, nullable=False),
    Column("unit", Integer),
    Column("blade", Integer),
    Column("role", Words, nullable=False),
    Column("params", JSON, nullable=False),
    Column("cluster", Words, nullable=False),
    Column("implicit", Boolean, nullable=False),
    Column("armed_itself", Boolean, nullable=False, server_default=false()),
    Column("options", JSON, nullable=False, server_default="{}"),
    Column("switch_port", Words, nullable=False, server_default=text("''")),
    Column("menu", Words, nullable=False, server_default=text("''")),
    Column("version", Integer, nullable=False),
)

machines = Table(
    "machines",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slot_id", Uuid, ForeignKey("slots.id"), nullable=False, unique=True),
    Column("state", Words, nullable=False),
    Column("state_reason", Words, nullable=False),
    Column("state_at", Time, nullable=False),
    Column("vendor", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("serial", Words, nullable=False),
    Column("uuid", Uuid),
    Column("firmware", Words, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("bmc_id", Uuid, ForeignKey("bmcs.id"), index=True),
    Column("approved", Boolean, nullable=False, server_default=true()),
    Column("live", Words, nullable=False, server_default=text("''")),
    Column("install_id", Uuid),  # the latest install; no foreign key, installs already point here
    Column("version", Integer, nullable=False),
)

interfaces = Table(
    "interfaces",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("machine_id", Uuid, ForeignKey("machines.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("mac", MacColumn, nullable=False, unique=True),
    Column("boot", Boolean, nullable=False),
    Column("switch_port", Words, nullable=False),
    Column("source", Words, nullable=False),
)

addresses = Table(
    "addresses",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("slot_id", Uuid, ForeignKey("slots.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("ip", AddressColumn, nullable=False, unique=True),
    Column("mac", MacColumn),
)

installs = Table(
    "installs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("machine_id", Uuid, ForeignKey("machines.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Words, nullable=False),
    Column("revision", Words, nullable=False),
    Column("token_hash", Words, nullable=False),
    Column("machine_token_hash", Words, nullable=False),
    Column("armed_at", Time, nullable=False),
    Column("deadline", Time, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("boots", Integer, nullable=False),
    Column("attempt_boot", Integer, nullable=False),
    Column("phase", Words),
    Column("percent", Integer),
    Column("phase_at", Time),
    Column("outcome", Words, nullable=False),
    Column("reason", Words, nullable=False),
    Column("on_failure", Words, nullable=False),
    Column("wipe", Boolean, nullable=False),
    Column("power_cycles", Integer, nullable=False, server_default="0"),
)

install_files = Table(
    "install_files",
    metadata,
    Column("install_id", Uuid, ForeignKey("installs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Words, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("install_id", Uuid, ForeignKey("installs.id", ondelete="CASCADE"), primary_key=True),
    Column("phase", Words, primary_key=True),
    Column("first_at", Time, nullable=False),
    Column("last_at", Time, nullable=False),
    Column("percent", Integer),
    Column("message", Words, nullable=False),
)

subnets = Table(
    "subnets",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("prefix", PrefixColumn, nullable=False, unique=True),
    Column("gateway", AddressColumn),
    Column("dns", JSON, nullable=False),
    Column("ntp", JSON, nullable=False),
    Column("domain", Words, nullable=False),
    Column("vlan", Integer),
    Column("pools", JSON, nullable=False),
    Column("unknown", Words, nullable=False),
    Column("arm", Words, nullable=False),
    Column("lease_seconds", Integer, nullable=False),
    Column("options", JSON, nullable=False),
    Column("menu", Words, nullable=False, server_default=text("''")),
    Column("menu_seconds", Integer, nullable=False, server_default="10"),
    Column("menu_password", Words, nullable=False, server_default=text("''")),
    Column("version", Integer, nullable=False),
)

role_revisions = Table(
    "role_revisions",
    metadata,
    Column("role", Words, primary_key=True),
    Column("revision", Words, primary_key=True),
    Column("files", FilesColumn, nullable=False),
    Column("created_at", Time, nullable=False),
)

role_activations = Table(
    "role_activations",
    metadata,
    Column("role", Words, primary_key=True),
    Column("revision", Words, nullable=False),
    Column("at", Time, nullable=False),
    Column("actor", Words, nullable=False),
)

sightings = Table(
    "sightings",
    metadata,
    Column("mac", MacColumn, primary_key=True),
    Column("source", Words, primary_key=True),
    Column("first_at", Time, nullable=False),
    Column("last_at", Time, nullable=False, index=True),
    Column("count", Integer, nullable=False),
    Column("detail", Words, nullable=False),
)

vendor_rows = Table(
    "vendor_rows",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Words, nullable=False),
    Column("macs", JSON, nullable=False),
    Column("bmc", Words, nullable=False),
)

contradictions = Table(
    "contradictions",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("machine_id", Uuid, ForeignKey("machines.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Words, nullable=False),
    Column("machines", JSON, nullable=False),
    Column("listed", Words, nullable=False),
    Column("found", Words, nullable=False),
    Column("fix", Words, nullable=False),
    sqlite_autoincrement=True,
)

# No foreign key to machines: the story of a machine outlives it.
events = Table(
    "events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("kind", Words, nullable=False),
    Column("message", Words, nullable=False),
    Column("at", Time, nullable=False),
    Column("machine_id", Uuid),
    Column("mac", MacColumn),
    Column("phase", Words),
    Column("actor", Words, nullable=False),
    Column("data", JSON, nullable=False),
    Index(None, "machine_id", "id"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Words, nullable=False),
    Column("args", JSON, nullable=False),
    Column("actor", Words, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("state", Words, nullable=False, index=True),
    Column("lease_until", Time, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("result", JSON, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("password_hash", Words, nullable=False),
    Column("created_at", Time, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Words, nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("token_hash", Words, nullable=False, unique=True),
    Column("kind", Words, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("used_at", Time),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Time, nullable=False),
    Column("actor", Words, nullable=False),
    Column("action", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("ref", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("fields", JSON, nullable=False),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("kind", Words, nullable=False),
    Column("ref", Uuid),
    sqlite_autoincrement=True,
)
