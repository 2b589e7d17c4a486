"""Logins for whole networks, how they ended at each BMC, and what contradicts the vendor's list."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credentials", sa.Column("prefix", sa.String(length=49), nullable=True))
    op.add_column("credentials", sa.Column("position", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "login_tries",
        sa.Column("bmc_id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bmc_id"], ["bmcs.id"], name=op.f("fk_login_tries_bmc_id_bmcs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_login_tries_credential_id_credentials"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("bmc_id", "credential_id", name=op.f("pk_login_tries")),
    )
    op.create_table(
        "vendor_rows",
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("macs", sa.JSON(), nullable=False),
        sa.Column("bmc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_vendor_rows")),
    )
    op.create_table(
        "contradictions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("machine_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("machines", sa.JSON(), nullable=False),
        sa.Column("listed", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("fix", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["machines.id"], name=op.f("fk_contradictions_machine_id_machines"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contradictions")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("contradictions") as batch:
        batch.create_index(op.f("ix_contradictions_machine_id"), ["machine_id"], unique=False)


def downgrade() -> None:
    op.drop_table("contradictions")
    op.drop_table("vendor_rows")
    op.drop_table("login_tries")
    with op.batch_alter_table("credentials") as batch:
        batch.drop_column("position")
        batch.drop_column("prefix")
