#!/usr/bin/env bash
# mosquitto clients through HAProxy, which says who they are: haproxy.sh BINARY FOLDER
set -euo pipefail
binary=$1 folder=$2
work=$(mktemp -d)
running=()
trap 'kill "${running[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0
# want NAME WANTED GOT
want() {
  if [ "$2" != "$3" ]; then printf 'FAILED %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"; exit 1; fi
  passed=$((passed + 1))
}
# A port that is free now.
free() { node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }
# until_true COMMAND...
until_true() { for _ in $(seq 100); do "$@" && return; sleep 0.05; done; echo "not in time: $*"; exit 1; }

cat >"$work/metronome.toml" <<TOML
[[listeners]]
address = "127.0.0.1:0"
proxies = ["127.0.0.1"]
[[listeners]]
address = "tls://127.0.0.1:0"
proxies = ["127.0.0.1"]
tls = { certificate = '$folder/localhost.pem', key = '$folder/localhost.key' }
TOML
"$binary" --config "$work/metronome.toml" --data "$work/data" --log json >"$work/out" 2>"$work/log" &
running+=($!)
until_true grep -q '^try:' "$work/out"
port() { sed -nE "s#^listening on $1://127.0.0.1:([0-9]+).*#\1#p" "$work/out"; }

v1=$(free) v2=$(free) v2_tls=$(free)
{
  printf 'defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n'
  printf 'listen v1\n  bind 127.0.0.1:%s\n  server broker 127.0.0.1:%s send-proxy\n' "$v1" "$(port mqtt)"
  printf 'listen v2\n  bind 127.0.0.1:%s\n  server broker 127.0.0.1:%s send-proxy-v2\n' "$v2" "$(port mqtt)"
  # Its checks say that they are its own.
  printf 'listen v2-tls\n  bind 127.0.0.1:%s\n  server broker 127.0.0.1:%s send-proxy-v2 check inter 100 check-send-proxy\n' "$v2_tls" "$(port mqtts)"
} >"$work/haproxy.cfg"
haproxy -db -f "$work/haproxy.cfg" 2>"$work/haproxy.log" &
running+=($!)
# Who does not come by a proxy is shut out, so that a port is open says nothing.
until_true mosquitto_pub -p "$v2" -t here -n 2>/dev/null

host=10
for version in mqttv31 mqttv311 mqttv5; do
  for by in "v1 $v1" "v2 $v2" "v2-tls $v2_tls --cafile $folder/ca.pem -h localhost"; do
    read -r name by_port options <<<"$by"
    # shellcheck disable=SC2086 # These are words.
    through=(-p "$by_port" -V "$version" $options)
    address=127.0.0.$((host += 1))
    timeout 20 stdbuf -oL mosquitto_sub "${through[@]}" -A "$address" -i "sub-$name-$version" -t "ha/$name" -q 2 -C 1 -d -F '>>%p' >"$work/got" &
    subscriber=$!
    until_true grep -q Subscribed "$work/got"
    timeout 20 mosquitto_pub "${through[@]}" -t "ha/$name" -q 2 -m "by $name"
    wait "$subscriber"
    want "$name, $version" "by $name" "$(sed -n 's/^>>//p' "$work/got")"
    peer=$(grep "sub-$name-$version" "$work/log" | grep 'client connected' | grep -oE '127\.0\.0\.[0-9]+:' || true)
    want "$name, $version: the client's address" "$address:" "$peer"
  done
done
straight() { mosquitto_pub -A 127.0.0.9 -p "$(port mqtt)" -t x -n 2>/dev/null && echo accepted || echo refused; }
want "not by the proxy" refused "$(straight)"
echo "$passed passed, 0 failed"
