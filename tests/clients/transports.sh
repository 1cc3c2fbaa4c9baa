#!/usr/bin/env bash
# mosquitto clients over TLS with their certificate and over a Unix socket, curl for the pages:
# transports.sh FOLDER TLS_PORT HTTP_PORT
set -euo pipefail
folder=$1 tls_port=$2 http_port=$3
passed=0
# want NAME WANTED GOT
want() {
  if [ "$2" != "$3" ]; then printf 'FAILED %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"; exit 1; fi
  passed=$((passed + 1))
}
alice=(--cert "$folder/alice.pem" --key "$folder/alice.key")
tls=(-h localhost -p "$tls_port" --cafile "$folder/ca.pem")
unix=(--unix "$folder/metronome.sock")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# 1 MiB in one line.
head -c 786432 /dev/urandom | base64 -w 0 >"$work/large"

# from_to NAME VERSION: from the client $publisher to the client $subscriber.
from_to() {
  # What the last one has heard says nothing of this one.
  : >"$work/got"
  timeout 20 stdbuf -oL mosquitto_sub "${subscriber[@]}" -V "$2" -t "$1/$2" -q 2 -C 1 -d -F '>>%p' >"$work/got" &
  local waiting=$!
  for _ in $(seq 100); do grep -aq Subscribed "$work/got" && break; sleep 0.05; done
  timeout 20 mosquitto_pub "${publisher[@]}" -V "$2" -t "$1/$2" -q 2 -f "$work/large"
  wait "$waiting"
  want "$1, $2" "$(sha256sum <"$work/large")" "$(sed -n 's/^>>//p' "$work/got" | tr -d '\n' | sha256sum)"
}

for version in mqttv31 mqttv311 mqttv5; do
  subscriber=("${tls[@]}" "${alice[@]}") publisher=("${unix[@]}")
  from_to "Unix socket to TLS" "$version"
  subscriber=("${unix[@]}") publisher=("${tls[@]}" "${alice[@]}")
  from_to "TLS to Unix socket" "$version"
done
want "no certificate" refused "$(mosquitto_pub "${tls[@]}" -t x -n 2>/dev/null && echo accepted || echo refused)"
for version in 1.2 1.3; do
  want "TLS $version" accepted "$(mosquitto_pub "${tls[@]}" "${alice[@]}" --tls-version "tlsv$version" -t x -n && echo accepted)"
done

page() { curl --silent --show-error --max-time 10 -o "$work/page" -w '%{http_code} %{content_type}' "http://127.0.0.1:$http_port$1"; }
want /healthz "200 text/plain; charset=utf-8" "$(page /healthz)"
want /stats "200 application/json" "$(page /stats)"
want "fields of /stats" 21 "$(node -p 'Object.keys(JSON.parse(fs.readFileSync(process.argv[1]))).length' "$work/page")"
want /metrics "200 text/plain; version=0.0.4; charset=utf-8" "$(page /metrics)"
want "lines of /metrics that are none" "" "$(grep -avE '^(# (HELP|TYPE) [a-z_0-9]+ .+|[a-z_0-9]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9]+)$' "$work/page" || true)"
want /other "404 text/plain; charset=utf-8" "$(page /other)"
echo "$passed passed, 0 failed"
