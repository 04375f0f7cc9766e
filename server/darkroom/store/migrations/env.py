"""How Alembic runs here: on the connection, and in the transaction, that the caller hands in."""

from alembic import context

from darkroom.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
