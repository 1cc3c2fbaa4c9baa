#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub: mosquitto.sh PORT
set -euo pipefail
port=$1
passed=0
pub() { timeout 20 mosquitto_pub -h 127.0.0.1 -p "$port" "$@"; }
sub() { timeout 20 stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$port" "$@"; }
# want NAME WANTED GOT
want() {
  if [ "$2" != "$3" ]; then printf 'FAILED %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"; exit 1; fi
  passed=$((passed + 1))
}
# Waits until a subscriber has said that its subscription is made, and forgets it for the next one.
subscribed() { for _ in $(seq 100); do grep -q Subscribed "$1" 2>/dev/null && return; sleep 0.05; done; echo "no SUBACK"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for version in mqttv31 mqttv311 mqttv5; do
  for from in 0 1 2; do
    for to in 0 1 2; do
      sub -V "$version" -t "q/$version/+" -q "$to" -C 1 -d -F '>>%q %t %p' >"$work/out" &
      subscriber=$!
      subscribed "$work/out"
      pub -V "$version" -t "q/$version/$from" -q "$from" -m "hello $from $to"
      wait "$subscriber"
      mv "$work/out" "$work/said"
      lower=$((from < to ? from : to))
      want "$version QoS $from to $to" ">>$lower q/$version/$from hello $from $to" "$(grep -a '^>>' "$work/said")"
    done
  done
  pub -V "$version" -t "retained/$version" -r -m kept
  want "$version retained" "1 kept" "$(sub -V "$version" -t "retained/$version" -C 1 -F '%r %p')"
  pub -V "$version" -t "retained/$version" -r -n
  want "$version retained cleared" "" "$(sub -V "$version" -t "retained/$version" -W 1 || true)"

  sub -V "$version" -t "will/$version" -C 1 -d -F '>>%p' >"$work/out" &
  watcher=$!
  subscribed "$work/out"
  stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$port" -V "$version" -t x -d --will-topic "will/$version" --will-payload lost >"$work/victim" &
  victim=$!
  subscribed "$work/victim"
  kill -9 "$victim"
  wait "$victim" 2>/dev/null || true
  wait "$watcher"
  mv "$work/out" "$work/said"
  rm "$work/victim"
  want "$version will" ">>lost" "$(grep -a '^>>' "$work/said")"

  lasting=(-V "$version" -i "lasting-$version" -c -q 2 -t "offline/$version")
  [ "$version" = mqttv5 ] && lasting+=(-x 600)
  sub "${lasting[@]}" -E
  for number in 1 2 3; do pub -V "$version" -t "offline/$version" -q 2 -m "$number"; done
  want "$version queued while offline" "1 2 3" "$(sub "${lasting[@]}" -C 3 | tr '\n' ' ' | sed 's/ $//')"
done

sub -V mqttv5 -t props -C 1 -d -F '>>%C %R %D %P' >"$work/out" &
subscriber=$!
subscribed "$work/out"
pub -V mqttv5 -t props -m x -D publish content-type text/plain -D publish response-topic answer \
  -D publish correlation-data 42 -D publish user-property name value
wait "$subscriber"
mv "$work/out" "$work/said"
want "properties" ">>text/plain answer 42 name:value" "$(grep -a '^>>' "$work/said")"

for member in 1 2 3; do
  sub -V mqttv5 -t '$share/group/work' -q 1 -C 10 -d -F '>>%p' >"$work/member$member" &
  subscribed "$work/member$member"
done
seq 30 | pub -V mqttv5 -t work -q 1 -l
wait
want "shared between three" "$(seq 30)" "$(cat "$work"/member? | sed -n 's/^>>//p' | sort -n)"

# Flat out to a client that is slower on every machine: it stands still until all is published.
stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$port" -V mqttv5 -t flood -q 1 -C 20000 -W 20 -d -F '>>%p' >"$work/flood" &
subscriber=$!
subscribed "$work/flood"
kill -STOP "$subscriber"
seq -f %064.0f 20000 >"$work/sent"
pub -V mqttv5 -t flood -q 1 -l <"$work/sent"
kill -CONT "$subscriber"
wait "$subscriber" || true
want "20,000 to a slow client" "$(sha256sum <"$work/sent")" "$(sed -n 's/^>>//p' "$work/flood" | sha256sum)"

# A process for each client, so not a thousand of them.
for number in $(seq 300); do sub -t many -q 1 -C 1 -d -F '>>%p' >"$work/many$number" & done
for number in $(seq 300); do subscribed "$work/many$number"; done
pub -t many -q 1 -m all
wait
want "300 clients at once" 300 "$(cat "$work"/many* | grep -c '^>>all')"

head -c 1048576 /dev/urandom >"$work/large"
for qos in 0 1 2; do
  sub -V mqttv5 -t "large/$qos" -q "$qos" -C 1 -N >"$work/got" &
  subscriber=$!
  sleep 0.5
  pub -V mqttv5 -t "large/$qos" -q "$qos" -f "$work/large"
  wait "$subscriber"
  want "1 MiB at QoS $qos" "$(sha256sum <"$work/large")" "$(sha256sum <"$work/got")"
done
echo "$passed passed, 0 failed"
