"""Every DARKROOM_* variable; read by app.py only."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Config", "wrong_variables"]


def _split(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class Config(BaseSettings):
    """The configuration of one server; every field is the environment variable `DARKROOM_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="DARKROOM_", env_ignore_empty=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path | None = None
    """Folder of database, pictures and models; the platform's data folder if unset."""

    database_url: str | None = None
    """SQLAlchemy URL of another database than the embedded SQLite."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: Annotated[int, Field(ge=0, le=65535)] = 1349
    """Port to listen on; 0 takes any free one."""

    auth: Literal["on", "off"] = "on"
    """`off` lets everybody in who reaches the server over HTTP; only where it listens on loopback."""

    admin_password: SecretStr | None = None
    """Password of the first admin; a random one is printed at the first start if unset."""

    token: SecretStr | None = None
    """A bearer token of the operator's own: whoever has it is the first admin."""

    oauth_issuer: str | None = None
    """An OAuth 2.1 or OpenID Connect issuer whose access tokens are accepted too, such as https://id.example.com."""

    oauth_audience: str | None = None
    """What its tokens must be made for; the address of `/mcp` if unset."""

    rate_limit: Annotated[int, Field(ge=0)] = 1000
    """Requests a minute of one caller, by key or address; 0 for no limit."""

    proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Addresses of proxies whose X-Forwarded-For is believed; separated by commas."""

    max_users: Annotated[int, Field(ge=1)] = 100
    """How many users there may be."""

    user_mb: Annotated[int, Field(ge=0)] = 5000
    """Megabytes that the pictures of one user may take; 0 for no limit. The machine's owner has none."""

    workspace_hours: Annotated[float, Field(gt=0)] = 24.0
    """Hours that pictures stay which a REST client sent and got back without keeping them."""

    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Further Host names that HTTP requests may carry, such as the name behind a proxy; separated by commas."""

    public_url: str | None = None
    """Address under which others reach this server, for links in replies."""

    workers: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=lambda: os.cpu_count() or 1)
    """Pixel workers; one per core."""

    queue_length: Annotated[int, Field(ge=1)] = 100
    """Jobs that may wait; further ones are refused at once with OVERLOADED."""

    require_sandbox: bool = False
    """Refuse to start where the kernel lacks landlock or seccomp."""

    max_file_mb: Annotated[int, Field(ge=1, le=4096)] = 100
    """Largest input file in MiB."""

    max_megapixels: Annotated[int, Field(ge=1, le=2000)] = 100
    """Largest input in megapixels, all frames together."""

    model_memory_mb: Annotated[int, Field(ge=64)] = 4096
    """Memory for loaded models in MiB, GPU or CPU."""

    warm_models: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Ids of models to load at the start and to keep loaded; separated by commas."""

    fetch: bool = True
    """Whether https URLs may be given as images; private addresses are never fetched."""

    images_url: str | None = None
    """Address of an OpenAI-compatible Images API for generative tools, such as https://api.openai.com/v1."""

    images_model: str | None = None
    """Model that is asked there, such as gpt-image-1; generative tools need both."""

    images_key: SecretStr | None = None
    """Key for that address, sent to it alone."""

    images_timeout: Annotated[float, Field(ge=1, le=3600)] = 180.0
    """Seconds that one picture may take there."""

    images_at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests that it gets at once; further ones wait."""

    webhook_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Host names inside the network that webhooks may go to, on any port; separated by commas."""

    soft_wait: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Seconds that a call without progress waits before it answers with a job handle."""

    keep_days: Annotated[int, Field(ge=1)] = 30
    """Days after which finished jobs are forgotten; pictures stay."""

    keep_gb: Annotated[float, Field(gt=0)] | None = None
    """Gigabytes that stored pictures may take: the oldest results that nobody pinned go first. Unset keeps all."""

    credits: bool = False
    """Whether tools cost credits; off, everything is free and unlimited."""

    free_credits: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Credits that an account gets once, at its first use."""


def wrong_variables(error: ValidationError) -> str:
    """Which variables are wrong, and how."""
    return " ".join(
        f"DARKROOM_{'_'.join(str(part) for part in found['loc']).upper()}: {found['msg']}, got {found['input']!r}."
        for found in error.errors()
    )
