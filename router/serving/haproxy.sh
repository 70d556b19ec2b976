#!/bin/sh
# Runs HAProxy for Ray Serve with its statistics and metrics ports on loopback: Serve writes them as wildcard
# binds into the configuration and has no setting for their address.
config= previous=
for argument in "$@"; do
    [ "$previous" = "-f" ] && config=$argument
    previous=$argument
done
[ -n "$config" ] && sed -i -E 's/^( *bind )(\*)?:([0-9]+)/\1127.0.0.1:\3/' "$config"
[ -n "$config" ] && sed -i -E 's/http-reuse always/http-reuse never/' "$config"
exec "$SPECROUTE_HAPROXY" "$@"
