#!/bin/sh
# Runs HAProxy for Ray Serve with changes to the configuration that Serve writes and has no settings for:
# - its statistics and metrics ports listen on loopback, not on all interfaces;
# - request bodies are not spliced, because HAProxy does not notice that a client has left once its body came
#   through a splice;
# - headers that Serve would obey are taken off requests: a client could have its work go on after it has left,
#   or end in an error of another form than OpenAI's;
# - only requests that may be done twice are sent again where a router ended before it answered: reads and
#   completions, but no changes by the admin API. For that it must have the whole body before it passes on any;
# - one that was left behind is replaced;
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
    -e '/http-request disable-l7-retry unless METH_GET or /d' \
    -e '/option http-buffer-request$/d' \
    -e '/^frontend http_frontend/a\    option http-buffer-request' \
    -e '/^frontend http_frontend/a\    http-request disable-l7-retry unless METH_GET or { path /v1/chat/completions /v1/completions }' \
    -e "s|^( *errorfile 50[234] ).*|\\1\"$here/unavailable.http\"|" \
    -e "/^backend default_backend/,\$ s|^( *http-request return status) 404 .*|\\1 503 errorfile \"$here/unavailable.http\"|" \
    "$config"
# Serve's actor may have died and left HAProxy behind, which goes on serving by what it knew. The new actor knows
# nothing of it, and could not listen where it does: it is told to hand over, and ends when its streams do.
replaces=
for argument in "$@"; do
    [ "$argument" = "-sf" ] || [ "$argument" = "-c" ] && replaces=yes
done
if [ -n "$config" ] && [ -z "$replaces" ]; then
    left=
    for process in $(grep -lsaF -- "$config" /proc/[0-9]*/cmdline); do
        process=${process#/proc/}
        process=${process%/cmdline}
        [ "$(readlink "/proc/$process/exe")" -ef "$SPECROUTE_HAPROXY" ] && left="$left $process"
    done
    # shellcheck disable=SC2086 # numbers, one argument each
    [ -n "$left" ] && set -- "$@" -sf $left
fi
exec "$SPECROUTE_HAPROXY" "$@"
