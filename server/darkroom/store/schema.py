"""The tables. Times are seconds since the epoch (UTC); documents are JSON; every owned row names its owner."""

import sqlalchemy as sa

__all__ = [
    "api_keys",
    "device_grants",
    "images",
    "job_blobs",
    "job_items",
    "jobs",
    "ledger_accounts",
    "metadata",
    "projects",
    "quarantine",
    "results",
    "sessions",
    "settings",
    "teams",
    "transfers",
    "uploads",
    "users",
    "webhook_deliveries",
    "webhooks",
    "workflow_versions",
    "workflows",
]

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # img_ + 26 characters of base32
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("media_type", sa.String(80), nullable=False),
    sa.Column("width", sa.Integer),  # null for files that are no pictures
    sa.Column("height", sa.Integer),
    sa.Column("frames", sa.Integer, nullable=False, server_default="1"),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(200), nullable=False),  # cleaned; for people, never for the disk
    sa.Column("parent", sa.String(40)),  # the image this one was made from
    sa.Column("root", sa.String(40), nullable=False),  # first of the version chain
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("tool", sa.String(80)),  # null for what came in from outside
    sa.Column("steps", sa.JSON, nullable=False, server_default="[]"),  # the plan that led from parent to here
    sa.Column("facts", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),  # never removed for space
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("project", sa.String(40)),
    sa.Column("listed", sa.Boolean, nullable=False, server_default=sa.true()),  # false: passed through, and goes soon
    sa.Index("ix_images_owner_created", "owner", "created_at"),
    sa.Index("ix_images_owner_sha256", "owner", "sha256"),
    sa.Index("ix_images_sha256", "sha256"),
    sa.Index("ix_images_root", "root"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),  # job_ + 26 characters of base32
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("tool", sa.String(80), nullable=False),
    sa.Column("request", sa.JSON, nullable=False),  # plan, items with their inputs, limits
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("turn", sa.Float, nullable=False, server_default="0"),  # the owner's virtual time: fair order
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", sa.Float),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("progress", sa.Float, nullable=False, server_default="0"),
    sa.Column("message", sa.String(200), nullable=False, server_default=""),
    sa.Column("result", sa.JSON),
    sa.Column("error", sa.JSON),
    sa.Column("idempotency_key", sa.String(200)),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("item_count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),  # items with a result or an error
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("workflow", sa.String(40)),  # of a saved workflow: it and the version that ran
    sa.Column("version", sa.String(40)),
    sa.Column("organisation", sa.String(64), nullable=False, server_default=""),  # who pays, whose webhooks are told
    sa.Column("labels", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("deadline_at", sa.Float),
    sa.Column("credits", sa.Integer),  # reserved until it ends, then charged; null where nothing has a price
    sa.Column("webhooks", sa.JSON, nullable=False, server_default="[]"),  # of this run alone
    sa.Column("liked", sa.Boolean),
    sa.Column("feedback", sa.JSON),  # note and expected images
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("retry_of", sa.String(40)),  # the first of the jobs that try the same call again
    sa.UniqueConstraint("owner", "idempotency_key"),
    sa.Index("ix_jobs_claim", "state", "priority", "turn", "seq"),
    sa.Index("ix_jobs_owner_created", "owner", "created_at"),
    sa.Index("ix_jobs_owner_state", "owner", "state", "turn"),
    sa.Index("ix_jobs_retry_of", "retry_of"),
)

job_items = sa.Table(
    "job_items",
    metadata,
    sa.Column("job", sa.String(40), primary_key=True),
    sa.Column("item", sa.Integer, primary_key=True),
    sa.Column("result", sa.JSON),  # set once the item is done: a rerun looks it up
    sa.Column("error", sa.JSON),
)

job_blobs = sa.Table(
    "job_blobs",
    metadata,
    sa.Column("job", sa.String(40), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),  # bytes that this unfinished job still needs
    sa.Index("ix_job_blobs_sha256", "sha256"),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),  # of plan, input bytes, version and models
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

workflows = sa.Table(
    "workflows",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # wf_ + 26 characters of base32
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("tool", sa.String(80), nullable=False),  # the MCP name: wf_<slug>_<6>
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("version", sa.String(40), nullable=False),  # the newest
    sa.Column("published", sa.Boolean, nullable=False, server_default=sa.true()),  # whether it is a tool in the list
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.UniqueConstraint("owner", "name"),
    sa.UniqueConstraint("owner", "tool"),
)

workflow_versions = sa.Table(
    "workflow_versions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # wfv_ + 26 characters of base32
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("workflow", sa.String(40), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),  # from 1
    sa.Column("document", sa.JSON, nullable=False),  # never changes
    sa.Column("author", sa.String(200), nullable=False, server_default=""),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.UniqueConstraint("workflow", "number"),
    sa.Index("ix_workflow_versions_owner", "owner"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # upl_ + 26 characters of base32
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("image", sa.String(40)),  # set once the one upload arrived
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("deaths", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("id", sa.String(160), primary_key=True),
    sa.Column("owner", sa.String(64)),  # null for the house's own
    sa.Column("bucket", sa.String(20), nullable=False),
    sa.Column("balance", sa.BigInteger, nullable=False, server_default="0"),
    sa.CheckConstraint("owner IS NULL OR balance >= 0", name="not_negative"),
    sa.Index("ix_ledger_accounts_owner", "owner"),
)

transfers = sa.Table(
    "transfers",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(200), nullable=False, unique=True),  # so that a repeat is the same movement
    sa.Column("debit", sa.String(160), nullable=False),
    sa.Column("credit", sa.String(160), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("job", sa.String(40)),
    sa.Column("note", sa.String(200), nullable=False, server_default=""),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.CheckConstraint("amount > 0", name="positive"),
    sa.Index("ix_transfers_job", "job"),
    sa.Index("ix_transfers_debit", "debit"),
    sa.Index("ix_transfers_credit", "credit"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # whk_ + 26 characters of base32
    sa.Column("organisation", sa.String(64), nullable=False),
    sa.Column("url", sa.String(2048), nullable=False),
    sa.Column("secret", sa.String(100), nullable=False),  # whsec_…; needed to sign
    sa.Column("old_secret", sa.String(100)),  # signs too until old_until
    sa.Column("old_until", sa.Float),
    sa.Column("disabled", sa.String(200)),  # why nothing is sent any more
    sa.Column("created_at", sa.Float, nullable=False),
    sa.UniqueConstraint("organisation", "url"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # msg_ + 26 characters of base32: the webhook-id header
    sa.Column("organisation", sa.String(64), nullable=False),
    sa.Column("webhook", sa.String(40)),  # null for an address of one run alone
    sa.Column("job", sa.String(40), nullable=False),
    sa.Column("url", sa.String(2048), nullable=False),
    sa.Column("secret", sa.String(100)),  # of an address of one run alone
    sa.Column("payload", sa.Text, nullable=False),  # the very bytes that are signed
    sa.Column("state", sa.String(20), nullable=False),  # queued, sent, failed
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("lease_until", sa.Float),
    sa.Column("status", sa.Integer),  # of the last answer
    sa.Column("problem", sa.String(200)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float),
    sa.UniqueConstraint("job", "url"),
    sa.Index("ix_webhook_deliveries_due", "state", "due_at"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # usr_ + 26 characters of base32; `local` for the machine's owner
    sa.Column("username", sa.String(50), nullable=False),
    sa.Column("username_key", sa.String(50), nullable=False, unique=True),  # case folded
    sa.Column("password", sa.String(200), nullable=False, server_default=""),  # argon2id; empty: cannot log in here
    sa.Column("role", sa.String(20), nullable=False),  # admin, user
    sa.Column("team", sa.String(64), nullable=False),
    sa.Column("must_change_password", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("external", sa.String(400), unique=True),  # issuer and subject of an OAuth provider's user
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("ix_users_team", "team"),
)

teams = sa.Table(
    "teams",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # team_ + 26 characters of base32; `local` for the default team
    sa.Column("name", sa.String(50), nullable=False),
    sa.Column("name_key", sa.String(50), nullable=False, unique=True),  # case folded
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # ses_ + 26 characters of base32
    sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),  # login, access (by device code), refresh
    sa.Column("client", sa.String(100), nullable=False, server_default=""),  # who got a device code
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Index("ix_sessions_user", "user"),
)

device_grants = sa.Table(
    "device_grants",
    metadata,
    sa.Column("device_sha256", sa.String(64), primary_key=True),
    sa.Column("user_code", sa.String(20), nullable=False, unique=True),
    sa.Column("client", sa.String(100), nullable=False),
    sa.Column("user", sa.String(64)),  # set once somebody approved it
    sa.Column("denied", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("polled_at", sa.Float),
    sa.Column("expires_at", sa.Float, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # key_ + 26 characters of base32
    sa.Column("key_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("prefix", sa.String(20), nullable=False),  # si_, sk_live_, fsk_live_, fsk_test_
    sa.Column("scopes", sa.JSON),  # permissions; null for all that its user has
    sa.Column("expires_at", sa.Float),
    sa.Column("last_used_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("ix_api_keys_user", "user"),
)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.String(100), primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),  # proj_ + 26 characters of base32
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("description", sa.String(500), nullable=False, server_default=""),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Index("ix_projects_owner_created", "owner", "created_at"),
)
