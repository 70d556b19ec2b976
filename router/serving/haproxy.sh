#!/bin/sh
# Runs HAProxy for Ray Serve with changes to the configuration that Serve writes and has no settings for:
# - its statistics and metrics ports listen on loopback, not on all interfaces;
# - request bodies are not spliced, because HAProxy does not notice that a client has left once its body came
#   through a splice;
# - headers that Serve would obey are taken off requests: a client could have its work go on after it has left,
#   or end in an error of another form than OpenAI's;
# - while no router answers, or none is known yet, clients are told to come back, in that form.
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
config= previous=
for argument in "$@"; do
    [ "$previous" = "-f" ] && config=$argument
    previous=$argument
done
[ -n "$config" ] && sed -i -E \
    -e 's/^( *bind )(\*)?:([0-9]+)/\1127.0.0.1:\3/' \
    -e '/option splice-request/d' \
    -e '/http-request del-header x-request-(disconnect-disabled|timeout-seconds)$/d' \
    -e '/^frontend http_frontend/a\    http-request del-header x-request-disconnect-disabled' \
    -e '/^frontend http_frontend/a\    http-request del-header x-request-timeout-seconds' \
    -e "s|^( *errorfile 50[234] ).*|\\1\"$here/unavailable.http\"|" \
    -e "/^backend default_backend/,\$ s|^( *http-request return status) 404 .*|\\1 503 errorfile \"$here/unavailable.http\"|" \
    "$config"
exec "$SPECROUTE_HAPROXY" "$@"
