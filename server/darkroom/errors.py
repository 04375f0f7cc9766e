"""Errors that only the server can have; they continue the hierarchy of `darkroom_tools.errors`."""

from darkroom_tools.errors import DarkroomError

__all__ = [
    "BadRequest",
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
    "GrantRefused",
    "InsufficientCredits",
    "JobInterrupted",
    "LimitReached",
    "MethodNotAllowed",
    "Misdirected",
    "NotFound",
    "Overloaded",
    "PathNotAllowed",
    "QuotaExceeded",
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


class BadRequest(DarkroomError):
    """The request is none that HTTP knows."""

    code = "BAD_REQUEST"
    status = 400


class Misdirected(DarkroomError):
    """The request names a host that is not served here."""

    code = "MISDIRECTED"
    status = 421


class MethodNotAllowed(DarkroomError):
    """There is something at the address, but not for this method; `details["allowed"]` says for which."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


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
    """The caller is known but may not do this; some codes say why."""

    code = "FORBIDDEN"
    other_codes = (
        "ESCALATION_DENIED",
        "INVALID_PASSWORD",
        "LAST_ADMIN",
        "MUST_CHANGE_PASSWORD",
        "SELF_DELETE",
        "SELF_DEMOTE",
    )
    status = 403


class GrantRefused(DarkroomError):
    """A device gets no tokens, or not yet; `code` says why, in lower case as OAuth 2.0 names it."""

    code = "INVALID_GRANT"
    other_codes = (
        "AUTHORIZATION_PENDING",
        "SLOW_DOWN",
        "EXPIRED_TOKEN",
        "ACCESS_DENIED",
        "UNSUPPORTED_GRANT_TYPE",
    )
    status = 400


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
    other_codes = ("USER_LIMIT_REACHED",)
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
    """The caller asks too often, or has as much under way as one may; `details["retryAfter"]` says when to try again."""

    code = "RATE_LIMITED"
    status = 429


class DatabaseBusy(DarkroomError):
    """Another process kept the database locked; nothing was changed."""

    code = "DATABASE_BUSY"
    status = 503
    retryable = True


class QuotaExceeded(DarkroomError):
    """The caller's pictures take what they may; `details` hold `usedBytes` and `limit`, and nothing was stored."""

    code = "QUOTA_EXCEEDED"
    status = 413


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
