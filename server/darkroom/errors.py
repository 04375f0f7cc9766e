"""Errors that only the server can have; they continue the hierarchy of `darkroom_tools.errors`."""

from darkroom_tools.errors import DarkroomError

__all__ = [
    "Conflict",
    "DarkroomError",
    "DatabaseBusy",
    "FetchFailed",
    "Forbidden",
    "JobInterrupted",
    "NotFound",
    "Overloaded",
    "PathNotAllowed",
    "RequestTimeout",
    "StorageFull",
    "Unauthorized",
    "UrlNotAllowed",
]


class NotFound(DarkroomError):
    """No such image, job, workflow, upload or tool, or it belongs to somebody else."""

    code = "NOT_FOUND"
    status = 404


class PathNotAllowed(DarkroomError):
    """The path is outside the allowed roots, missing or no regular file; the text never says which."""

    code = "PATH_NOT_ALLOWED"
    status = 403


class UrlNotAllowed(DarkroomError):
    """The URL is of a scheme, port or address that may not be fetched."""

    code = "URL_NOT_ALLOWED"
    status = 400


class FetchFailed(DarkroomError):
    """The address did not answer with a file; `code` is FETCH_FAILED, FETCH_TIMEOUT or TOO_MANY_REDIRECTS."""

    code = "FETCH_FAILED"
    status = 422


class Unauthorized(DarkroomError):
    """The request carries no valid token."""

    code = "UNAUTHORIZED"
    status = 401


class Forbidden(DarkroomError):
    """The caller is known but may not do this."""

    code = "FORBIDDEN"
    status = 403


class Conflict(DarkroomError):
    """The idempotency key was used for another call, or the name is taken."""

    code = "CONFLICT"
    status = 409


class RequestTimeout(DarkroomError):
    """The client sent its request too slowly."""

    code = "REQUEST_TIMEOUT"
    status = 408


class Overloaded(DarkroomError):
    """The queue is full; `details["retryAfter"]` says in how many seconds to try again."""

    code = "OVERLOADED"
    status = 503
    retryable = True


class DatabaseBusy(DarkroomError):
    """Another process kept the database locked; nothing was changed."""

    code = "DATABASE_BUSY"
    status = 503
    retryable = True


class StorageFull(DarkroomError):
    """The disk is at its floor; nothing was accepted."""

    code = "STORAGE_FULL"
    status = 507
    retryable = True


class JobInterrupted(DarkroomError):
    """The server stopped in the middle of the work too often to try again."""

    code = "INTERRUPTED"
    status = 500
