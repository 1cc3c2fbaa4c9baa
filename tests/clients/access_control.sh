#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub with users and rules, as an operator has them: access_control.sh BINARY
set -euo pipefail
binary=$1
work=$(mktemp -d)
broker=
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT
passed=0
# want NAME WANTED GOT
want() {
  if [ "$2" != "$3" ]; then printf 'FAILED %s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"; exit 1; fi
  passed=$((passed + 1))
}

printf 'secret\n' | "$binary" passwd create bob >"$work/users"
printf 'secret\n' | "$binary" passwd create ann --pbkdf2 >>"$work/users"
printf 'topic read public/#\nuser bob\ntopic bob/#\ntopic public/#\npattern read for/%%u\n' >"$work/acl"
cat >"$work/metronome.toml" <<TOML
allow_anonymous = true
[[listeners]]
address = "127.0.0.1:0"
[access_control]
password_file = "$work/users"
acl_file = "$work/acl"
TOML
"$binary" --config "$work/metronome.toml" --log-level warn >"$work/out" &
broker=$!
for _ in $(seq 100); do
  port=$(sed -n 's#^listening on mqtt://127.0.0.1:##p' "$work/out")
  [ -n "$port" ] && break
  sleep 0.05
done
bob=(-u bob -P secret)
pub() { timeout 20 mosquitto_pub -h 127.0.0.1 -p "$port" "$@" 2>&1 || true; }
# What a subscription comes to: `kept` where the retained message comes, and what the client says where not.
sub() { timeout 20 mosquitto_sub -h 127.0.0.1 -p "$port" -C 1 -W 5 "$@" 2>&1 || true; }

pub "${bob[@]}" -t public/news -r -m kept
pub "${bob[@]}" -t bob/news -r -m kept
for version in mqttv31 mqttv311 mqttv5; do
  want "$version without a name, allowed" kept "$(sub -V "$version" -t 'public/#')"
  want "$version without a name, refused" "All subscription requests were denied." "$(sub -V "$version" -t 'bob/#')"
  want "$version with a password" kept "$(sub -V "$version" "${bob[@]}" -t 'bob/#')"
  want "$version wider than allowed" "All subscription requests were denied." "$(sub -V "$version" "${bob[@]}" -t '#')"
  refused='Connection error: Connection Refused: not authorised.'
  [ "$version" = mqttv5 ] && refused='Connection error: Not authorized'
  want "$version wrong password" "$refused" "$(sub -V "$version" -u bob -P guess -t 'bob/#')"
  want "$version unknown user" "$refused" "$(sub -V "$version" -u eve -P secret -t 'public/#')"
done
want "a hash that mosquitto reads" "" "$(pub -u ann -P secret -t any -m x)"

# The files change under the broker: with SIGHUP it need not find out by itself.
printf 'user bob\ntopic bob/#\n' >"$work/acl"
kill -HUP "$broker"
sleep 0.5
want "what was taken away" "All subscription requests were denied." "$(sub -t 'public/#')"
want "what is left" kept "$(sub "${bob[@]}" -t 'bob/#')"
echo "$passed passed, 0 failed"
