"""Error answers: the error bodies of Ark and of CometAPI."""

from __future__ import annotations

from typing import Any


_ERROR_TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalServerError",
}


class Refusal(Exception):  # noqa: N818 - an answer of the service, not an error here
    """The service refuses a request.

    Attributes:
        status: HTTP status, 400 to 500.
        code: The provider's error code.
        message: The message, without the request id.
        param: The parameter that the refusal names; "" for none.
        tail: Text between the message and the request id; "" for no request id.
    """

    def __init__(
        self, status: int, code: str, message: str, param: str = "", *, tail: str = "Request id:"
    ) -> None:
        super().__init__(status, code, message, param)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.tail = tail


def ark_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Build Ark's error body.

    Source: Ark error-code reference; bodies collected from live services.
    """
    message = refusal.message
    if refusal.tail:
        message += f" {refusal.tail} {request_id}"
    error = {"code": refusal.code, "message": message, "param": refusal.param}
    return {"error": error | {"type": _ERROR_TYPES[refusal.status]}}


def comet_error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Build CometAPI's error body.

    Source: CometAPI reference, "errors and error codes".
    """
    return {
        "error": {
            "message": f"{refusal.message} (request id: {request_id})",
            "type": "comet_api_error",
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def missing(param: str) -> Refusal:
    """Refuse a body that lacks *param*."""
    message = f"The request failed because it is missing `{param}` parameter."
    return Refusal(400, "MissingParameter", message, param)


def invalid(param: str, why: str) -> Refusal:
    """Refuse a value of *param*."""
    message = f"The parameter `{param}` specified in the request is not valid: {why}."
    return Refusal(400, "InvalidParameter", message, param)


def unsupported(param: str, family: str) -> Refusal:
    """Refuse a parameter that models of *family* do not support."""
    message = f"The parameter `{param}` specified in the request is not supported by {family}."
    return Refusal(400, "InvalidParameter.UnsupportedParameter", message, param)


def unknown_model(name: str) -> Refusal:
    """Refuse a model or endpoint that does not exist (or has no date in its name)."""
    message = f"The model or endpoint {name} does not exist or you do not have access to it."
    return Refusal(404, "InvalidEndpointOrModel.NotFound", message)


def model_not_open(name: str) -> Refusal:
    """Refuse a model that the account has not activated."""
    message = (
        f"Your account has not activated the model {name}. "
        "Please activate the model service in the console."
    )
    return Refusal(404, "ModelNotOpen", message)


def unauthorized() -> Refusal:
    """Refuse a request without a valid key."""
    message = "the API key or AK/SK in the request is missing or invalid."
    return Refusal(401, "AuthenticationError", message, tail="request id:")


def unknown_task(task_id: str) -> Refusal:
    """Refuse an id that is not on record."""
    return Refusal(404, "NotFound", f"The task {task_id} is not found.", "id")


def running() -> Refusal:
    """Refuse to cancel a running task."""
    message = "Cannot delete task because it is currently running"
    return Refusal(409, "InvalidAction.RunningTaskDeletion", message, tail="")


def already_cancelled() -> Refusal:
    """Refuse to delete a cancelled task. The refusal is documented; its code is a guess."""
    message = "Cannot delete task because it is already cancelled"
    return Refusal(403, "OperationDenied.InvalidState", message)


def sensitive_prompt() -> Refusal:
    """Refuse a prompt by moderation."""
    message = "The request failed because the input text may contain sensitive information."
    return Refusal(400, "InputTextSensitiveContentDetected", message, "content")


def too_many_creates() -> Refusal:
    """Refuse a create above the model's creates per minute."""
    code = "RateLimitExceeded.FoundationModelRPMExceeded"
    return Refusal(429, code, "RPM exceeded", tail="")


def too_many_calls() -> Refusal:
    """Refuse a get, list or delete above the account's quota.

    The service's code for this is not known; this is its documented account-wide one.
    """
    message = "The request rate of the account exceeds the limit of this interface."
    return Refusal(429, "AccountRateLimitExceeded", message)


def queue_full() -> Refusal:
    """Refuse a create because too many tasks wait."""
    message = "The request has exceeded the quota."
    return Refusal(429, "QuotaExceeded", message, tail="Request ID:")


def failed() -> Refusal:
    """Report an internal error of the service."""
    message = "The service encountered an unexpected internal error."
    return Refusal(500, "InternalServiceError", message)
