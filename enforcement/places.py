"""Where things are: sites, the feeds configured there, their zones and physical devices."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from enforcement.flights import GroundPoint, GroundPolygon
from enforcement.geometry import WHOLE_FRAME, Polygon
from enforcement.model import Name, Record, Utc
from enforcement.readings import (
    Calibration,
    CalibrationInterval,
    DockFormat,
    Hj212Format,
    JsonFormat,
    ZoneName,
)


class ZonePurpose(StrEnum):
    """What a zone forbids, requires or is watched for; a rule applies to zones of its purpose."""

    NO_DUMPING = "no_dumping"
    FORBIDDEN = "forbidden"
    NO_STOPPING = "no_stopping"
    HELMETS_REQUIRED = "helmets_required"
    NO_FIRE = "no_fire"
    SMOKE_WATCH = "smoke_watch"
    NOISE_LIMIT = "noise_limit"
    EMISSION_LIMIT = "emission_limit"
    """For what sensors measure in air, water and flue gas."""
    LAWFUL_USE = "lawful_use"
    """Forbids nothing: things may come and go there, as in a car park, a store yard or a building
    site with a permit. On the ground, it keeps changes from counting."""


class Zone(Record):
    """A named polygon in one view, corners in image fractions (origin top-left).

    For a feed of sensors a zone says which limits apply to it; its polygon means nothing.
    """

    zone_id: Name
    purpose: ZonePurpose
    polygon: Annotated[Polygon, Field(min_length=3)] = WHOLE_FRAME
    title: str = ""


class GroundZone(Record):
    """A named polygon on the ground."""

    zone_id: Name
    purpose: ZonePurpose
    polygon: Annotated[GroundPolygon, Field(min_length=3)]
    title: str = ""


class Site(Record):
    """A place, as people call it; position in WGS84 degrees."""

    site_id: Name
    title: str
    latitude_deg: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude_deg: Annotated[float, Field(ge=-180, le=180)] | None = None
    time_zone: ZoneName | None = None
    """For limits by day and night and for means of hours; sites with sensor rules need it."""


class Device(Record):
    """The physical camera or instrument, with what the law asks of it before its records may be
    evidence."""

    device_id: Name
    title: str
    purpose: str
    place: GroundPoint | None = None
    """Where it stands; of a camera, the mast. None for what moves."""
    location_published_at: Utc | None = None
    legal_review: str = ""
    technical_review: str = ""
    valid_from: Utc
    valid_until: Utc
    calibrations: tuple[Calibration, ...] = ()
    """Of an instrument: outside them its readings may support a case, but never open one."""

    @property
    def calibration_intervals(self) -> tuple[CalibrationInterval, ...]:
        """The calibrations as rules ask for them."""
        return tuple(
            CalibrationInterval(device_id=self.device_id, **one.model_dump())
            for one in self.calibrations
        )

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
    """Length of a recorded segment; it goes on until the next key frame."""
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 5.0
    """A camera that is silent this long is taken to hang. Longer than between two of its frames."""


EnvironmentVariable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
"""Name of an environment variable, so that no password stands in a catalog."""

TcpPort = Annotated[int, Field(ge=1, le=65535)]


def _kind_of_format(given: object) -> str | None:
    """A format without a kind is one of readings: those were there first."""
    if isinstance(given, dict):
        kind = given.get("kind", "json")
        return kind if isinstance(kind, str) else None
    return given.kind if isinstance(given, JsonFormat | DockFormat) else None


MessageFormat = Annotated[
    Annotated[JsonFormat, Tag("json")] | Annotated[DockFormat, Tag("dji_dock")],
    Discriminator(
        _kind_of_format,
        custom_error_type="message_format",
        custom_error_message="the kind of a format is json or dji_dock",
    ),
]
"""What the messages of a broker may be."""


class MqttSource(Record):
    """Topics of an MQTT broker, subscribed to at QoS 1 in a session that outlives a restart."""

    kind: Literal["mqtt"] = "mqtt"
    host: Annotated[str, StringConstraints(min_length=1)]
    port: TcpPort = 1883
    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    """Topic filters; ``+`` and ``#`` as in MQTT."""
    client_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    """Under which the broker keeps our session; default ``sightline-<feed_id>``. A second client
    of the same id throws the first one out."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """With 5 the broker is told how much may be under way; with 3.1.1 its own window holds, and
    is often small. ``auto``: 5 where the broker speaks it."""
    tls: bool = False
    ca_file: str | None = None
    """Certificate authority in PEM; default the system's."""
    user_variable: EnvironmentVariable | None = None
    password_variable: EnvironmentVariable | None = None
    keepalive_s: Annotated[int, Field(ge=5, le=3600)] = 30
    format: MessageFormat | None = None
    """What is taken out of the messages: readings, or what docks uploaded (``kind: dji_dock``);
    None: they are only kept. A later format takes effect on what was kept before by ``sightline
    backfill``."""

    def session_of(self, feed_id: str) -> str:
        """The client id under which this feed's session is kept."""
        return self.client_id or f"sightline-{feed_id}"

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file without tls: true would not be used")
        if self.password_variable is not None and self.user_variable is None:
            raise ValueError("password_variable needs user_variable")
        if not all(self.topics):
            raise ValueError("a topic filter must not be empty")
        return self

    @model_validator(mode="after")
    def _keys_for_docks_are_not_kept(self) -> Self:
        ends = [topic.rsplit("/", 1)[-1] for topic in self.topics]
        if isinstance(self.format, DockFormat) and any(
            end in {"#", "+"} or end.endswith("_reply") for end in ends
        ):
            raise ValueError(
                "topics would take in replies to docks, which hold the keys of their bucket;"
                " wanted is thing/product/+/events"
            )
        return self


class Hj212Station(Record):
    """A pollutant station that may send: its identification (MN) and where its password stands."""

    mn: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    password_variable: EnvironmentVariable | None = None
    """Variable with the password (PW) that its packets must carry; unset: any will do."""


class Hj212Source(Record):
    """A TCP port to which stations connect that speak HJ 212."""

    kind: Literal["hj212"] = "hj212"
    host: Annotated[str, StringConstraints(min_length=1)] = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` is every one of this machine."""
    port: TcpPort
    stations: Annotated[tuple[Hj212Station, ...], Field(min_length=1)]
    idle_s: Annotated[float, Field(ge=1, le=86400)] = 600.0
    """A connection that is silent this long is closed."""
    connections: Annotated[int, Field(ge=1, le=10_000)] = 256
    """How many may be open at once."""
    format: Hj212Format = Hj212Format()
    """How readings are taken out of the packets."""

    @model_validator(mode="after")
    def _stations_are_distinct(self) -> Self:
        known = [station.mn for station in self.stations]
        if len(known) != len(set(known)):
            raise ValueError("two stations have the same mn")
        return self


class DroneFolder(Record):
    """A folder into which drones' cards or docks put their files: ``MISSION/FLIGHT/…`` below it.

    A relative path starts in the home folder.
    """

    kind: Literal["drone_folder"] = "drone_folder"
    path: str
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """A file counts as finished once its size and time have not changed for so long."""


class DroneBucket(Record):
    """A bucket into which docks upload by themselves: ``MISSION/FLIGHT/…`` below the prefix.

    DJI docks take the part before the flight from the ``object_key_prefix`` that they are given.
    """

    kind: Literal["drone_bucket"] = "drone_bucket"
    endpoint: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+(:\d+)?$")]
    """``host`` or ``host:port`` of the S3 server."""
    secure: bool = True
    bucket: Annotated[str, StringConstraints(min_length=3, max_length=63)]
    prefix: Annotated[str, StringConstraints(max_length=512)] = ""
    region: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Unset: the server is asked, which the keys must allow."""
    access_key_variable: EnvironmentVariable
    secret_key_variable: EnvironmentVariable


DroneSource = DroneFolder | DroneBucket
"""Sources of whole flights: see ``enforcement.missions``."""

MessageSource = MqttSource | Hj212Source
"""Sources to which a process must listen all the time: see ``sightline collect``."""


class Feed(Record):
    """One configured source at a site, with the zones drawn into its view."""

    feed_id: Name
    title: str
    site_id: Name
    device_id: Name | None = None
    source: Annotated[
        FolderSource | RtspSource | MqttSource | Hj212Source | DroneFolder | DroneBucket,
        Field(discriminator="kind"),
    ]
    zones: tuple[Zone, ...] = ()
    in_view: Annotated[GroundPolygon, Field(min_length=3)] | None = None
    """Of a fixed camera: the ground that it sees. Findings of other feeds there are then shown with
    its footage."""
    clock_offset_s: float = 0.0
    """What must be added to the device's clock to get true UTC."""
    silent_after_s: Annotated[float, Field(gt=0)] | None = None
    """After so long without anything received its silence is told; unset where it gives something
    only now and then."""
    enabled: bool = True
    allowed_lateness_s: Annotated[float, Field(ge=0, le=86400)] = 600.0
    """So long after its end a window of time waits for readings before rules look at it."""
    reopens_s: Annotated[float, Field(ge=0)] = 7 * 86400.0
    """So long after its end readings that come late reopen a window; later ones are set aside.
    Of drones: so long after its last file a closed flight is looked into for more; what is put
    there later is neither taken in nor told."""

    @property
    def view_is_fixed(self) -> bool:
        """Whether what lies at one place in its pictures lies at one place on the ground."""
        return not isinstance(self.source, DroneFolder | DroneBucket)

    @property
    def sensors(self) -> frozenset[str]:
        """Ids of the devices whose readings it carries; empty for footage and for docks."""
        source = self.source
        if isinstance(source, Hj212Source):
            named = source.format.stations
        elif isinstance(source, MqttSource) and not isinstance(source.format, DockFormat):
            named = source.format.devices if source.format is not None else {}
        else:
            return frozenset()
        own = () if self.device_id is None else (self.device_id,)
        return frozenset(named.values()) or frozenset(own)

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
