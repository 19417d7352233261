"""MQTT: messages of a broker, acknowledged only once they are kept.

The broker keeps our session (fixed client id, no clean start, QoS 1): what it sent and we did not
acknowledge, or what came while we were away, it sends again. So nothing is lost, and some things
come twice; readings are told apart later by device, quantity and time.
"""

import logging
import random
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from enforcement.errors import ConfigurationError
from enforcement.places import MqttSource
from feeds.messages import DEFAULT_LIMITS, Batcher, BatchLimits, Keep, Message

_LOG = logging.getLogger("sightline.collect")

_SESSION_S = 30 * 86400
"""How long the broker is asked to keep our session while we are away (MQTT 5)."""

_ANSWER_S = 10.0
"""A broker that does not answer our CONNECT within this is tried again."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 5.0
_LOOK_EVERY_S = 0.1


class _Receipt(NamedTuple):
    """What acknowledges a message: its number, valid within the connection it came by.

    A broker may number the next connection's messages from 1 again: a late receipt would then
    acknowledge another message, which nobody has kept.
    """

    client: paho.Client
    mid: int
    qos: int


class MqttListener:
    """Listens to the topics of one feed.

    ``environ`` holds user and password under the names that the source gives. Raises
    ConfigurationError if one is missing or the certificate authority can't be loaded.
    """

    def __init__(
        self,
        feed_id: str,
        source: MqttSource,
        keep: Keep,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        limits: BatchLimits = DEFAULT_LIMITS,
    ) -> None:
        self._feed_id, self._source, self._keep, self._clock = feed_id, source, keep, clock
        self._limits = limits
        self._environ = environ
        self._five = source.protocol != "3.1.1"
        self._client = self._made()
        """One client for one connection."""
        self._answered, self._lost = threading.Event(), threading.Event()
        self._welcomed = self._subscribed = False
        self._batcher: Batcher[_Receipt] | None = None
        self._problem = ""
        """Why nothing comes; empty while connected and subscribed."""

    @property
    def problem(self) -> str:
        """Why nothing can come, or be kept, at present; empty while all is well."""
        return self._problem or (self._batcher.problem if self._batcher is not None else "")

    def run(self, stop: threading.Event) -> None:
        """Listen until told to stop; then keep and acknowledge what has come, and hang up."""
        batcher = self._batcher = Batcher(
            self._feed_id, self._keep, self._acknowledge, self._limits
        )
        wait_s = _FIRST_WAIT_S
        try:
            while not stop.is_set():
                if self._connected():
                    wait_s = _FIRST_WAIT_S
                    while not self._lost.wait(_LOOK_EVERY_S) and not stop.is_set():
                        batcher.check()
                if not stop.is_set():
                    self._client.loop_stop()
                    _LOG.warning("feed %s: %s", self._feed_id, self._problem)
                    # Many collectors must not come back in the same instant.
                    stop.wait(random.uniform(0.5, 1.0) * wait_s)  # noqa: S311
                    wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
        finally:
            try:
                batcher.close()
            finally:
                self._client.disconnect()
                self._client.loop_stop()

    def _made(self) -> paho.Client:
        source, five = self._source, self._five
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            source.session_of(self._feed_id),
            clean_session=None if five else False,
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if source.user_variable is not None:
            password = source.password_variable and self._secret(source.password_variable)
            client.username_pw_set(self._secret(source.user_variable), password)
        if source.tls:
            try:
                client.tls_set(source.ca_file, cert_reqs=ssl.CERT_REQUIRED)
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"feed {self._feed_id}: the certificate authority {source.ca_file} cannot be"
                    " loaded"
                ) from error
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _secret(self, variable: str) -> str:
        if variable not in self._environ:
            raise ConfigurationError(
                f"feed {self._feed_id} needs the environment variable {variable}"
            )
        return self._environ[variable]

    @property
    def _window(self) -> int:
        """Messages that may be under way: less than the batcher has room for."""
        return min(65_535, self._limits.messages * (self._limits.waiting - 1))

    def _connected(self) -> bool:
        """Connect and wait for the broker's answer; ``problem`` says why it failed."""
        source = self._source
        self._problem = ""
        self._client = self._made()
        self._welcomed = self._subscribed = False
        self._answered.clear()
        self._lost.clear()
        properties = None
        if self._five:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S
            properties.ReceiveMaximum = self._window
        try:
            self._client.connect(
                source.host,
                source.port,
                source.keepalive_s,
                clean_start=False if properties else paho.MQTT_CLEAN_START_FIRST_ONLY,
                properties=properties,
            )
        except (OSError, ValueError) as error:
            self._problem = f"the broker {self._address} cannot be reached ({_reason(error)})"
            return False
        self._client.loop_start()
        if not self._answered.wait(_ANSWER_S):
            self._problem = f"the broker {self._address} does not answer"
        if not self._welcomed and source.protocol == "auto":
            # A broker that speaks 3.1.1 only may just hang up on a client that speaks 5.
            self._five = not self._five
        return self._subscribed

    @property
    def _address(self) -> str:
        return f"{self._source.host}:{self._source.port}"

    def _on_connect(
        self,
        client: paho.Client,
        _: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._welcomed = not reason.is_failure
        if reason.is_failure:
            self._problem = f"the broker {self._address} refuses us: {reason}"
            self._answered.set()
            return
        if self._five:
            # Kept messages are sent at the first subscription, not at every return.
            options = SubscribeOptions(qos=1, retainHandling=1)
            client.subscribe([(topic, options) for topic in self._source.topics])
        else:
            client.subscribe([(topic, 1) for topic in self._source.topics])

    def _on_subscribe(
        self,
        client: paho.Client,
        _: object,
        mid: int,
        reasons: Sequence[ReasonCode],
        properties: Properties | None,
    ) -> None:
        refused = [
            topic
            for topic, reason in zip(self._source.topics, reasons, strict=False)
            if reason.is_failure
        ]
        self._problem = (
            f"the broker {self._address} refuses the topics {', '.join(refused)}" if refused else ""
        )
        # Some are better than none; whoever looks after the feed is told of the others.
        self._subscribed = len(refused) < len(self._source.topics)
        self._answered.set()

    def _on_disconnect(
        self,
        client: paho.Client,
        _: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._problem = self._problem or f"the broker {self._address} hung up: {reason}"
        self._answered.set()
        self._lost.set()

    def _on_message(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = "\ufffd"
        kept = Message(self._clock(), bytes(message.payload), topic)
        receipt = _Receipt(client, message.mid, message.qos)
        if self._batcher is not None:
            # Not taken while closing: it stays unacknowledged and comes again.
            self._batcher.add(kept, receipt)

    def _acknowledge(self, receipts: Sequence[_Receipt]) -> None:
        for client, mid, qos in receipts:
            client.ack(mid, qos)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "strerror", None) or type(error).__name__
