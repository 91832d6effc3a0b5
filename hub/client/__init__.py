"""The Python client: `from hub.client import WorkflowClient`. It knows the contract, and nothing of the hub's inside.

client.py, resources/   what people call
http.py, listing.py     requests, tried again where that is safe; pages
live/                   the socket: channels from position to position
types.py, errors.py     what comes back
"""

from hub.client.client import WorkflowClient
from hub.client.errors import (
    ApiError,
    AuthenticationFailed,
    ClientClosed,
    ClientError,
    CompletionTimeout,
    Conflict,
    HubFailed,
    InvalidRequest,
    Misused,
    NoEnvelope,
    NoSocket,
    NotFound,
    PermissionDenied,
    Problem,
    RateLimited,
    SocketStopped,
    SubscriptionRefused,
    Unreachable,
)
from hub.client.live.message import Message
from hub.client.live.subscription import Subscription

__all__ = [
    "ApiError",
    "AuthenticationFailed",
    "ClientClosed",
    "ClientError",
    "CompletionTimeout",
    "Conflict",
    "HubFailed",
    "InvalidRequest",
    "Message",
    "Misused",
    "NoEnvelope",
    "NoSocket",
    "NotFound",
    "PermissionDenied",
    "Problem",
    "RateLimited",
    "SocketStopped",
    "Subscription",
    "SubscriptionRefused",
    "Unreachable",
    "WorkflowClient",
]
