"""Versions of workflows, what a job is besides its work, credits, webhooks, pins."""

import sqlalchemy as sa
from alembic import op

from darkroom.store.ids import new_id

revision = "20261122_work"
down_revision = "20261121_foundation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the new tables and columns; each workflow's document becomes its first version."""
    _create_versions()
    _widen_jobs_and_images()
    _create_ledger()
    _create_webhooks()


def _create_versions() -> None:
    op.create_table(
        "workflow_versions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("workflow", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("author", sa.String(200), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workflow_versions"),
        sa.UniqueConstraint("workflow", "number", name="uq_workflow_versions_workflow_number"),
    )
    op.create_index("ix_workflow_versions_owner", "workflow_versions", ["owner"])
    op.add_column("workflows", sa.Column("version", sa.String(40), server_default="", nullable=False))
    op.add_column("workflows", sa.Column("published", sa.Boolean(), server_default=sa.true(), nullable=False))
    names = ("id", "owner", "document", "updated_at", "version")
    old = sa.table("workflows", *(sa.column(name, sa.JSON() if name == "document" else None) for name in names))
    new = sa.table("workflow_versions", *(sa.column(name) for name in ("id", "owner", "workflow", "number")))
    new.append_column(sa.column("document", sa.JSON()))
    new.append_column(sa.column("created_at"))
    connection = op.get_bind()
    for row in connection.execute(sa.select(old)).all():
        version = new_id("wfv")
        told = {"owner": row.owner, "workflow": row.id, "number": 1, "document": row.document}
        connection.execute(new.insert().values(id=version, created_at=row.updated_at, **told))
        connection.execute(old.update().where(old.c.id == row.id).values(version=version))
    with op.batch_alter_table("workflows") as table:
        table.alter_column("version", server_default=None)
        table.drop_column("document")


def _widen_jobs_and_images() -> None:
    for column in (
        sa.Column("workflow", sa.String(40)),
        sa.Column("version", sa.String(40)),
        sa.Column("organisation", sa.String(64), server_default="", nullable=False),
        sa.Column("labels", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("deadline_at", sa.Float()),
        sa.Column("credits", sa.Integer()),
        sa.Column("webhooks", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("liked", sa.Boolean()),
        sa.Column("feedback", sa.JSON()),
        sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False),
    ):
        op.add_column("jobs", column)
    op.create_index("ix_jobs_owner_created", "jobs", ["owner", "created_at"])
    op.add_column("images", sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False))


def _create_ledger() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.String(160), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("bucket", sa.String(20), nullable=False),
        sa.Column("balance", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_accounts"),
        sa.CheckConstraint("owner IS NULL OR balance >= 0", name="ck_ledger_accounts_not_negative"),
    )
    op.create_index("ix_ledger_accounts_owner", "ledger_accounts", ["owner"])
    op.create_table(
        "transfers",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(200), nullable=False),
        sa.Column("debit", sa.String(160), nullable=False),
        sa.Column("credit", sa.String(160), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("job", sa.String(40)),
        sa.Column("note", sa.String(200), server_default="", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_transfers"),
        sa.UniqueConstraint("id", name="uq_transfers_id"),
        sa.CheckConstraint("amount > 0", name="ck_transfers_positive"),
    )
    for column in ("job", "debit", "credit"):
        op.create_index(f"ix_transfers_{column}", "transfers", [column])


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("organisation", sa.String(64), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("secret", sa.String(100), nullable=False),
        sa.Column("old_secret", sa.String(100)),
        sa.Column("old_until", sa.Float()),
        sa.Column("disabled", sa.String(200)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.UniqueConstraint("organisation", "url", name="uq_webhooks_organisation_url"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("organisation", sa.String(64), nullable=False),
        sa.Column("webhook", sa.String(40)),
        sa.Column("job", sa.String(40), nullable=False),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("secret", sa.String(100)),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.Column("status", sa.Integer()),
        sa.Column("problem", sa.String(200)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("job", "url", name="uq_webhook_deliveries_job_url"),
    )
    op.create_index("ix_webhook_deliveries_due", "webhook_deliveries", ["state", "due_at"])


def downgrade() -> None:
    """Drop what is new; a workflow keeps its newest version."""
    op.add_column("workflows", sa.Column("document", sa.JSON()))
    op.execute(
        "UPDATE workflows SET document = (SELECT v.document FROM workflow_versions v WHERE v.id = workflows.version)"
    )
    with op.batch_alter_table("workflows") as table:
        table.alter_column("document", nullable=False)
        table.drop_column("version")
        table.drop_column("published")
    op.drop_index("ix_jobs_owner_created", "jobs")
    with op.batch_alter_table("jobs") as table:
        for name in ("workflow", "version", "organisation", "labels", "deadline_at", "credits", "webhooks"):
            table.drop_column(name)
        for name in ("liked", "feedback", "pinned"):
            table.drop_column(name)
    with op.batch_alter_table("images") as table:
        table.drop_column("pinned")
    for name in ("webhook_deliveries", "webhooks", "transfers", "ledger_accounts", "workflow_versions"):
        op.drop_table(name)
