"""Whether what sits in a slot was armed by being switched on: once per slot."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("slots", sa.Column("armed_itself", sa.Boolean(), server_default=sa.false(), nullable=False))
