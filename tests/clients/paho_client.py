"""paho-mqtt against a broker on loopback: paho_client.py PORT"""

import queue
import resource
import selectors
import socket
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}
passed = 0


class Client:
    """A client whose events can be waited for."""

    def __init__(self, name, version, lasting=False, will=None):
        options = {} if version == mqtt.MQTTv5 else {"clean_session": not lasting}
        self.mqtt = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, **options)
        self.messages, self.events = queue.Queue(), queue.Queue()
        self.mqtt.on_message = lambda client, data, message: self.messages.put(message)
        self.mqtt.on_connect = lambda client, data, flags, reason, properties: self.events.put(("connected", flags, reason))
        self.mqtt.on_subscribe = lambda client, data, mid, reasons, properties: self.events.put(("subscribed", reasons))
        self.mqtt.on_publish = lambda client, data, mid, reason, properties: self.events.put(("published", reason))
        if will:
            self.mqtt.will_set(will, "lost", qos=1)
        properties = None
        options = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if lasting else 0
            options = {"clean_start": not lasting, "properties": properties}
        self.mqtt.connect("127.0.0.1", PORT, 30, **options)
        self.mqtt.loop_start()
        _, self.flags, self.reason = self.wait("connected")
        assert not self.reason.is_failure, self.reason

    def wait(self, kind):
        while True:
            event = self.events.get(timeout=10)
            if event[0] == kind:
                return event

    def subscribe(self, *arguments, **named):
        self.mqtt.subscribe(*arguments, **named)
        return self.wait("subscribed")[1]

    def publish(self, topic, payload, qos=0, **named):
        self.mqtt.publish(topic, payload, qos, **named).wait_for_publish(10)

    def receive(self):
        return self.messages.get(timeout=10)

    def expect_nothing(self, topic):
        """Nothing came before a message that is sent now, to a topic that is subscribed."""
        self.publish(topic, "marker", 1)
        got = self.receive()
        assert (got.topic, got.payload) == (topic, b"marker"), (got.topic, got.payload)

    def close(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def vanish(self):
        """The network is gone: no DISCONNECT."""
        self.mqtt.loop_stop()
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)
        self.mqtt.socket().close()


def case(function):
    global passed
    function()
    passed += 1


def every_qos():
    for name, version in VERSIONS.items():
        publisher, subscriber = Client("p", version), Client("s", version)
        for to in (0, 1, 2):
            subscriber.subscribe(f"qos/{name}/{to}", to)
            for sent in (0, 1, 2):
                publisher.publish(f"qos/{name}/{to}", f"{sent}", sent)
                got = subscriber.receive()
                assert (got.qos, got.payload) == (min(sent, to), b"%d" % sent), (name, sent, to)
        publisher.close()
        subscriber.close()


def resume_in_order():
    for name, version in VERSIONS.items():
        topic = f"resume/{name}"
        first = Client("lasting", version, lasting=True)
        first.subscribe(topic, 2)
        first.vanish()
        publisher = Client("p", version)
        for number in range(50):
            publisher.publish(topic, str(number), 1 + number % 2)
        again = Client("lasting", version, lasting=True)
        if name != "3.1":
            assert again.flags.session_present, name
        got = [again.receive() for _ in range(50)]
        # Order holds for each quality of service: this client hands out QoS 2 messages on PUBREL.
        for qos in (1, 2):
            numbers = [int(message.payload) for message in got if message.qos == qos]
            assert numbers == list(range(qos - 1, 50, 2)), numbers
        again.close()
        publisher.close()
        Client("lasting", version).close()


def will_on_loss_only():
    for name, version in VERSIONS.items():
        watcher = Client("w", version)
        watcher.subscribe(f"will/{name}/+", 1)
        Client("good", version, will=f"will/{name}/good").close()
        Client("bad", version, will=f"will/{name}/bad").vanish()
        assert watcher.receive().topic == f"will/{name}/bad"
        watcher.expect_nothing(f"will/{name}/x")
        watcher.close()


def retained_and_its_end():
    for name, version in VERSIONS.items():
        topic = f"retained/{name}"
        client = Client("r", version)
        client.publish(f"{topic}/a", "kept", 1, retain=True)
        client.subscribe(f"{topic}/#", 1)
        got = client.receive()
        assert got.retain and got.payload == b"kept"
        client.publish(f"{topic}/a", "", 1, retain=True)
        assert client.receive().payload == b""
        client.subscribe(f"{topic}/#", 1)
        client.expect_nothing(f"{topic}/b")
        client.close()


def shared_subscription():
    members = [Client(f"m{number}", mqtt.MQTTv5) for number in range(3)]
    for member in members:
        member.subscribe("$share/group/work", 1)
    publisher = Client("p", mqtt.MQTTv5)
    for number in range(30):
        publisher.publish("work", str(number), 1)
    got = []
    for member in members:
        mine = [int(member.receive().payload) for _ in range(10)]
        got += mine
    assert sorted(got) == list(range(30))
    for client in [*members, publisher]:
        client.close()


def properties_travel():
    client = Client("c", mqtt.MQTTv5)
    subscription = Properties(PacketTypes.SUBSCRIBE)
    subscription.SubscriptionIdentifier = 77
    client.subscribe("props", options=SubscribeOptions(qos=1), properties=subscription)
    sent = Properties(PacketTypes.PUBLISH)
    sent.PayloadFormatIndicator = 1
    sent.MessageExpiryInterval = 60
    sent.ContentType = "text/plain"
    sent.ResponseTopic = "answer"
    sent.CorrelationData = b"\x00\x01"
    sent.UserProperty = [("b", "2"), ("a", "1"), ("b", "3")]
    client.publish("props", "x", 1, properties=sent)
    got = client.receive().properties
    assert got.SubscriptionIdentifier == [77] and got.UserProperty == sent.UserProperty
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answer", b"\x00\x01")
    assert 0 < got.MessageExpiryInterval <= 60
    client.close()


def large_payload():
    client = Client("c", mqtt.MQTTv5)
    client.subscribe("large", 2)
    payload = bytes(range(256)) * 4096
    for qos in (0, 1, 2):
        client.publish("large", payload, qos)
        assert client.receive().payload == payload
    client.close()


def a_thousand_clients_at_once():
    """One loop for all of them, as a thread for each cannot wait for so many files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count, subscribed, got, loop = 1000, set(), {}, selectors.DefaultSelector()
    deadline = time.monotonic() + 30

    def run_until(done):
        while not done():
            assert time.monotonic() < deadline, f"{len(subscribed)} subscribed, {len(got)} of {count} received"
            for key, _ in loop.select(1):
                key.data.loop_read()
                if key.data.want_write():
                    key.data.loop_write()

    clients = []
    for number in range(count):
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"many-{number}", userdata=number,
                             protocol=list(VERSIONS.values())[number % 3])
        client.on_connect = lambda client, number, *_: client.subscribe(f"many/{number}", 1)
        client.on_subscribe = lambda client, number, *_: subscribed.add(number)
        client.on_message = lambda client, number, message: got.update({number: int(message.payload)})
        client.connect("127.0.0.1", PORT, 60)
        loop.register(client.socket(), selectors.EVENT_READ, client)
        clients.append(client)
    run_until(lambda: len(subscribed) == count)
    for number, client in enumerate(clients):
        client.publish(f"many/{(number + 1) % count}", number, 1)
    run_until(lambda: len(got) == count)
    assert all(sender == (number - 1) % count for number, sender in got.items())
    for client in clients:
        client.disconnect()


for test in (every_qos, resume_in_order, will_on_loss_only, retained_and_its_end, shared_subscription,
             properties_travel, large_payload, a_thousand_clients_at_once):
    print(" ", test.__name__)
    case(test)
print(f"{passed} passed, 0 failed")
