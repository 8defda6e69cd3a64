#!/usr/bin/env bash
# Makes the certificates of the TLS tests: an authority that nobody knows, and one for 127.0.0.1 that it signed. Valid for a century.
set -euo pipefail
cd "$(dirname "$0")"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -keyout authority.key -out authority.pem \
    -subj "/CN=tests of ssm-reduce" -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj "/CN=127.0.0.1" 2>/dev/null
openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 -out server.pem \
    -extfile <(printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE') 2>/dev/null
# Nothing else shall ever be signed by it.
rm authority.key authority.srl server.csr
