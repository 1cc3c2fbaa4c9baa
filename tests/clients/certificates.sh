#!/usr/bin/env bash
# Makes an authority, the broker's certificate for localhost and a client's for "alice": certificates.sh FOLDER
set -euo pipefail
cd "$1"
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 2 -subj "/CN=Authority of tests" 2>/dev/null
# issue NAME EXTENSION
issue() {
  openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "/CN=$1" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile <(echo "$2") -out "$1.pem" 2>/dev/null
}
issue localhost "subjectAltName=DNS:localhost,IP:127.0.0.1"
issue alice "extendedKeyUsage=clientAuth"
