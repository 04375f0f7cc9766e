"""Errors that only the server can have; they continue the hierarchy of `darkroom_tools.errors`."""

from darkroom_tools.errors import DarkroomError

__all__ = [
    "Conflict",
    "ContentRefused",
    "DarkroomError",
    "DatabaseBusy",
    "DeadlineExceeded",
    "EngineAnswerInvalid",
    "EngineKeyRejected",
    "EngineModelNotFound",
    "EngineNoAnswer",
    "EngineNotConfigured",
    "EngineQuotaExceeded",
    "EngineRateLimited",
    "EngineRequestRefused",
    "EngineUnavailable",
    "FetchFailed",
    "Forbidden",
    "InsufficientCredits",
    "JobInterrupted",
    "LimitReached",
    "NotFound",
    "Overloaded",
    "PathNotAllowed",
    "RateLimited",
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


class InsufficientCredits(DarkroomError):
    """The account cannot pay; `details` hold `balance` and `price`, and nothing was queued."""

    code = "INSUFFICIENT_CREDITS"
    status = 402


class Conflict(DarkroomError):
    """The idempotency key was used for another call, or the name is taken."""

    code = "CONFLICT"
    status = 409


class LimitReached(DarkroomError):
    """The owner has as many of these as there may be; `details["limit"]` says how many."""

    code = "LIMIT_REACHED"
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


class RateLimited(Overloaded):
    """The caller has as much under way as one may have; `details["retryAfter"]` says in how many seconds to try."""

    code = "RATE_LIMITED"
    status = 429


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


class DeadlineExceeded(DarkroomError):
    """The job was not done by the time that its caller gave it."""

    code = "DEADLINE_EXCEEDED"
    status = 422


class EngineNotConfigured(DarkroomError):
    """The call needs an image engine, and the server knows none; the text names the variables to set."""

    code = "ENGINE_NOT_CONFIGURED"
    status = 501


class EngineKeyRejected(DarkroomError):
    """The image engine does not accept the server's key."""

    code = "ENGINE_KEY_REJECTED"
    status = 502


class EngineModelNotFound(DarkroomError):
    """The image engine has no such model, or no Images API at the configured address."""

    code = "ENGINE_MODEL_NOT_FOUND"
    status = 502


class EngineQuotaExceeded(DarkroomError):
    """What the server's operator may spend at the image engine is spent."""

    code = "ENGINE_QUOTA_EXCEEDED"
    status = 502


class EngineRequestRefused(DarkroomError):
    """The image engine does not take this request, such as a size or a background that its model does not make."""

    code = "ENGINE_REQUEST_REFUSED"
    status = 422


class ContentRefused(DarkroomError):
    """The image engine's moderation refused the prompt, a picture, or what came of them."""

    code = "CONTENT_REFUSED"
    status = 422


class EngineRateLimited(DarkroomError):
    """The image engine is asked too often; `details["retryAfter"]` says in how many seconds to try again."""

    code = "ENGINE_RATE_LIMITED"
    status = 503
    retryable = True


class EngineUnavailable(DarkroomError):
    """The image engine could not be reached, or failed, several times."""

    code = "ENGINE_UNAVAILABLE"
    status = 503
    retryable = True


class EngineNoAnswer(DarkroomError):
    """The image engine took the request and sent no whole answer; not repeated, because it may have been paid for."""

    code = "ENGINE_NO_ANSWER"
    status = 504


class EngineAnswerInvalid(DarkroomError):
    """What the image engine sent is no picture that can be used."""

    code = "ENGINE_ANSWER_INVALID"
    status = 502
