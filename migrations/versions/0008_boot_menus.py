"""Boot menus of subnets and slots, and the in-memory system that a machine is asked to boot once."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, name in (("slots", "menu"), ("machines", "live"), ("subnets", "menu"), ("subnets", "menu_password")):
        op.add_column(table, sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("subnets", sa.Column("menu_seconds", sa.Integer(), server_default="10", nullable=False))


def downgrade() -> None:
    for table, name in (("subnets", "menu_seconds"), ("subnets", "menu_password"), ("subnets", "menu")):
        op.drop_column(table, name)
    op.drop_column("machines", "live")
    op.drop_column("slots", "menu")
