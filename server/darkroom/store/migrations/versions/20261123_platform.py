"""Users, teams, sessions, keys, settings and projects; images that only passed through."""

import time

import sqlalchemy as sa
from alembic import op

revision = "20261123_platform"
down_revision = "20261122_work"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the new tables and columns, and the default team, whose account is the one that was there before."""
    _create_people()
    _create_credentials()
    op.create_table(
        "settings",
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.String(500), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
    )
    op.create_index("ix_projects_owner_created", "projects", ["owner", "created_at"])
    op.add_column("images", sa.Column("project", sa.String(40)))
    op.add_column("images", sa.Column("listed", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("jobs", sa.Column("retry_of", sa.String(40)))
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"])


def _create_people() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("name_key", sa.String(50), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
        sa.UniqueConstraint("name_key", name="uq_teams_name_key"),
    )
    now = time.time()
    first = {"id": "local", "name": "Default", "name_key": "default", "created_at": now, "updated_at": now}
    op.bulk_insert(teams, [first])
    op.create_table(
        "users",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("username", sa.String(50), nullable=False),
        sa.Column("username_key", sa.String(50), nullable=False),
        sa.Column("password", sa.String(200), server_default="", nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("external", sa.String(400)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("username_key", name="uq_users_username_key"),
        sa.UniqueConstraint("external", name="uq_users_external"),
    )
    op.create_index("ix_users_team", "users", ["team"])


def _create_credentials() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("client", sa.String(100), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("token_sha256", name="uq_sessions_token_sha256"),
    )
    op.create_index("ix_sessions_user", "sessions", ["user"])
    op.create_table(
        "device_grants",
        sa.Column("device_sha256", sa.String(64), nullable=False),
        sa.Column("user_code", sa.String(20), nullable=False),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("user", sa.String(64)),
        sa.Column("denied", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("polled_at", sa.Float()),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("device_sha256", name="pk_device_grants"),
        sa.UniqueConstraint("user_code", name="uq_device_grants_user_code"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("prefix", sa.String(20), nullable=False),
        sa.Column("scopes", sa.JSON()),
        sa.Column("expires_at", sa.Float()),
        sa.Column("last_used_at", sa.Float()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("key_sha256", name="uq_api_keys_key_sha256"),
    )
    op.create_index("ix_api_keys_user", "api_keys", ["user"])


def downgrade() -> None:
    """Take them away again, with everybody's accounts."""
    op.drop_index("ix_jobs_retry_of", "jobs")
    op.drop_column("jobs", "retry_of")
    for column in ("listed", "project"):
        op.drop_column("images", column)
    for table in ("api_keys", "device_grants", "sessions", "users", "teams", "projects", "settings"):
        op.drop_table(table)
