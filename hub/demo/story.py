"""The workflow of the demo: a fork and a join, a choice, a component that fails once, a short wait."""

from __future__ import annotations

from typing import Any

STEPS = {
    "start": "the order comes in",
    "price": "asks the shop for the price (its first answer is a 503)",
    "stock": "asks the shop for the stock, at the same time",
    "quote": "joins both: price × quantity",
    "approve": "only when the total is above 100",
    "ship_now": "otherwise",
    "pause": "waits half a second, holding nothing",
    "note": "writes to the execution's log",
    "done": "the result",
}


def definition(shop: str) -> dict[str, Any]:
    return {
        "parameters": [{"name": "quantity", "type": "integer", "required": True}],
        "components": [
            {"id": "start", "type": "start", "config": {"trigger_type": "demo"}},
            {
                "id": "price",
                "type": "http_request",
                "config": {"url": f"{shop}/price"},
                "retry": {"max_attempts": 3, "initial_delay_seconds": 0.3, "backoff_multiplier": 2},
            },
            {"id": "stock", "type": "http_request", "config": {"url": f"{shop}/stock"}},
            {
                "id": "quote",
                "type": "transform",
                "config": {
                    "expression": "{'total': steps.price.output.body.price * double(input.quantity),"
                    " 'in_stock': steps.stock.output.body.in_stock}"
                },
            },
            {"id": "approve", "type": "transform", "config": {"output": {"approved_by": "the rule for big orders"}}},
            {"id": "ship_now", "type": "transform", "config": {"output": {"approved_by": None}}},
            {"id": "pause", "type": "wait", "config": {"seconds": 0.5}},
            {
                "id": "note",
                "type": "log",
                "config": {"level": "info", "message": "{{quantity}} pieces for ${quote.output.total}"},
            },
            {
                "id": "done",
                "type": "end",
                "config": {
                    "output": {
                        "total": "${quote.output.total}",
                        "approved_by": "${approve.output.approved_by}",
                    }
                },
            },
        ],
        "connections": [
            {"source": "start", "target": "price"},
            {"source": "start", "target": "stock"},
            {"source": "price", "target": "quote"},
            {"source": "stock", "target": "quote"},
            {"source": "quote", "target": "approve", "type": "conditional", "condition": "output.total > 100.0"},
            {"source": "quote", "target": "ship_now", "type": "conditional", "condition": "output.total <= 100.0"},
            {"source": "approve", "target": "pause"},
            {"source": "ship_now", "target": "pause"},
            {"source": "pause", "target": "note"},
            {"source": "note", "target": "done"},
        ],
    }
