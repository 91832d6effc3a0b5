"""The main job, shown end to end on a fresh hub over real HTTP and WebSocket."""

from __future__ import annotations

from hub.demo.show import run

__all__ = ["run"]
