"""How often the watchdog may still switch the power of a machine that hangs before its installer runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("installs") as table:
        table.add_column(sa.Column("power_cycles", sa.Integer(), nullable=False, server_default="0"))
