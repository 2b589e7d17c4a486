"""DHCP options and the switch port of a place; machines that wait for an operator's approval."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slots", sa.Column("options", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("slots", sa.Column("switch_port", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("machines", sa.Column("approved", sa.Boolean(), nullable=False, server_default=sa.true()))
