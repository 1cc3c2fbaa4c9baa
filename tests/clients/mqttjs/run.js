// MQTT.js against a broker on loopback: run.js URL
"use strict";
const assert = require("node:assert");
const mqtt = require("mqtt");
const url = process.argv[2];

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

const VERSIONS = [{ protocolId: "MQIsdp", protocolVersion: 3 }, { protocolVersion: 4 }, { protocolVersion: 5 }];
// A session that outlives its connection.
const lasting = { clean: false, clientId: "js-lasting", properties: { sessionExpiryInterval: 600 } };
// The network is gone: no DISCONNECT.
const vanish = (client) => {
  client.on("error", () => {});
  client.stream.destroy();
};

const cases = {
  async "every QoS"() {
    for (const version of VERSIONS) {
      const client = await connect(version);
      for (const to of [0, 1, 2]) {
        const topic = `js/${version.protocolVersion}/${to}`;
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
  async "retained messages and their end"() {
    for (const version of VERSIONS) {
      const topic = `js/retained/${version.protocolVersion}`;
      const publisher = await connect(version);
      await publisher.publishAsync(`${topic}/a`, "kept", { qos: 1, retain: true });
      for (const wanted of ["kept true", "marker false"]) {
        const client = await connect(version);
        const next = messages(client, 1);
        await client.subscribeAsync(`${topic}/+`, { qos: 1 });
        await publisher.publishAsync(`${topic}/b`, "marker", { qos: 1 });
        const [{ payload, packet }] = await next;
        assert.strictEqual(`${payload} ${packet.retain}`, wanted);
        await client.endAsync();
        await publisher.publishAsync(`${topic}/a`, "", { qos: 1, retain: true });
      }
      await publisher.endAsync();
    }
  },
  async "a will on loss only"() {
    for (const version of VERSIONS) {
      const topic = `js/will/${version.protocolVersion}`;
      const watcher = await connect(version);
      await watcher.subscribeAsync(`${topic}/+`, { qos: 1 });
      const next = messages(watcher, 1);
      const mortal = (name) => connect({ ...version, will: { topic: `${topic}/${name}`, payload: "lost", qos: 1 } });
      await (await mortal("good")).endAsync();
      vanish(await mortal("bad"));
      assert.strictEqual((await next)[0].topic, `${topic}/bad`);
      await watcher.endAsync();
    }
  },
  async "a session is resumed in order"() {
    for (const version of VERSIONS) {
      const topic = `js/resume/${version.protocolVersion}`;
      const first = await connect({ ...version, ...lasting });
      await first.subscribeAsync(topic, { qos: 2 });
      vanish(first);
      const publisher = await connect(version);
      for (let number = 0; number < 20; number++) await publisher.publishAsync(topic, `${number}`, { qos: 2 });
      const again = mqtt.connect(url, { reconnectPeriod: 0, ...version, ...lasting });
      const got = await messages(again, 20);
      assert.deepStrictEqual(got.map(({ payload }) => Number(payload)), [...Array(20).keys()]);
      await again.endAsync();
      await publisher.endAsync();
      // Ends the session.
      await (await connect({ ...version, clientId: lasting.clientId })).endAsync();
    }
  },
  async "a shared subscription"() {
    const members = await Promise.all([1, 2, 3].map(() => connect({ protocolVersion: 5 })));
    const all = members.map((member) => messages(member, 10));
    await Promise.all(members.map((member) => member.subscribeAsync("$share/group/js/work", { qos: 1 })));
    const publisher = await connect({ protocolVersion: 5 });
    for (let number = 0; number < 30; number++) await publisher.publishAsync("js/work", `${number}`, { qos: 1 });
    const got = (await Promise.all(all)).flat().map(({ payload }) => Number(payload));
    assert.deepStrictEqual(got.sort((a, b) => a - b), [...Array(30).keys()]);
    await Promise.all([...members, publisher].map((client) => client.endAsync()));
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
