#!/bin/sh
# Runs HAProxy for Ray Serve with two changes to the configuration that Serve writes and has no settings for:
# its statistics and metrics ports listen on loopback, not on all interfaces; and request bodies are not spliced,
# because HAProxy does not notice that a client has left once its body came through a splice.
config= previous=
for argument in "$@"; do
    [ "$previous" = "-f" ] && config=$argument
    previous=$argument
done
[ -n "$config" ] && sed -i -E 's/^( *bind )(\*)?:([0-9]+)/\1127.0.0.1:\3/; /option splice-request/d' "$config"
exec "$SPECROUTE_HAPROXY" "$@"
