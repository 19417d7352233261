"""DJI subtitles: every dialect that is known, and what is left of broken ones."""

import math
import tracemalloc
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.errors import BadTelemetry
from enforcement.flights import AircraftPose, TelemetryConventions
from feeds.telemetry import TelemetryLog, log, read_srt

NOTHING = TelemetryConventions()
SHANGHAI = TelemetryConventions(time_zone="Asia/Shanghai")


def cue(number: int, text: str, start: str = "", end: str = "") -> str:
    times = f"{start or f'00:00:{number - 1:02},000'} --> {end or f'00:00:{number:02},000'}"
    return f"{number}\n{times}\n{text}\n\n"


def read(text: str, conventions: TelemetryConventions = NOTHING) -> TelemetryLog:
    return read_srt(text.encode(), "patrol.SRT", conventions)


def only(text: str, conventions: TelemetryConventions = NOTHING) -> AircraftPose:
    found = read(cue(1, text), conventions)
    assert found.refused == ()
    (pose,) = found.poses
    return pose


BRACKETS = ("[iso : 100] [shutter : 1/80.0] [fnum : 280] [ev : 0] [color_md : default] "
            "[latitude: 31.123456] [longitude: 121.654321] ")  # fmt: skip


def test_bracketed_degrees_are_read_to_their_last_digit() -> None:
    pose = only(BRACKETS)
    assert (pose.latitude_deg, pose.longitude_deg) == (31.123456, 121.654321)
    assert pose.position_step_deg == pytest.approx(1e-6)


def test_longitude_may_be_misspelt_and_keys_may_have_spaces() -> None:
    pose = only("[latitude : -33.900001] [longtitude : 18.400002] [altitude : 120.1]")
    assert (pose.latitude_deg, pose.longitude_deg) == (-33.900001, 18.400002)


def test_heights_may_share_a_bracket_or_have_their_own() -> None:
    shared = only(BRACKETS + "[rel_alt: 60.300 abs_alt: 265.118]")
    own = only(BRACKETS + "[rel_alt: 60.300] [abs_alt: 265.118]")
    assert (shared.height_m, shared.altitude_m) == (own.height_m, own.altitude_m) == (60.3, 265.118)


def test_a_bare_altitude_counts_as_nothing_until_somebody_says_what_it_is() -> None:
    text = BRACKETS + "[altitude: 117.0]"
    unknown = only(text)
    assert (unknown.height_m, unknown.altitude_m, unknown.unnamed_altitude_m) == (None, None, 117.0)
    above_sea = only(text, TelemetryConventions(unnamed_altitude="above_sea"))
    assert (above_sea.altitude_m, above_sea.unnamed_altitude_m) == (117.0, None)
    above_ground = only(text, TelemetryConventions(unnamed_altitude="above_take_off"))
    assert (above_ground.height_m, above_ground.unnamed_altitude_m) == (117.0, None)


def test_gps_in_parentheses_is_longitude_then_latitude_then_satellites() -> None:
    pose = only(
        "HOME(21.0100,-32.5000) 2019.08.05 14:11:51\nGPS(21.0251,-32.2533,16) BAROMETER:1.9\n"
        "ISO:100 Shutter:60 EV: Fnum:2.2"
    )
    assert (pose.latitude_deg, pose.longitude_deg) == (-32.2533, 21.0251)
    assert pose.position_step_deg == pytest.approx(1e-4)
    assert (pose.height_m, pose.altitude_m) == (1.9, None)


def test_gps_with_metres_is_latitude_then_longitude() -> None:
    pose = only("2022.06.21 16:06:17\nGPS(36.6146,-6.1120,0.0M) BAROMETER:81.3M")
    assert (pose.latitude_deg, pose.longitude_deg) == (36.6146, -6.112)
    assert (pose.height_m, pose.altitude_m) == (81.3, None)


def test_a_latitude_beyond_the_pole_in_most_cues_turns_the_order_round() -> None:
    with_metres = "".join(cue(n, f"GPS(121.{n:04},31.2000,0.0M)") for n in range(1, 6))
    assert [pose.latitude_deg for pose in read(with_metres).poses] == [31.2] * 5
    without = "".join(cue(n, f"GPS(31.2000,121.{n:04},14)") for n in range(1, 6))
    assert [pose.latitude_deg for pose in read(without).poses] == [31.2] * 5


def test_one_broken_number_does_not_turn_the_order_of_the_others() -> None:
    found = read(cue(1, "GPS(36.1,-6.1,0.0M)") + cue(2, "GPS(136.1,-6.1,0.0M)")
                 + cue(3, "GPS(36.3,-6.1,0.0M)"))  # fmt: skip
    assert [pose.latitude_deg for pose in found.poses] == [36.1, 36.3]
    assert [(one.number, one.reason) for one in found.refused] == [
        (2, "out of range: latitude_deg")
    ]


def test_the_order_may_be_stated_for_an_aircraft() -> None:
    text = "GPS(36.6146,-6.1120,12)"
    by_hand = only(text, TelemetryConventions(gps_order="lat_lon"))
    assert (by_hand.latitude_deg, by_hand.longitude_deg) == (36.6146, -6.112)
    metres = only("GPS(36.6146,-6.1120,0.0M)", TelemetryConventions(gps_order="lon_lat"))
    assert (metres.latitude_deg, metres.longitude_deg) == (-6.112, 36.6146)


def test_older_heights_and_those_of_survey_aircraft_are_above_take_off() -> None:
    assert only("GPS(149.0251,-20.2533,16) Hb:1.9 Hs:2.5\nISO:100 TV:60").height_m == 1.9
    survey = only("F/5.6, SS 400, GPS (-59.409424, -34.650200, 16), HOME (-59.4, -34.6, 7.60m), "
                  "D 153.32m, H 17.39m, H.S 1.84m/s, V.S 0.00m/s, F.PRY (-8.9°, 2.9°, -75.0°), "
                  "G.PRY (-27.3°, 0.5°, -76.0°)")  # fmt: skip
    assert (survey.latitude_deg, survey.longitude_deg) == (-34.6502, -59.409424)
    assert survey.height_m == 17.39
    assert survey.heading_deg == -75.0
    assert survey.gimbal_pitch_deg == -27.3
    assert survey.gimbal_roll_deg == 0.5
    assert survey.gimbal_yaw_deg == -76.0


def test_gimbal_angles_may_stand_in_brackets() -> None:
    for prefix in ("gb", "gimbal"):
        pose = only(BRACKETS + f"[{prefix}_yaw: -30.1 {prefix}_pitch: -45.2 {prefix}_roll: 0.3]")
        angles = (pose.gimbal_yaw_deg, pose.gimbal_pitch_deg, pose.gimbal_roll_deg)
        assert angles == (-30.1, -45.2, 0.3)


def test_a_yaw_from_the_nose_is_turned_to_north_or_left_out() -> None:
    from_nose = TelemetryConventions(gimbal_yaw="from_nose")
    text = "GPS (121.5, 31.2, 16), F.PRY (0.0°, 0.0°, 170.0°), G.PRY (-27.3°, 0.0°, 20.0°)"
    assert only(text, from_nose).gimbal_yaw_deg == -170.0
    assert only(BRACKETS + "[gb_yaw: 20.0 gb_pitch: -45.0]", from_nose).gimbal_yaw_deg is None


@pytest.mark.parametrize(
    ("text", "focal_mm"),
    [("[focal_len : 240]", 24.0), ("[focal_len: 24.00]", 24.0), ("[focal_len : 24]", 24.0),
     ("[focal_len: 166.00]", 166.0), ("[focal_len : 280] [dzoom_ratio: 20000, delta:0]", 56.0),
     ("[focal_len: 24.00] [dzoom_ratio: 1.50]", 36.0), ("[focal_len : 0]", None)],
)  # fmt: skip
def test_focal_lengths_come_in_millimetres_or_tenths(text: str, focal_mm: float | None) -> None:
    assert only(BRACKETS + text).focal_length_35mm_mm == focal_mm


@pytest.mark.parametrize(
    ("stated", "utc"),
    [
        ("2022-08-07 13:40:40,774,808", datetime(2022, 8, 7, 5, 40, 40, 774808, tzinfo=UTC)),
        ("2022-08-07 13:40:40.812", datetime(2022, 8, 7, 5, 40, 40, 812000, tzinfo=UTC)),
        ("2022-08-07 13:40:40,81", datetime(2022, 8, 7, 5, 40, 40, 810000, tzinfo=UTC)),
        ("2017.8.5 04:11:51", datetime(2017, 8, 4, 20, 11, 51, tzinfo=UTC)),
        ("HOME(1.0,2.0) 2017.08.05 14:11:51", datetime(2017, 8, 5, 6, 11, 51, tzinfo=UTC)),
    ],
)
def test_local_times_become_utc_in_the_configured_zone(stated: str, utc: datetime) -> None:
    assert only(f"{stated}\n{BRACKETS}", SHANGHAI).moment == utc


def test_without_a_configured_zone_no_time_is_guessed() -> None:
    found = read(cue(1, f"2022-08-07 13:40:40,774,808\n{BRACKETS}") + cue(2, BRACKETS))
    assert [pose.moment for pose in found.poses] == [None, None]
    assert found.undated == 1


def test_an_hour_that_the_clock_shows_twice_or_never_is_no_time() -> None:
    berlin = TelemetryConventions(time_zone="Europe/Berlin")
    for stated in ("2026-10-25 02:30:00", "2026-03-29 02:30:00"):
        found = read(cue(1, f"{stated}\n{BRACKETS}"), berlin)
        assert found.poses[0].moment is None
        assert found.undated == 1
    early = only(f"2026-10-25 01:30:00\n{BRACKETS}", berlin)
    assert early.moment == datetime(2026, 10, 24, 23, 30, tzinfo=UTC)


def test_times_in_the_footage_are_where_cues_begin() -> None:
    found = read(cue(1, BRACKETS, "00:00:00,033", "00:00:00,066")
                 + cue(2, BRACKETS, "01:02:03.5", "01:02:60,000"))  # fmt: skip
    assert [pose.t_s for pose in found.poses] == [0.033, 3723.5]


def test_poses_stand_in_order_of_their_time() -> None:
    found = read(cue(5, BRACKETS) + cue(2, BRACKETS) + cue(3, BRACKETS))
    assert [pose.t_s for pose in found.poses] == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_byte_order_marks_encodings_and_line_ends_do_not_matter(
    encoding: str, newline: str
) -> None:
    text = cue(1, "GPS (121.5, 31.2, 16), G.PRY (-27.3°, 0.0°, -76.0°)") + cue(2, BRACKETS)
    found = read_srt(text.replace("\n", newline).encode(encoding), "a.srt", NOTHING)
    assert len(found.poses) == 2
    assert found.poses[0].gimbal_pitch_deg == -27.3
    assert found.refused == ()


def test_one_file_may_change_its_dialect_from_cue_to_cue() -> None:
    found = read(
        cue(1, "F/5.6, GPS (-59.409424, -34.650200, 16), H 17.39m")
        + cue(2, "[latitude : -34.651180] [longtitude : -59.409483] [altitude: 120.1]")
        + cue(3, "GPS(-34.650300,-59.409500,0.0M) BAROMETER:2.0M")
    )
    assert [pose.latitude_deg for pose in found.poses] == [-34.6502, -34.65118, -34.6503]
    assert [pose.longitude_deg for pose in found.poses] == [-59.409424, -59.409483, -59.4095]


places = st.tuples(
    st.integers(-90_000_000, 90_000_000), st.integers(-180_000_000, 180_000_000)
).filter(lambda place: place != (0, 0))  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(places, min_size=1, max_size=8),
    st.sampled_from(
        [
            "[latitude: {0:.6f}] [longitude: {1:.6f}] [rel_alt: 1.0 abs_alt: 2.0]",
            "[latitude : {0:.6f}] [longtitude : {1:.6f}] [altitude: 1.0]",
            "F/2.8, SS 30.15, GPS ({1:.6f}, {0:.6f}, 17), D 221.21m, H 200.70m",
            "HOME(1.0,2.0) 2017.08.05 14:11:51\nGPS({1:.6f},{0:.6f},16) BAROMETER:1.9",
        ]
    ),
)
def test_every_place_on_earth_comes_back_in_every_dialect(
    places_e6: list[tuple[int, int]], dialect: str
) -> None:
    degrees = [(latitude / 1e6, longitude / 1e6) for latitude, longitude in places_e6]
    found = read("".join(cue(n, dialect.format(*one)) for n, one in enumerate(degrees, start=1)))
    assert found.refused == ()
    for pose, (latitude, longitude) in zip(found.poses, degrees, strict=True):
        assert abs(pose.latitude_deg - latitude) < 1e-6
        assert abs(pose.longitude_deg - longitude) < 1e-6


GOOD = "[latitude: 31.1] [longitude: 121.1]"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (cue(2, "GPS(N/A,N/A,5) BAROMETER:0.0"), "position N/A: no satellite fix"),
        (cue(2, "[latitude: 0.000000] [longitude: 0.000000]"), "position 0, 0: no satellite fix"),
        (cue(2, "F/2.8, SS 30.15, ISO 260"), "states no position"),
        (cue(2, ""), "states no position"),
        (cue(2, "[latitude: 31.12] [longitude: "), "position not readable"),
        (cue(2, "[latitude: 31.12] [longitude: 121.12"), "position not readable"),
        (cue(2, "[latitude: 31.1.2] [longitude: 121.1]"), "position not readable"),
        (cue(2, "[latitude: 3x.12] [longitude: 121.1]"), "position not readable"),
        (cue(2, "[latitude: ٣١.1] [longitude: 121.1]"), "position not readable"),
        (cue(2, "[latitude: 1e1] [longitude: 121.1]"), "position not readable"),
        (cue(2, "[latitude: nan] [longitude: 121.1]"), "position not readable"),
        (cue(2, "GPS (121.1, 31.1"), "position not readable"),
        (cue(2, "GPS()"), "position not readable"),
        (cue(2, "[latitude: 91.0] [longitude: 121.1]"), "out of range: latitude_deg"),
        (cue(2, "[latitude: 31.0] [longitude: 181.1]"), "out of range: longitude_deg"),
        (cue(2, GOOD + "[rel_alt: 99999.0]"), "out of range: height_m"),
        (cue(2, GOOD + "[latitude: 31.2]"), "states several positions"),
        (cue(2, GOOD + "\nGPS(121.3,31.1,5)"), "states several positions"),
        (cue(2, "2026-13-45 10:00:00\n" + GOOD), "states an impossible time"),
        (cue(2, GOOD, start="00:00:xx,000"), "no readable cue times"),
        (cue(2, GOOD, start="00:99:00,000", end="00:99:01,000"), "no readable cue times"),
        (cue(2, GOOD, start="00:00:09,000", end="00:00:08,000"), "the cue ends before it begins"),
        ("2\n" + GOOD + "\n\n", "no readable cue times"),
        ("2\n\n", "no readable cue times"),
    ],
)
def test_a_broken_cue_is_lost_alone_and_says_why(broken: str, reason: str) -> None:
    found = read(cue(1, GOOD) + broken + cue(3, "[latitude: 31.3] [longitude: 121.3]"))
    assert [pose.latitude_deg for pose in found.poses] == [31.1, 31.3]
    assert [(one.number, one.reason) for one in found.refused] == [(2, reason)]


def test_reasons_are_counted_the_most_frequent_first() -> None:
    found = read(
        cue(1, "F/2.8") + cue(2, "GPS(N/A,N/A,5)") + cue(3, GOOD) + cue(4, "GPS(N/A,N/A,5)")
    )
    assert list(found.reasons.items()) == [
        ("position N/A: no satellite fix", 2), ("states no position", 1),
    ]  # fmt: skip


def test_cues_without_blank_lines_between_them_stay_apart() -> None:
    text = "".join(cue(n, f"[latitude: 31.{n}] [longitude: 121.1]") for n in (1, 2, 3))
    found = read(text.replace("\n\n", "\n"))
    assert [pose.latitude_deg for pose in found.poses] == [31.1, 31.2, 31.3]
    assert found.refused == ()


def test_text_before_any_times_belongs_to_no_cue() -> None:
    orphan = "[latitude: 31.9] [longitude: 121.9]\n"
    found = read(orphan + "00:00:00,000 --> 00:00:01,000\n" + GOOD + "\n")
    assert [pose.latitude_deg for pose in found.poses] == [31.1]
    assert [one.reason for one in found.refused] == ["no readable cue times"]


def test_a_number_inside_a_cue_does_not_begin_another() -> None:
    assert only("42\n" + GOOD).latitude_deg == 31.1


def test_the_coarser_of_the_two_numbers_decides_how_fine_a_position_is() -> None:
    for text in ("[latitude: 31.123456] [longitude: 121.65]", "GPS(121.654321,31.12,9)"):
        assert only(text).position_step_deg == pytest.approx(1e-2)


def test_a_height_in_brackets_goes_before_one_beside_them() -> None:
    assert only("BAROMETER:1.9 " + GOOD + "[rel_alt: 60.0]").height_m == 60.0


def test_a_file_cut_off_in_the_middle_loses_its_last_cue_only() -> None:
    text = "".join(cue(n, f"[latitude: 31.{n}] [longitude: 121.1]") for n in (1, 2, 3))
    found = read(text[: text.rindex("121")])
    assert len(found.poses) == 2
    assert [one.reason for one in found.refused] == ["position not readable"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no subtitle"),
        (b"\n \n\xef\xbb\xbf\n", "holds no subtitle"),
        (cue(1, "F/2.8, SS 30.15").encode() * 3, r"states no position \(3×\)"),
        (cue(1, "GPS(N/A,N/A,0)").encode(), "no satellite fix"),
        (b"\x00\xff\xd8 not a subtitle", "no readable cue times"),
    ],
)
def test_a_file_without_any_position_is_refused_as_a_whole(data: bytes, reason: str) -> None:
    with pytest.raises(BadTelemetry, match=f"patrol.SRT: .*{reason}"):
        read_srt(data, "patrol.SRT", NOTHING)


def test_no_more_cues_are_kept_than_a_flight_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_CUES", 40)
    found = read("".join(cue(1, GOOD if n % 2 else "") for n in range(100)))
    assert len(found.poses) + len(found.refused) == 40


def test_a_line_without_an_end_takes_no_memory_of_its_own() -> None:
    data = b"[latitude: " * 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BadTelemetry):
            read_srt(data, "long.srt", NOTHING)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(data) / 10


def test_a_cue_starts_in_the_footage_at_a_finite_time() -> None:
    found = read(cue(1, GOOD, "999:59:59,999", "999:60:60,999"))
    assert math.isfinite(found.poses[0].t_s or math.nan)
