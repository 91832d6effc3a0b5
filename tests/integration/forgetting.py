"""For tests that cancel a Redis client while it connects, as whatever stops at once does."""

from __future__ import annotations

from typing import Final

import pytest

FORGETFUL: Final = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.usefixtures("forgotten")]
"""redis-py forgets a connection or a pipeline that is cancelled while it connects, and Python warns of it."""
