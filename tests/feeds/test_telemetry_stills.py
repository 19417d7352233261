"""Stills: EXIF and XMP as DJI writes them, in pictures of one colour."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from enforcement.errors import BadTelemetry
from enforcement.flights import AircraftPose, TelemetryConventions
from feeds.telemetry import read_still

NOTHING = TelemetryConventions()
SHANGHAI = TelemetryConventions(time_zone="Asia/Shanghai")
HERE: dict[int, Any] = {
    ExifTags.GPS.GPSLatitudeRef: "N",
    ExifTags.GPS.GPSLatitude: (31.0, 12.0, 34.5678),
    ExifTags.GPS.GPSLongitudeRef: "W",
    ExifTags.GPS.GPSLongitude: (121.0, 24.0, IFDRational(98765, 10000)),
}
TAKEN: dict[int, Any] = {ExifTags.Base.DateTimeOriginal: "2026:06:01 09:30:15"}


def xmp(**values: str) -> bytes:
    attributes = " ".join(f'drone-dji:{key}="{value}"' for key, value in values.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="DJI Meta Data" '
        f'xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" {attributes}/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


FLOWN = xmp(
    AbsoluteAltitude="+198.31", RelativeAltitude="+39.80", GimbalRollDegree="+0.10",
    GimbalYawDegree="-45.20", GimbalPitchDegree="-89.90", FlightYawDegree="+46.00",
)  # fmt: skip


def still(
    gps: dict[int, Any] | None = None, own: dict[int, Any] | None = None, packet: bytes = FLOWN
) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "DJI"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(HERE if gps is None else gps)
    exif.get_ifd(ExifTags.IFD.Exif).update(TAKEN if own is None else own)
    target = io.BytesIO()
    Image.new("RGB", (16, 9), "green").save(target, "JPEG", exif=exif, xmp=packet)
    return target.getvalue()


def only(data: bytes, conventions: TelemetryConventions = NOTHING) -> AircraftPose:
    (pose,) = read_still(data, "DJI_0001.JPG", conventions).poses
    return pose


def test_degrees_minutes_and_seconds_become_signed_degrees() -> None:
    pose = only(still())
    assert pose.latitude_deg == pytest.approx(31 + 12 / 60 + 34.5678 / 3600, abs=1e-6)
    assert pose.longitude_deg == pytest.approx(-(121 + 24 / 60 + 9.8765 / 3600), abs=1e-6)
    south = only(still({**HERE, ExifTags.GPS.GPSLatitudeRef: "S",
                        ExifTags.GPS.GPSLongitudeRef: "E"}))  # fmt: skip
    assert south.latitude_deg == pytest.approx(-31.2096022, abs=1e-6)
    assert south.longitude_deg > 0


def test_heights_and_angles_come_as_signed_text() -> None:
    pose = only(still())
    assert (pose.altitude_m, pose.height_m) == (198.31, 39.8)
    angles = (pose.gimbal_yaw_deg, pose.gimbal_pitch_deg, pose.gimbal_roll_deg, pose.heading_deg)
    assert angles == (-45.2, -89.9, 0.1, 46.0)


def test_a_yaw_from_the_nose_is_turned_to_north() -> None:
    from_nose = TelemetryConventions(gimbal_yaw="from_nose")
    assert only(still(), from_nose).gimbal_yaw_deg == pytest.approx(0.8)
    no_heading = xmp(GimbalYawDegree="-45.20")
    assert only(still(packet=no_heading), from_nose).gimbal_yaw_deg is None


def test_values_may_be_elements_instead_of_attributes() -> None:
    packet = xmp().replace(
        b"/></rdf:RDF>",
        b"><drone-dji:RelativeAltitude>+40.00</drone-dji:RelativeAltitude>"
        b"</rdf:Description></rdf:RDF>",
    )
    assert only(still(packet=packet)).height_m == 40.0


def test_without_xmp_only_what_exif_says_is_known() -> None:
    gps = {**HERE, ExifTags.GPS.GPSAltitude: 12.5, ExifTags.GPS.GPSAltitudeRef: b"\x01"}
    pose = only(still(gps, packet=b""))
    assert pose.altitude_m == -12.5
    assert (pose.height_m, pose.gimbal_pitch_deg) == (None, None)


def test_a_position_may_stand_in_xmp_alone_even_misspelt() -> None:
    for key in ("GpsLongitude", "GpsLongtitude"):
        packet = xmp(GpsLatitude="+31.123456789", **{key: "+121.987654321"})
        pose = only(still({}, packet=packet))
        assert (pose.latitude_deg, pose.longitude_deg) == (31.123456789, 121.987654321)


def test_exif_and_xmp_that_contradict_each_other_are_refused() -> None:
    near = xmp(GpsLatitude="+31.2097", GpsLongitude="-121.4028")
    assert only(still(packet=near)).latitude_deg == pytest.approx(31.2096022, abs=1e-6)
    far = xmp(GpsLatitude="+31.2197", GpsLongitude="-121.4028")
    with pytest.raises(BadTelemetry, match="different positions"):
        read_still(still(packet=far), "a.jpg", NOTHING)


def test_the_equivalent_focal_length_is_kept() -> None:
    own = {**TAKEN, ExifTags.Base.FocalLengthIn35mmFilm: 24}
    assert only(still(own=own)).focal_length_35mm_mm == 24.0
    own[ExifTags.Base.FocalLengthIn35mmFilm] = 0
    assert only(still(own=own)).focal_length_35mm_mm is None


def test_local_time_needs_a_zone() -> None:
    found = read_still(still(), "a.jpg", NOTHING)
    assert found.poses[0].moment is None
    assert found.undated == 1
    assert read_still(still(), "a.jpg", SHANGHAI).undated == 0
    assert only(still(), SHANGHAI).moment == datetime(2026, 6, 1, 1, 30, 15, tzinfo=UTC)
    assert read_still(still(own={}), "a.jpg", SHANGHAI).undated == 0


def test_a_zone_or_utc_in_the_file_goes_before_the_configured_one() -> None:
    own = {**TAKEN, ExifTags.Base.OffsetTimeOriginal: "-03:30",
           ExifTags.Base.SubsecTimeOriginal: "250"}  # fmt: skip
    moment = datetime(2026, 6, 1, 13, 0, 15, 250_000, tzinfo=UTC)
    assert only(still(own=own), SHANGHAI).moment == moment
    gps = {**HERE, ExifTags.GPS.GPSDateStamp: "2026:06:01",
           ExifTags.GPS.GPSTimeStamp: (5.0, 6.0, 7.5)}  # fmt: skip
    satellites = datetime(2026, 6, 1, 5, 6, 7, 500_000, tzinfo=UTC)
    assert only(still(gps, own), SHANGHAI).moment == satellites
    exposed = xmp(UTCAtExposure="2026-06-01T04:05:06.789012")
    at_exposure = datetime(2026, 6, 1, 4, 5, 6, 789_012, tzinfo=UTC)
    assert only(still(gps, own, exposed), SHANGHAI).moment == at_exposure


@pytest.mark.parametrize("stated", ["0000:00:00 00:00:00", "2026:13:01 09:30:15", "", "yesterday"])
def test_an_impossible_time_is_no_time(stated: str) -> None:
    own: dict[int, Any] = {ExifTags.Base.DateTimeOriginal: stated}
    assert only(still(own=own), SHANGHAI).moment is None


@pytest.mark.parametrize(
    "change",
    [
        {ExifTags.GPS.GPSLatitude: (31.0, 61.0, 0.0)},
        {ExifTags.GPS.GPSLatitude: (31.0, 12.0, 60.0)},
        {ExifTags.GPS.GPSLatitude: (IFDRational(31, 0), 12.0, 1.0)},
        {ExifTags.GPS.GPSLatitude: (31.0, 12.0)},
        {ExifTags.GPS.GPSLatitudeRef: "X"},
        {ExifTags.GPS.GPSLatitudeRef: ""},
        {ExifTags.GPS.GPSLongitudeRef: "N"},
    ],
)
def test_a_position_that_is_not_whole_is_none(change: dict[int, Any]) -> None:
    with pytest.raises(BadTelemetry, match="states no position"):
        read_still(still({**HERE, **change}), "a.jpg", NOTHING)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (still({}, packet=b""), "states no position"),
        (still({**HERE, ExifTags.GPS.GPSLatitude: (91.0, 0.0, 0.0)}), "out of range: latitude"),
        (still({**HERE, ExifTags.GPS.GPSLatitude: (0.0,) * 3,
                ExifTags.GPS.GPSLongitude: (0.0,) * 3}), "no satellite fix"),
        (b"", "cannot be read"),
        (b"\xff\xd8\xff\xe1", "cannot be read"),
        (b"GIF89a" + bytes(100), "cannot be read"),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_still_without_a_usable_position_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadTelemetry, match=f"a.jpg: .*{reason}"):
        read_still(data, "a.jpg", NOTHING)


def test_a_picture_of_another_kind_is_refused_whatever_its_exif_says() -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(HERE)
    target = io.BytesIO()
    Image.new("RGB", (16, 9)).save(target, "PNG", exif=exif)
    with pytest.raises(BadTelemetry, match="cannot be read"):
        read_still(target.getvalue(), "a.jpg", NOTHING)


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>" * 5000,
        b"<a>" * 4000 + b"</a>" * 4000,
    ],
    ids=range(4),
)
def test_damaged_or_hostile_xmp_is_lost_alone(packet: bytes) -> None:
    found = read_still(still(packet=packet), "a.jpg", NOTHING)
    assert found.poses[0].latitude_deg == pytest.approx(31.2096022, abs=1e-6)
    assert found.poses[0].height_m is None
    assert [one.reason for one in found.refused] == ["XMP cannot be read"]


def test_a_picture_too_large_to_decode_still_says_where_it_was_taken() -> None:
    data = bytearray(still())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\x30\x00\x30\x00"  # 12,288 × 12,288: a warning of Pillow's
    assert only(bytes(data)).height_m == 39.8


def test_nobody_who_puts_a_function_in_the_place_of_pillows_own_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ultralytics does, and its own asks for packages that are not there."""
    data = still()
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("it was asked"))
    assert only(data).latitude_deg > 31
