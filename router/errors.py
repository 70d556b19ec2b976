"""Errors in the form OpenAI's clients read.

ApiError
├── BadRequestError       400, 413, 422: the request is at fault
├── NotAllowedError       401, 403
│   └── InvalidKeyError   401: no API key, or one nobody has
├── NotFoundError         404
├── TooManyRequestsError  429, with Retry-After
├── UnavailableError      503, with Retry-After
└── DeadlineError         504
"""

from __future__ import annotations

import json
from typing import Any, ClassVar


class ApiError(Exception):
    """An error a client gets to see: one line that says what to do."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "InternalServerError"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        retry_after_s: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.http_status = status or self.status
        self.retry_after_s = retry_after_s
        self.code = code

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        return {
            "error": {
                "message": str(self),
                "type": self.kind,
                "param": self.param,
                "code": self.code or self.http_status,
            }
        }

    def headers(self) -> dict[str, str]:
        """Headers beside the body."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def event(self) -> bytes:
        """The error as the end of a stream that has begun."""
        return b"data: " + json.dumps(self.body()).encode() + b"\n\ndata: [DONE]\n\n"


class BadRequestError(ApiError):
    """The request is at fault."""

    status = 400
    kind = "BadRequestError"


class NotAllowedError(ApiError):
    """The caller may not do this."""

    status = 401
    kind = "AuthenticationError"

    def headers(self) -> dict[str, str]:
        """Names the scheme, as HTTP asks of a 401."""
        return {"WWW-Authenticate": "Bearer"} if self.http_status == self.status else {}


class InvalidKeyError(NotAllowedError):
    """No API key, or one nobody has; type and code are OpenAI's own."""

    kind = "invalid_request_error"

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class NotFoundError(ApiError):
    """There is nothing here."""

    status = 404
    kind = "NotFoundError"


class TooManyRequestsError(ApiError):
    """The caller has too much in flight."""

    status = 429
    kind = "RateLimitError"


class UnavailableError(ApiError):
    """No engine can answer now."""

    status = 503
    kind = "ServiceUnavailableError"


class DeadlineError(ApiError):
    """The answer did not come in time."""

    status = 504
    kind = "DeadlineExceededError"
