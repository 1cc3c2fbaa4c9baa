// MQTT.js against a broker on loopback: run.js PORT
"use strict";
const assert = require("node:assert");
const mqtt = require("mqtt");
const url = `mqtt://127.0.0.1:${process.argv[2]}`;

const connect = (options) => mqtt.connectAsync(url, { reconnectPeriod: 0, ...options });
// The next `count` messages of a client.
const messages = (client, count) =>
  new Promise((resolve, reject) => {
    const got = [];
    const timer = setTimeout(() => reject(new Error(`${got.length} of ${count} messages`)), 20_000);
    client.on("message", function next(topic, payload, packet) {
      got.push({ topic, payload, packet });
      if (got.length === count) {
        clearTimeout(timer);
        client.removeListener("message", next);
        resolve(got);
      }
    });
  });

const cases = {
  async "every QoS in 3.1.1 and 5.0"() {
    for (const protocolVersion of [4, 5]) {
      const client = await connect({ protocolVersion });
      for (const to of [0, 1, 2]) {
        const topic = `js/${protocolVersion}/${to}`;
        await client.subscribeAsync(topic, { qos: to });
        for (const from of [0, 1, 2]) {
          const next = messages(client, 1);
          await client.publishAsync(topic, `${from}`, { qos: from });
          const [{ payload, packet }] = await next;
          assert.deepStrictEqual([payload.toString(), packet.qos], [`${from}`, Math.min(from, to)]);
        }
      }
      await client.endAsync();
    }
  },
  async "topic aliases and properties"() {
    const client = await connect({ protocolVersion: 5, autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } });
    await client.subscribeAsync("js/alias", { qos: 1 });
    const next = messages(client, 5);
    for (let number = 0; number < 5; number++) {
      await client.publishAsync("js/alias", `${number}`, { qos: 1, properties: { userProperties: { a: "1" } } });
    }
    const got = await next;
    assert.deepStrictEqual(got.map(({ topic, payload }) => `${topic} ${payload}`), [0, 1, 2, 3, 4].map((n) => `js/alias ${n}`));
    assert.strictEqual(got[4].packet.properties.userProperties.a, "1");
    await client.endAsync();
  },
  async "1 MiB"() {
    const client = await connect({ protocolVersion: 5 });
    await client.subscribeAsync("js/large", { qos: 1 });
    const payload = Buffer.alloc(1 << 20, "metronome");
    const next = messages(client, 1);
    await client.publishAsync("js/large", payload, { qos: 1 });
    assert((await next)[0].payload.equals(payload));
    await client.endAsync();
  },
  async "1,000 clients at once"() {
    const clients = await Promise.all(Array.from({ length: 1000 }, (_, n) => connect({ clientId: `js-${n}`, protocolVersion: n % 2 ? 4 : 5 })));
    await Promise.all(clients.map((client, n) => client.subscribeAsync(`js/many/${n}`, { qos: 1 })));
    const all = clients.map((client) => messages(client, 1));
    await Promise.all(clients.map((client, n) => client.publishAsync(`js/many/${(n + 1) % 1000}`, `${n}`, { qos: 1 })));
    const got = await Promise.all(all);
    got.forEach(([{ payload }], n) => assert.strictEqual(payload.toString(), `${(n + 999) % 1000}`));
    await Promise.all(clients.map((client) => client.endAsync()));
  },
};

(async () => {
  let passed = 0;
  for (const [name, test] of Object.entries(cases)) {
    console.log(" ", name);
    await test();
    passed++;
  }
  console.log(`${passed} passed, 0 failed`);
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
