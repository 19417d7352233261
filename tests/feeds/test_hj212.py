"""HJ 212 packets are read out of whatever a connection brings, and everything else is counted."""

import itertools
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.errors import BadFootage
from feeds.hj212 import (
    Packet,
    PacketParser,
    Reassembler,
    Refusal,
    acknowledgement,
    checksum,
    framed,
    packet_of,
    text_of,
)

REQUEST = (
    b"##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
    b"CP=&&RtdInterval=30&&1C80\r\n"
)
WATER = (
    b"##0178ST=32;CN=2011;PW=123456;MN=0873HHMZWSLH02;CP=&&DataTime=20160103133030;"
    b"060-Rtd=3.0943,060-Flag=N;011-Rtd=18.0412,011-Flag=N;001-Rtd=8.2137,001-Flag=N;"
    b"B01-Rtd=10.9890,B01-Flag=N&&A9C1\r\n"
)
AIR = (
    b"##0285QN=20190925181031464;ST=22;CN=2061;PW=BF470F88957588DE902D1A52;MN=Z13401000010301;"
    b"Flag=5;CP=&&DataTime=20190924220000;a34006-Avg=2.69700,a34006-Flag=N;a34007-Avg=7.96600,"
    b"a34007-Flag=N;a34048-Avg=3.30600,a34048-Flag=N;a34047-Avg=7.35700,a34047-Flag=N;"
    b"a34049-Avg=10.66300,a34049-Flag=N&&C181\r\n"
)
VALID = (REQUEST, WATER, AIR)


def parsed(stream: bytes, piece: int = 10**9) -> tuple[list[Packet], Counter[Refusal]]:
    parser = PacketParser()
    packets = []
    for start in range(0, len(stream), piece):
        packets += parser.feed(stream[start : start + piece])
    parser.end()
    return packets, parser.refused


def data(content: bytes = b"a=1", **fields: object) -> bytes:
    header = {
        "QN": "20260801085857223",
        "ST": 32,
        "CN": 2011,
        "PW": "123456",
        "MN": "A1",
        "Flag": 4,
    }
    header |= fields
    text = ";".join(f"{key}={value}" for key, value in header.items() if value is not None)
    return text.encode() + b";CP=&&" + content + b"&&"


def packet(content: bytes = b"a=1", **fields: object) -> bytes:
    return framed(data(content, **fields))


def only(stream: bytes) -> Packet:
    (one,), refused = parsed(stream)
    assert refused.total() == 0
    return one


@pytest.mark.parametrize("piece", [10**9, 1, 2, 3, 7, 100])
def test_valid_packets_are_read_however_they_are_cut(piece: int) -> None:
    packets, refused = parsed(b"".join(VALID), piece)
    assert [one.raw for one in packets] == list(VALID)
    assert refused.total() == 0


def test_what_a_packet_says() -> None:
    water, air = only(WATER), only(AIR)
    assert (water.mn, water.cn, water.st) == ("0873HHMZWSLH02", "2011", "32")
    assert (water.qn, water.sent_at, water.flag) == (None, None, None)
    assert water.data_time == datetime(2016, 1, 3, 5, 30, 30, tzinfo=UTC), "told in China's time"
    assert water.factors["060"] == {"Rtd": "3.0943", "Flag": "N"}
    assert list(water.factors) == ["060", "011", "001", "B01"]
    assert water.parameters == {"DataTime": "20160103133030"}
    assert air.sent_at == datetime(2019, 9, 25, 10, 10, 31, 464000, tzinfo=UTC)
    assert air.factors["a34049"] == {"Avg": "10.66300", "Flag": "N"}
    assert only(REQUEST).parameters == {"RtdInterval": "30"}
    assert only(REQUEST).factors == {}


def test_a_factor_keeps_all_its_aspects() -> None:
    one = only(
        packet(b"DataTime=20260801000000;w01018-Min=1,w01018-Max=3,w01018-Avg=2,w01018-Flag=T")
    )
    assert one.factors == {"w01018": {"Min": "1", "Max": "3", "Avg": "2", "Flag": "T"}}


def test_acknowledgements_are_built_where_they_are_asked_for() -> None:
    assert [only(one).wants_acknowledgement for one in VALID] == [True, False, True]
    answer = acknowledgement(only(AIR))
    assert answer == framed(
        b"QN=20190925181031464;ST=91;CN=9014;PW=BF470F88957588DE902D1A52;MN=Z13401000010301;"
        b"Flag=4;CP=&&&&"
    )
    assert only(answer).cn == "9014"
    assert not only(answer).wants_acknowledgement
    assert not only(packet(QN=None, Flag=5)).wants_acknowledgement, "nothing to refer to"


def test_the_checksum_is_the_standards_own_and_may_be_in_lower_case() -> None:
    assert checksum(REQUEST[6:-6]) == b"1C80"
    assert only(REQUEST.replace(b"1C80", b"1c80")).mn == "010000A8900016F000169DC0"


def test_only_digits_make_a_checksum() -> None:
    """Python would read ``+80C`` or ``0_80`` as a number."""
    one = next(p for n in range(1000) if (p := packet(b"a=%d" % n))[-6:-5] == b"0")
    assert only(one).mn == "A1"
    packets, refused = parsed(one[:-6] + b"+" + one[-5:])
    assert (packets, refused) == ([], {Refusal.CHECKSUM: 1})


def test_a_line_without_end_takes_no_memory() -> None:
    parser = PacketParser()
    for _ in range(100):
        assert parser.feed(b"x" * 65536) == []
    assert len(parser._tail) < 2000
    parser.end()
    assert parser.refused == {Refusal.NOISE: 1}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"noise\r\n" + WATER, {Refusal.NOISE: 1}),
        (b"noise" + WATER, {Refusal.NOISE: 1}),
        (b"\xff\x00#\r\n\r\n\r\n#" + WATER + b"noise\r\n", {Refusal.NOISE: 3}),
        (b"\r\n\0\r\n  \r\n" + WATER, {}),
        (WATER + b"the end", {Refusal.NOISE: 1}),
        (WATER.replace(b"A9C1", b"A9C0") + WATER, {Refusal.CHECKSUM: 1}),
        (WATER.replace(b"3.0943", b"3.0944") + WATER, {Refusal.CHECKSUM: 1}),
        (WATER.replace(b"A9C1", b"+A9C") + WATER, {Refusal.CHECKSUM: 1}),
        (WATER.replace(b"##0178", b"##0177") + WATER, {Refusal.LENGTH: 1}),
        (WATER.replace(b"##0178", b"##0999") + WATER, {Refusal.LENGTH: 1}),
        (WATER.replace(b"3.0943", b"3.094") + WATER, {Refusal.LENGTH: 1}),
        (WATER[:50] + WATER, {Refusal.LENGTH: 1}),
        (WATER[:50] + b"\r\n" + WATER, {Refusal.LENGTH: 1}),
        (WATER[:50] + WATER[:70] + WATER, {Refusal.LENGTH: 2}),
        (WATER + WATER[:50], {Refusal.LENGTH: 1}),
        (WATER.replace(b"##0178", b"##017x") + WATER, {Refusal.NOISE: 1}),
        (b"##1025" + b"x" * 1025 + checksum(b"x" * 1025) + b"\r\n" + WATER, {Refusal.LENGTH: 1}),
        (b"x" * 100_000 + b"\r\n" + WATER, {Refusal.NOISE: 1}),
        (b"x" * 100_000 + WATER, {Refusal.NOISE: 1}),
        (b"##0178" + b"x" * 100_000 + WATER, {Refusal.LENGTH: 1}),
        (WATER[:170] * 20 + WATER, {Refusal.LENGTH: 20}),
        (WATER + WATER[:170] * 20, {Refusal.LENGTH: 20}),
        (framed(b"x" * 30) + WATER, {Refusal.FORM: 1}),
        (b"".join(VALID[:2]) + b"noise\r\n" + WATER.replace(b"A9C1", b"0000"),
         {Refusal.NOISE: 1, Refusal.CHECKSUM: 1}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [10**9, 1, 13])
def test_after_anything_else_the_next_packet_is_read_and_the_rest_is_counted(
    stream: bytes, expected: dict[Refusal, int], piece: int
) -> None:
    packets, refused = parsed(stream, piece)
    assert WATER in [one.raw for one in packets]
    assert len(packets) == (2 if REQUEST in stream else 1)
    assert dict(refused) == expected


@pytest.mark.parametrize(
    "broken",
    [
        data(more=1).replace(b"more=1", b"more"),
        data(more=1).replace(b"more=1", b"MN=A2"),
        data(MN=None),
        data(MN=""),
        data(MN="A 1"),
        data(MN="A" * 33),
        data(PW="x" * 129),
        data(CN=None),
        data(CN="201"),
        data(CN="２０１１"),
        data(ST="322"),
        data(QN="2026080108585722"),
        data(QN="20261301085857223"),
        data(QN="2026080108585722x"),
        data(Flag="five"),
        data(Flag="-1"),
        data(Flag=6, PNUM=3, PNO=4),
        data(Flag=6, PNUM=3, PNO=0),
        data(Flag=6, PNUM=3),
        data().replace(b"CP=&&", b"CP=&"),
        data()[:-1],
        data().replace(b"CN=2011", b"CN2011"),
        b"",
        b"\xff\xfe",
    ],
)
def test_a_checksum_that_is_right_by_chance_is_not_enough(broken: bytes) -> None:
    packets, refused = parsed(framed(broken) + WATER)
    assert len(packets) == 1
    assert refused == {Refusal.FORM: 1}


def test_one_corruption_in_256_passes_the_checksum() -> None:
    """Hence the form is checked as well; this holds the fact that the whole design leans on."""
    chance = random.Random(5)
    passed = sum(checksum(chance.randbytes(40)) == checksum(b"x" * 40) for _ in range(25_600))
    assert 60 < passed < 150


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
@pytest.mark.parametrize(
    "text", ["联通", "危", "一", "化学需氧量超标；请检查", "无量纲", "温度℃", "正常N"]
)
def test_chinese_is_read_in_both_encodings(text: str, encoding: str) -> None:
    one = only(packet(f"DataTime=20260801000000;i11001-Info={text}".encode(encoding)))
    assert one.factors == {"i11001": {"Info": text}}
    assert one.data_time == datetime(2026, 7, 31, 16, 0, tzinfo=UTC)


@pytest.mark.parametrize("unit", ["µg/m³", "μg/m³", "°C", "±1"])
def test_units_are_not_taken_for_chinese(unit: str) -> None:
    assert text_of(unit.encode()) == unit


def test_bytes_in_no_encoding_cost_only_their_own_value() -> None:
    one = only(packet(b"a-Rtd=\xff\xff,a-Flag=N;b-Rtd=2"))
    assert one.factors["a"]["Flag"] == "N"
    assert one.factors["b"] == {"Rtd": "2"}
    assert "\ufffd" in one.factors["a"]["Rtd"]


@pytest.mark.parametrize("stamp", ["20261332000000", "2026", "", "20260801000000000x", "２" * 14])
def test_a_time_that_is_none_is_none(stamp: str) -> None:
    one = only(packet(f"DataTime={stamp};a-Rtd=1".encode()))
    assert one.data_time is None
    assert one.factors == {"a": {"Rtd": "1"}}


CONTENT = "DataTime=20260801000000;a-Rtd=1.25,a-Flag=N;b-Rtd=2,b-Info=化学".encode("gbk")


@given(
    cuts=st.sets(st.integers(1, len(CONTENT) - 1), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_a_packet_split_anywhere_is_put_together_again(
    cuts: set[int], order: random.Random
) -> None:
    edges = [0, *sorted(cuts), len(CONTENT)]
    pieces = [CONTENT[a:b] for a, b in itertools.pairwise(edges)]
    parts = [
        only(packet(piece, Flag=6, PNUM=len(pieces), PNO=number))
        for number, piece in enumerate(pieces, 1)
    ]
    assert all(one.is_part for one in parts)
    order.shuffle(parts)
    reassembler = Reassembler()
    answers = [reassembler.add(part) for part in [parts[0], *parts]]
    assert answers[:-1] == [None] * len(parts)
    whole = answers[-1]
    assert whole is not None
    assert whole.content == CONTENT
    assert not whole.is_part
    assert packet_of(whole.raw) == whole


def test_parts_that_end_with_a_value_are_joined_as_two_values() -> None:
    first = only(packet(b"DataTime=20260801000000;a-Rtd=1", Flag=6, PNUM=2, PNO=1))
    second = only(packet(b"b-Rtd=2", Flag=6, PNUM=2, PNO=2))
    whole = packet_of(first.raw + second.raw)
    assert whole.factors == {"a": {"Rtd": "1"}, "b": {"Rtd": "2"}}
    assert packet_of(second.raw) == second, "a part alone is read as such"


def test_parts_of_different_packets_are_kept_apart_and_bounded() -> None:
    reassembler = Reassembler(most=2)
    for second in range(4):
        part = only(packet(Flag=6, PNUM=2, PNO=1, QN=f"202608010858{second:02}000"))
        assert reassembler.add(part) is None
    assert reassembler.given_up == 2
    late = only(packet(Flag=6, PNUM=2, PNO=2, QN="20260801085800000"))
    assert reassembler.add(late) is None, "its first part is gone"
    last = only(packet(Flag=6, PNUM=2, PNO=2, QN="20260801085803000"))
    assert reassembler.add(last) is not None


def test_a_station_that_never_completes_a_packet_takes_no_memory() -> None:
    reassembler = Reassembler(most=20)
    for number in range(1, 500):
        part = only(packet(Flag=6, PNUM=9999, PNO=number))
        assert reassembler.add(part) is None
        assert reassembler.add(part) is None, "the same part again counts once"
        assert sum(map(len, reassembler._groups.values())) <= 20
    assert reassembler.given_up > 20


def test_a_packet_sent_again_has_the_same_key_and_others_have_not() -> None:
    assert only(AIR).key == ("Z13401000010301", "2061", "20190925181031464", 0)
    assert only(WATER).key == ("0873HHMZWSLH02", "2011", "20160103133030", 0)
    others = [packet(), packet(MN="B"), packet(CN=2051), packet(QN="20260801085857224")]
    others += [packet(Flag=6, PNUM=2, PNO=number) for number in (1, 2)]
    assert len({only(one).key for one in others}) == len(others)


def test_no_password_is_shown() -> None:
    assert "BF470F88957588DE902D1A52" not in repr(only(AIR))


@pytest.mark.parametrize("payload", [b"", b"noise", b"x\r\n", WATER[:-1], WATER + b"x\r\n"])
def test_a_message_that_is_no_packet_is_refused(payload: bytes) -> None:
    with pytest.raises(BadFootage):
        packet_of(payload)


def test_too_much_data_make_no_packet() -> None:
    with pytest.raises(ValueError, match="too long"):
        framed(b"x" * 1025)
    assert len(framed(b"x" * 1024)) == 1024 + 12


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([WATER, AIR, WATER[:-1] * 6, AIR[:99] * 15]),
            st.sampled_from([b"##", b"\r\n", b"##0178", b"#", b"0178"]),
            st.binary(max_size=20),
            st.builds(
                lambda one, at, byte: one[:at] + bytes([byte]) + one[at + 1 :],
                st.sampled_from(VALID), st.integers(0, 90), st.integers(0, 255),
            ),
        ),
        max_size=8,
    ),
    st.integers(1, 40),
)  # fmt: skip
def test_any_stream_gives_the_same_however_it_is_cut(parts: list[bytes], piece: int) -> None:
    stream = b"".join(parts)
    packets, refused = parsed(stream)
    assert parsed(stream, piece) == (packets, refused)
    for one in packets:
        assert one.raw in stream
        assert one.factors is not None
        assert one.data_time is None or one.data_time.tzinfo is UTC
