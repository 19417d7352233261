"""Airflow plugin: a link to the review queue in Airflow's navigation.

A link, not a page inside Airflow: the review application refuses to be framed, so that no page
around it can have somebody click "confirm" unknowingly.
"""

import os
from typing import Any

from airflow.plugins_manager import AirflowPlugin


def _queue_url() -> str:
    """Where people reach the review application, as the supervisor and settings name it."""
    url = os.environ.get("SIGHTLINE_REVIEW_URL")
    port = os.environ.get("SIGHTLINE_REVIEW_PORT", "8080")
    return (url or f"http://127.0.0.1:{port}").rstrip("/") + "/"


class ReviewQueue(AirflowPlugin):
    """Adds "Review" to the navigation; Airflow cuts off a longer name."""

    name = "review_queue"
    external_views: list[Any] = [  # noqa: RUF012 - Airflow declares it so
        {
            "name": "Review",
            "href": _queue_url(),
            "destination": "nav",
            "category": None,
            "nav_top_level": True,
        }
    ]
