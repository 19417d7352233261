"""What a drone's dock says of the files that it uploads."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from enforcement.flights import Degrees, Latitude, Longitude, Metres
from enforcement.model import Record, Utc


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be shown")
    return text


def _one_visible_name(text: str) -> str:
    if "/" in text or text.startswith("."):
        raise ValueError("must be one name without a leading dot")
    return text


FlightId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    AfterValidator(_printable),
    AfterValidator(_one_visible_name),
]
"""What a dock or whoever copies a card calls a flight: a UUID, or the name of a folder."""

SerialNumber = Annotated[str, StringConstraints(max_length=128), AfterValidator(_printable)]
FileCount = Annotated[int, Field(ge=0, le=1_000_000)]


class DockUpload(Record):
    """A file of a flight that a dock says it has uploaded."""

    flight_id: FlightId
    object_key: Annotated[
        str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_printable)
    ]
    """Its name in the bucket, prefix included."""
    received_at: Utc
    """When the dock's message came, by our clock; its own times name no zone."""
    expected: FileCount | None = None
    """Files that the dock will upload of this flight."""
    uploaded: FileCount | None = None
    """Files that it has uploaded of it so far."""
    latitude_deg: Latitude | None = None
    """Where the picture was taken or the video began."""
    longitude_deg: Longitude | None = None
    relative_height_m: Metres | None = None
    """Above the place of take-off."""
    gimbal_yaw_deg: Degrees | None = None
    gateway: SerialNumber = ""
    """Of the dock; empty if nothing says it."""
