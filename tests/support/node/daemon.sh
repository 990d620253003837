#!/bin/sh
# daemon.sh PIDFILE LOG PROGRAM ARGUMENT...: leave the PID, become the program, let go of every pipe.
set -eu
echo $$ >"$1.new"
mv "$1.new" "$1"
log=$2
shift 2
exec "$@" </dev/null >>"$log" 2>&1
