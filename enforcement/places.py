"""Where things are: sites, the feeds configured there, their zones and physical devices."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from enforcement.geometry import WHOLE_FRAME, Polygon
from enforcement.model import Name, Record, Utc


class ZonePurpose(StrEnum):
    """What a zone forbids, requires or is watched for; a rule applies to zones of its purpose."""

    NO_DUMPING = "no_dumping"
    FORBIDDEN = "forbidden"
    NO_STOPPING = "no_stopping"
    HELMETS_REQUIRED = "helmets_required"
    NO_FIRE = "no_fire"
    SMOKE_WATCH = "smoke_watch"


class Zone(Record):
    """A named polygon in one view, corners in image fractions (origin top-left)."""

    zone_id: Name
    purpose: ZonePurpose
    polygon: Annotated[Polygon, Field(min_length=3)] = WHOLE_FRAME
    title: str = ""


class Site(Record):
    """A place, as people call it; position in WGS84 degrees."""

    site_id: Name
    title: str
    latitude_deg: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Field(ge=-180, le=180)] | None = None


class Device(Record):
    """The physical camera, with what the law asks of it before its records may be evidence."""

    device_id: Name
    title: str
    purpose: str
    location_published_at: Utc | None = None
    legal_review: str = ""
    technical_review: str = ""
    valid_from: Utc
    valid_until: Utc

    @model_validator(mode="after")
    def _interval_runs_forwards(self) -> Self:
        if self.valid_from >= self.valid_until:
            raise ValueError("valid_until must lie after valid_from")
        return self

    def is_valid_at(self, moment: Utc) -> bool:
        """Whether legal and technical review cover this moment."""
        return self.valid_from <= moment < self.valid_until


class FolderSource(Record):
    """A folder into which finished video files drop; a relative path starts in the home folder.

    A file counts as finished once its size and time have not changed for ``settle_s`` seconds.
    """

    kind: Literal["folder"] = "folder"
    path: str
    pattern: str = "*"
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 2.0


class RtspSource(Record):
    """A live camera. ``{NAME}`` in the URL is replaced by the environment variable NAME,
    so that no password stands in a catalog."""

    kind: Literal["rtsp"] = "rtsp"
    url: str
    window_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 5.0


class Feed(Record):
    """One configured source at a site, with the zones drawn into its view."""

    feed_id: Name
    title: str
    site_id: Name
    device_id: Name | None = None
    source: Annotated[FolderSource | RtspSource, Field(discriminator="kind")]
    zones: tuple[Zone, ...] = ()
    clock_offset_s: float = 0.0
    """What must be added to the device's clock to get true UTC."""
    silent_after_s: Annotated[float, Field(gt=0)] | None = None
    """After so long without anything received its silence is told; unset where it gives something
    only now and then."""
    enabled: bool = True

    @model_validator(mode="after")
    def _zone_ids_are_distinct(self) -> Self:
        ids = [zone.zone_id for zone in self.zones]
        if len(ids) != len(set(ids)):
            raise ValueError("two zones of one feed have the same zone_id")
        return self


class Recipient(Record):
    """Who receives dispatched cases: an HTTPS endpoint that speaks Standard Webhooks.

    ``secret_file`` holds the signing secret (``whsec_…``), as Docker and Kubernetes mount one;
    a relative path starts in the home folder.
    """

    recipient_id: Name
    title: str
    url: str
    secret_file: str
    rules: tuple[Name, ...] = ()
    """Rules whose cases go there; empty means all."""
