"""HJ 212: the telegrams of China's pollutant monitoring stations (HJ 212-2017, HJ/T 212-2005).

A packet is ``##``, the length of its data in four digits, the data (at most 1024 bytes), a
checksum in four hexadecimal digits, CR LF. The data are a header of ``KEY=value`` pairs and the
content ``CP=&&…&&``. The checksum is the standard's own, not Modbus'; it takes only 256 values,
so one corruption in 256 passes it and the form of every packet is checked as well.

A packet carries the station's password: neither ``repr`` nor any error shows it.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

from enforcement.errors import BadFootage

CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")
"""The protocol's clock; it names no zone. No daylight saving since 1991."""

LONGEST_DATA = 1024
"""Bytes of data in one packet (HJ 212-2017, 6.3)."""

_FRAME = 2 + 4 + 4
"""Bytes of a packet beside its data, without CR LF."""
_LONGEST_LINE = _FRAME + LONGEST_DATA + 1
"""With a CR whose LF is yet to come."""
_HEAD, _HEAD_SIZE = re.compile(rb"(?=##[0-9]{4})"), 6

_LONGEST_PASSWORD = 128

_ACKNOWLEDGEMENT = "9014"
_SYSTEM_TYPE = "91"
"""ST of packets that go from the receiving computer to a station."""

_ACK_WANTED, _SPLIT, _VERSION = 0b01, 0b10, 0b1111_1100
"""Bits of Flag."""

_ST, _CN, _MN = (
    re.compile(r"\w{2}", re.A),
    re.compile(r"\d{4}", re.A),
    re.compile(r"[\w-]{1,32}", re.A),
)
_SHORT_NUMBER = re.compile(r"\d{1,4}", re.A)
_COMPLETE = re.compile(rb"[^;,=]+=[^;,]*")
_IN_UNITS = frozenset("µμ°²³·±×÷Ω")


def _steps() -> tuple[bytes, tuple[bytes, ...]]:
    checksums = []
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
        checksums.append(crc)
    return bytes(crc >> 8 for crc in checksums), tuple(b"%04X" % crc for crc in checksums)


_HIGH, _HEXADECIMAL = _steps()
"""By register, a byte: the high byte of the eight shifts' result, and the result as text."""


class Refusal(StrEnum):
    """Why bytes of a stream were not taken for a packet."""

    NOISE = "noise"
    """A line in which no packet begins."""
    LENGTH = "length"
    """It ends elsewhere than its length says, or is longer than the standard allows."""
    CHECKSUM = "checksum"
    FORM = "form"
    """Whole and with the right checksum, but no such data: the checksum passes 1 in 256."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet whose frame, checksum and form are right."""

    mn: str
    cn: str
    """Command: 2011 real-time, 2051 ten minutes, 2061 hour, 2031 day, …"""
    st: str
    qn: str | None
    """The request's number, its sending time to the millisecond as 17 digits."""
    flag: int | None
    """None: HJ/T 212-2005, which has none."""
    pnum: int | None
    pno: int | None
    password: str = field(repr=False)
    content: bytes = field(repr=False)
    """Between ``CP=&&`` and ``&&``."""
    raw: bytes = field(repr=False)
    """The packet exactly as received; of a split packet that is whole again, all its parts."""

    @property
    def wants_acknowledgement(self) -> bool:
        return self.qn is not None and bool((self.flag or 0) & _ACK_WANTED)

    @property
    def is_part(self) -> bool:
        """Whether it is one of several parts of a split packet."""
        return bool((self.flag or 0) & _SPLIT) and (self.pnum or 1) > 1

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The same for a packet that is sent again: MN, CN, QN or DataTime, PNO."""
        return self.mn, self.cn, self.qn or self.parameters.get("DataTime", ""), self.pno or 0

    @property
    def sent_at(self) -> datetime | None:
        """By the station's clock, aware UTC."""
        return _moment(self.qn) if self.qn else None

    @property
    def data_time(self) -> datetime | None:
        """Of what time the values are, aware UTC; None where that is missing or no time."""
        return _moment(self.parameters.get("DataTime", ""))

    @property
    def parameters(self) -> dict[str, str]:
        """What the content says that belongs to no factor, such as DataTime."""
        return {key: value for key, value in self._pairs() if "-" not in key}

    @property
    def factors(self) -> dict[str, dict[str, str]]:
        """What the content says about each monitored factor, as sent: by the station's code for
        it (``a34004``, ``011``) the aspects ``Rtd``, ``Avg``, ``Min``, ``Max``, ``Cou``, … and
        ``Flag``: N normal, F stopped, M maintenance, S set by hand, D broken, C calibration,
        T beyond the measuring range, B no connection."""
        found: dict[str, dict[str, str]] = {}
        for key, value in self._pairs():
            code, dash, aspect = key.rpartition("-")
            if dash:
                found.setdefault(code, {})[aspect] = value
        return found

    def _pairs(self) -> list[tuple[str, str]]:
        pairs = (pair.partition("=") for pair in text_of(self.content).replace(";", ",").split(","))
        return [(key.strip(), value.strip()) for key, equals, value in pairs if equals]


def checksum(data: bytes) -> bytes:
    """The checksum of the data as four upper-case hexadecimal digits (HJ 212-2017, annex A)."""
    # The register starts at 0xFFFF; of it only the high byte enters the next step.
    if not data:
        return b"FFFF"
    high, register = _HIGH, 0xFF ^ data[0]
    for byte in data[1:]:
        register = high[register] ^ byte
    return _HEXADECIMAL[register]


def framed(data: bytes) -> bytes:
    """Data as a packet. Raises ValueError if they are longer than a packet may be."""
    if len(data) > LONGEST_DATA:
        raise ValueError(f"{len(data)} bytes of data are too long for a packet")
    return b"##%04d%b%b\r\n" % (len(data), data, checksum(data))


def acknowledgement(packet: Packet) -> bytes:
    """The answer (CN=9014) that tells a station that its packet is kept."""
    version = (packet.flag or 0) & _VERSION
    return framed(
        f"QN={packet.qn};ST={_SYSTEM_TYPE};CN={_ACKNOWLEDGEMENT};PW={packet.password};"
        f"MN={packet.mn};Flag={version};CP=&&&&".encode()
    )


def text_of(content: bytes) -> str:
    """Content as text. The standard says ASCII; stations write Chinese in GBK or UTF-8.

    Bytes that are neither become U+FFFD, so that they cost only the value in which they stand.
    """
    if content.isascii():
        return content.decode("ascii")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("gb18030", "replace")
    # Some Chinese in GBK happens to be valid UTF-8, for letters that no station writes.
    beyond = {letter for letter in text if letter >= "\u0080"} - _IN_UNITS
    if max(beyond, default="\u0800") < "\u0800":
        return content.decode("gb18030", "replace")
    return text


class PacketParser:
    """Takes the bytes of one connection as they come and gives the packets in them.

    After anything that is no packet it goes on with the next one: a ``##`` from which the length
    leads exactly to a line's end.
    """

    def __init__(self) -> None:
        self._tail = b""
        self._broken, self._noisy = 0, False
        """What was seen in the part of the present line that is let go of already."""
        self.refused: Counter[Refusal] = Counter()
        """How many times bytes were refused, by reason."""

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that these bytes complete."""
        *lines, tail = (self._tail + data).split(b"\r\n")
        found = [packet for line in lines if (packet := self._packet(line)) is not None]
        # No more is kept than could still become a packet, however long a line grows.
        surplus = max(0, len(tail) - _LONGEST_LINE)
        self._pass_over(tail[: surplus + _HEAD_SIZE - 1] if surplus else b"")
        self._tail = tail[surplus:]
        return found

    def end(self) -> None:
        """The connection is closed: what is left of it is refused."""
        self._pass_over(self._tail)
        self._count()
        self._tail = b""

    def _packet(self, line: bytes) -> Packet | None:
        for head in _HEAD.finditer(line):
            start = head.start()
            size = int(line[start + 2 : start + _HEAD_SIZE])
            if size <= LONGEST_DATA and size + _FRAME == len(line) - start:
                self._pass_over(line[:start])
                self._count()
                return self._checked(line[start:])
        self._pass_over(line)
        self._count()
        return None

    def _pass_over(self, skipped: bytes) -> None:
        if skipped:
            self._broken += len(_HEAD.findall(skipped))
            self._noisy = self._noisy or bool(skipped.strip(b"\r\n\0 "))

    def _count(self) -> None:
        """Count what was passed over of this line: packets that were cut off, or else noise."""
        if self._broken:
            self.refused[Refusal.LENGTH] += self._broken
        elif self._noisy:
            self.refused[Refusal.NOISE] += 1
        self._broken, self._noisy = 0, False

    def _checked(self, frame: bytes) -> Packet | None:
        data = frame[6:-4]
        if frame[-4:].upper() != checksum(data):
            self.refused[Refusal.CHECKSUM] += 1
            return None
        packet = _parsed(data, frame + b"\r\n")
        if packet is None:
            self.refused[Refusal.FORM] += 1
        return packet


class Reassembler:
    """Puts split packets together again. Parts may come in any order and more than once."""

    def __init__(self, most: int = 1024) -> None:
        self._groups: OrderedDict[tuple[str, str, str, int], dict[int, Packet]] = OrderedDict()
        self._held, self._most = 0, most
        self.given_up = 0
        """Split packets that were let go of incomplete: more than ``most`` parts were waiting."""

    def add(self, packet: Packet) -> Packet | None:
        """The whole packet: a packet that is no part, or the one that this part completes."""
        if not packet.is_part or packet.pnum is None or packet.pno is None:
            return packet
        mn, cn, stamp, _ = packet.key
        key = mn, cn, stamp, packet.pnum
        parts = self._groups.setdefault(key, {})
        self._groups.move_to_end(key)
        self._held += packet.pno not in parts
        parts[packet.pno] = packet
        if len(parts) == packet.pnum:
            self._held -= len(self._groups.pop(key))
            return _joined([parts[number] for number in sorted(parts)])
        if self._held > self._most:
            self._held -= len(self._groups.popitem(last=False)[1])
            self.given_up += 1
        return None


def packet_of(payload: bytes) -> Packet:
    """The packet of one message of a capture: whole, or a part whose other parts are elsewhere.

    Raises BadFootage if the payload is no such packet.
    """
    parser, reassembler = PacketParser(), Reassembler()
    packets = parser.feed(payload)
    if not packets or parser.refused.total():
        raise BadFootage("the message is no HJ 212 packet")
    for packet in packets:
        whole = reassembler.add(packet)
    return whole or packets[-1]


def _parsed(data: bytes, raw: bytes) -> Packet | None:
    header, found, content = data.partition(b"CP=&&")
    if not found or not content.endswith(b"&&") or not header.isascii():
        return None
    pairs = [pair.partition("=") for pair in header.decode("ascii").removesuffix(";").split(";")]
    fields = {key: value for key, equals, value in pairs if equals}
    if len(fields) != len(pairs):
        return None
    mn, cn, st = fields.get("MN", ""), fields.get("CN", ""), fields.get("ST", "")
    if not (_MN.fullmatch(mn) and _CN.fullmatch(cn) and _ST.fullmatch(st)):
        return None
    # A password that long would not fit into the acknowledgement.
    if len(fields.get("PW", "")) > _LONGEST_PASSWORD:
        return None
    qn = fields.get("QN")
    if qn is not None and (len(qn) != 17 or _moment(qn) is None):
        return None
    try:
        flag, pnum, pno = (_small(fields.get(key)) for key in ("Flag", "PNUM", "PNO"))
    except ValueError:
        return None
    if (flag or 0) & _SPLIT and (pnum or 1) > 1 and not 1 <= (pno or 0) <= (pnum or 1):
        return None
    return Packet(mn, cn, st, qn, flag, pnum, pno, fields.get("PW", ""), content[:-2], raw)


def _small(text: str | None) -> int | None:
    if text is None:
        return None
    if not _SHORT_NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _moment(digits: str) -> datetime | None:
    """``YYYYMMDDhhmmss`` and perhaps milliseconds, in China, as aware UTC; None if it is none."""
    if len(digits) not in {14, 17} or not (digits.isascii() and digits.isdigit()):
        return None
    try:
        return datetime(
            int(digits[:4]),
            int(digits[4:6]),
            int(digits[6:8]),
            int(digits[8:10]),
            int(digits[10:12]),
            int(digits[12:14]),
            int(digits[14:] or 0) * 1000,
            tzinfo=CHINA,
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _joined(parts: Iterable[Packet]) -> Packet:
    """Parts in order as one packet. Most stations split between two values, some within one:
    a separator belongs in between only if both sides of the cut are complete."""
    first, *others = parts
    content, raw = first.content, first.raw
    for part in others:
        last_pair = re.split(rb"[;,]", content)[-1]
        next_pair = re.split(rb"[;,]", part.content)[0]
        apart = _COMPLETE.fullmatch(last_pair) and _COMPLETE.fullmatch(next_pair)
        content += (b";" if apart else b"") + part.content
        raw += part.raw
    return replace(first, content=content, raw=raw, pnum=None, pno=None)
