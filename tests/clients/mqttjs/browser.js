// MQTT.js in a page of a browser, over secure WebSockets: browser.js URL CERTIFICATE CHROMIUM
"use strict";
const assert = require("node:assert");
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");
const [url, certificate, executablePath] = process.argv.slice(2);

// Trusts this key alone, whoever vouches for it.
const key = new crypto.X509Certificate(fs.readFileSync(certificate)).publicKey.export({ type: "spki", format: "der" });
const spki = crypto.createHash("sha256").update(key).digest("base64");

const script = fs.readFileSync(path.join(path.dirname(require.resolve("mqtt/package.json")), "dist/mqtt.min.js"));
const pages = http.createServer((request, response) => {
  const [type, body] = request.url === "/mqtt.js" ? ["text/javascript", script] : ["text/html", '<script src="mqtt.js"></script>'];
  response.writeHead(200, { "Content-Type": type }).end(body);
});

// What runs in the page, each with the URL of the broker.
const cases = {
  async "every QoS in every version"(url) {
    const found = [];
    for (const version of [{ protocolId: "MQIsdp", protocolVersion: 3 }, { protocolVersion: 4 }, { protocolVersion: 5 }]) {
      const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ...version });
      for (const to of [0, 1, 2]) {
        const topic = `browser/${version.protocolVersion}/${to}`;
        await client.subscribeAsync(topic, { qos: to });
        for (const from of [0, 1, 2]) {
          const next = new Promise((resolve) => client.once("message", (topic, payload, packet) => resolve(`${payload} at ${packet.qos}`)));
          await client.publishAsync(topic, `${from} to ${to}`, { qos: from });
          if ((await next) === `${from} to ${to} at ${Math.min(from, to)}`) found.push(topic);
        }
      }
      await client.endAsync();
    }
    return found.length === 27;
  },
  async "1 MiB there and back"(url) {
    const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5 });
    await client.subscribeAsync("browser/large", { qos: 2 });
    const payload = new Uint8Array(1 << 20).map((_, at) => at % 251);
    const next = new Promise((resolve) => client.once("message", (topic, payload) => resolve(payload)));
    await client.publishAsync("browser/large", payload, { qos: 2 });
    const got = await next;
    await client.endAsync();
    return got.length === payload.length && got.every((byte, at) => byte === at % 251);
  },
  async "a session that is resumed"(url) {
    const lasting = { reconnectPeriod: 0, protocolVersion: 5, clean: false, clientId: "page", properties: { sessionExpiryInterval: 60 } };
    const first = await mqtt.connectAsync(url, lasting);
    await first.subscribeAsync("browser/later", { qos: 1 });
    await first.endAsync();
    const publisher = await mqtt.connectAsync(url, { reconnectPeriod: 0 });
    await publisher.publishAsync("browser/later", "kept", { qos: 1 });
    await publisher.endAsync();
    const again = mqtt.connect(url, lasting);
    const payload = await new Promise((resolve) => again.once("message", (topic, payload) => resolve(`${payload}`)));
    await again.endAsync();
    return payload === "kept";
  },
};

// Does the broker let a page in?
const isLetIn = (url) =>
  new Promise((resolve) => {
    const client = mqtt.connect(url, { reconnectPeriod: 0 });
    client.on("connect", () => {
      resolve(true);
      client.end();
    });
    client.on("error", () => {});
    client.on("close", () => resolve(false));
  });

(async () => {
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  const { port } = pages.address();
  const args = ["--no-sandbox", "--disable-dev-shm-usage", `--ignore-certificate-errors-spki-list=${spki}`];
  const browser = await chromium.launch({ executablePath, args });
  const page = await browser.newPage();
  page.setDefaultTimeout(30_000);
  await page.goto(`http://localhost:${port}/`);
  let passed = 0;
  for (const [name, test] of Object.entries(cases)) {
    console.log(" ", name);
    assert.strictEqual(await page.evaluate(`({${test.toString()}})[${JSON.stringify(name)}](${JSON.stringify(url)})`), true, name);
    passed++;
  }
  for (const [host, wanted] of [["localhost", true], ["127.0.0.1", false]]) {
    console.log(`  a page of ${host} is ${wanted ? "let in" : "kept out"}`);
    await page.goto(`http://${host}:${port}/`);
    assert.strictEqual(await page.evaluate(`(${isLetIn})(${JSON.stringify(url)})`), wanted, host);
    passed++;
  }
  await browser.close();
  console.log(`${passed} passed, 0 failed`);
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
