"""Telemetry by file: the synthetic ones always, the real ones where ``SIGHTLINE_SAMPLES`` names
the folder that holds them with their ``index.json``."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import feeds.telemetry
from enforcement.errors import BadTelemetry
from enforcement.flights import TelemetryConventions
from feeds.telemetry import TelemetryLog, read_telemetry
from tests.feeds import test_telemetry_fuzz as made

NOTHING = TelemetryConventions()


@pytest.mark.parametrize(
    ("name", "content", "poses"),
    [("A.SRT", made.SRT, 3), ("a.klv", made.PACKETS, 3), ("a.bin", made.PACKETS, 3),
     ("a.ts", made.STREAM, 10), ("a.JPG", made.STILL, 1), ("a.jpeg", made.STILL, 1)],
)  # fmt: skip
def test_a_file_is_read_by_its_ending(
    tmp_path: Path, name: str, content: bytes, poses: int
) -> None:
    (tmp_path / name).write_bytes(content)
    assert len(read_telemetry(tmp_path / name, NOTHING).poses) == poses


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(made.SRT)
    with pytest.raises(BadTelemetry, match=r"nobody here reads telemetry from a '\.docx' file"):
        read_telemetry(tmp_path / "a.docx", NOTHING)


def test_a_file_that_is_not_there_is_refused_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.srt", "a.ts"):
        with pytest.raises(BadTelemetry, match=f"{name} cannot be read: No such file"):
            read_telemetry(tmp_path / name, NOTHING)


def test_a_file_too_large_for_memory_is_refused_unless_it_is_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds.telemetry, "LARGEST_FILE", 100)
    (tmp_path / "a.srt").write_bytes(made.SRT)
    with pytest.raises(BadTelemetry, match="larger than 100 bytes"):
        read_telemetry(tmp_path / "a.srt", NOTHING)
    (tmp_path / "a.ts").write_bytes(made.STREAM)
    assert read_telemetry(tmp_path / "a.ts", NOTHING).poses


@pytest.fixture(scope="module")
def samples() -> Path:
    folder = os.environ.get("SIGHTLINE_SAMPLES", "")
    if not folder:
        pytest.skip("SIGHTLINE_SAMPLES names no folder: no file of a real aircraft is read")
    return Path(folder)


def sample(samples: Path, name: str, **conventions: Any) -> TelemetryLog:
    path = samples / "telemetry" / name
    if not path.exists():
        pytest.skip(f"there is no {name} among the samples: that dialect is not checked on it")
    return read_telemetry(path, TelemetryConventions(**conventions))


def test_every_sample_is_read_or_refused_with_a_reason(samples: Path) -> None:
    telemetry = [
        entry for entry in json.loads((samples / "index.json").read_text("utf-8"))
        if entry["file"].startswith("telemetry/") or "gps" in entry.get("truth", {})
    ]  # fmt: skip
    assert telemetry
    for entry in telemetry:
        try:
            found = read_telemetry(samples / entry["file"], NOTHING)
        except BadTelemetry as refusal:
            assert len(str(refusal)) > 20  # noqa: PT017 - each must say why
            continue
        assert found.poses
        if gps := entry["truth"].get("gps"):
            (pose,) = found.poses
            assert (pose.latitude_deg, pose.longitude_deg) == pytest.approx(gps, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "poses", "latitude", "longitude", "height_m"),
    [
        ("air2s.srt", 17, 41.424724, 2.234156, None),
        ("mavic_air2.srt", 25, 41.420684, 2.162162, None),
        ("mavic_mini.SRT", 117, 48.0771, -121.7458, 200.7),
        ("mavic_pro.SRT", 468, -20.2533, 149.0251, 1.9),
        ("old_format.SRT", 468, -20.2533, 149.0251, 1.9),
        ("mix_p4rtk_mavic2pro.srt", 12, -34.6502, -59.409424, 17.39),
    ],
)
def test_each_dialect_among_the_samples_gives_every_position(
    samples: Path, name: str, poses: int, latitude: float, longitude: float, height_m: float | None
) -> None:
    found = sample(samples, name)
    assert (len(found.poses), found.refused) == (poses, ())
    first = found.poses[0]
    assert (first.latitude_deg, first.longitude_deg) == (latitude, longitude)
    assert first.height_m == height_m


def test_times_among_the_samples_are_right_in_their_zone(samples: Path) -> None:
    first = sample(samples, "air2s.srt", time_zone="Europe/Madrid").poses[0]
    assert first.moment == datetime(2022, 8, 7, 11, 40, 40, 774_808, tzinfo=UTC)
    assert sample(samples, "mavic_mini.SRT", time_zone="America/Los_Angeles").undated == 0
    assert sample(samples, "air2s.srt").undated == 17


def test_the_damaged_sample_loses_only_the_cues_without_a_fix(samples: Path) -> None:
    found = sample(samples, "mavic_pro_buggy.SRT")
    assert len(found.poses) == 530
    assert found.reasons == {"position N/A: no satellite fix": 16}


def test_the_empty_sample_is_refused(samples: Path) -> None:
    with pytest.raises(BadTelemetry, match="holds no subtitle"):
        sample(samples, "broken_empty.SRT")


def test_the_sample_packet_with_a_right_checksum_is_read(samples: Path) -> None:
    (pose,) = sample(samples, "DynamicOnlyMISMMSPacketData.bin").poses
    assert pose.moment == datetime(2009, 1, 12, 22, 8, 22, tzinfo=UTC)
    assert pose.latitude_deg == pytest.approx(60.176823, abs=1e-6)
    assert pose.longitude_deg == pytest.approx(128.426759, abs=1e-6)
    assert pose.altitude_m == pytest.approx(14190.7, abs=0.1)


def test_the_sample_packet_with_a_wrong_checksum_is_refused(samples: Path) -> None:
    with pytest.raises(BadTelemetry, match="checksum mismatch"):
        sample(samples, "DynamicConstantMISMMSPacketData.bin")


def test_the_sample_stream_gives_a_pose_a_second(samples: Path) -> None:
    found = sample(samples, "synth_st0601.ts")
    assert [pose.t_s for pose in found.poses] == [float(second) for second in range(11)]
    for second, pose in enumerate(found.poses):
        assert pose.latitude_deg == pytest.approx(31.2 + second * 1e-5, abs=1e-6)
        assert pose.longitude_deg == pytest.approx(121.4, abs=1e-6)
