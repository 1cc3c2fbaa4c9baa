"""paho-mqtt over WebSocket, secure WebSocket, TLS and a Unix socket: paho_transports.py FOLDER WS_PORT WSS_PORT TLS_PORT"""

import os
import queue
import sys

import paho.mqtt.client as mqtt

FOLDER, *PORTS = sys.argv[1:]
WS, WSS, TLS = map(int, PORTS)
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5.0": mqtt.MQTTv5}
TRANSPORTS = {
    "WebSocket": ("websockets", "localhost", WS, False),
    "secure WebSocket": ("websockets", "localhost", WSS, True),
    "TLS": ("tcp", "localhost", TLS, True),
    "Unix socket": ("unix", f"{FOLDER}/metronome.sock", 1, False),
}
passed = 0

for name, (transport, host, port, secure) in TRANSPORTS.items():
    for version, protocol in VERSIONS.items():
        messages, subscribed = queue.Queue(), queue.Queue()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "transports", protocol=protocol, transport=transport)
        client.on_message = lambda client, data, message: messages.put(message)
        client.on_subscribe = lambda client, data, mid, reasons, properties: subscribed.put(reasons)
        if secure:
            client.tls_set(f"{FOLDER}/ca.pem", f"{FOLDER}/alice.pem", f"{FOLDER}/alice.key")
        client.connect(host, port, 30)
        client.loop_start()
        client.subscribe("paho/transports", 2)
        subscribed.get(timeout=10)
        for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            payload = os.urandom(size)
            client.publish("paho/transports", payload, 2)
            got = messages.get(timeout=20)
            assert got.payload == payload, f"{name}, {version}: {size} bytes"
            passed += 1
        client.disconnect()
        client.loop_stop()

print(f"{passed} passed, 0 failed")
