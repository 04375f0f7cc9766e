"""The foundation: images, jobs, results, workflows, uploads, quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "20261121_foundation"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    _create_images()
    _create_jobs()
    _create_job_details()
    _create_workflows()
    _create_uploads_and_quarantine()


def _create_images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("media_type", sa.String(80), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("frames", sa.Integer(), server_default="1", nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("parent", sa.String(40)),
        sa.Column("root", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("tool", sa.String(80)),
        sa.Column("steps", sa.JSON(), server_default="[]", nullable=False),
        sa.Column("facts", sa.JSON(), server_default="{}", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_index("ix_images_owner_created", "images", ["owner", "created_at"])
    op.create_index("ix_images_owner_sha256", "images", ["owner", "sha256"])
    op.create_index("ix_images_sha256", "images", ["sha256"])
    op.create_index("ix_images_root", "images", ["root"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(80), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("turn", sa.Float(), server_default="0", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.String(64)),
        sa.Column("lease_until", sa.Float()),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("message", sa.String(200), server_default="", nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("idempotency_key", sa.String(200)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("item_count", sa.Integer(), server_default="1", nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float()),
        sa.Column("finished_at", sa.Float()),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_jobs_owner_idempotency_key"),
    )
    op.create_index("ix_jobs_claim", "jobs", ["state", "priority", "turn", "seq"])
    op.create_index("ix_jobs_owner_state", "jobs", ["owner", "state", "turn"])


def _create_job_details() -> None:
    op.create_table(
        "job_items",
        sa.Column("job", sa.String(40), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.PrimaryKeyConstraint("job", "item", name="pk_job_items"),
    )
    op.create_table(
        "job_blobs",
        sa.Column("job", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("job", "sha256", name="pk_job_blobs"),
    )
    op.create_index("ix_job_blobs_sha256", "job_blobs", ["sha256"])
    op.create_table(
        "results",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "digest", name="pk_results"),
    )


def _create_workflows() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("tool", sa.String(80), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workflows"),
        sa.UniqueConstraint("owner", "name", name="uq_workflows_owner_name"),
        sa.UniqueConstraint("owner", "tool", name="uq_workflows_owner_tool"),
    )


def _create_uploads_and_quarantine() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("image", sa.String(40)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("token_sha256", name="uq_uploads_token_sha256"),
    )
    op.create_table(
        "quarantine",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_quarantine"),
    )


def downgrade() -> None:
    """Drop them all."""
    for table in ("quarantine", "uploads", "workflows", "results", "job_blobs", "job_items", "jobs", "images"):
        op.drop_table(table)
