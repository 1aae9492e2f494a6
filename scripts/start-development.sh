#!/usr/bin/env bash
# Starts OpenHands' server and, in front of it, Vite, for development; what was started ends with it.
#
# usage: scripts/start-development.sh [FOLDER]    the checkout; without it, the current folder
# SERVER_PORT (12000) and VITE_PORT (12001) choose the ports, START_BOUND_S (120) how long each may
# take to listen, SERVER_COMMAND and VITE_COMMAND what is run instead of uvicorn and of npm.
set -euo pipefail
cd -- "${1:-.}"
server_port=${SERVER_PORT:-12000} vite_port=${VITE_PORT:-12001} bound_s=${START_BOUND_S:-120}
uvicorn="python3 -m uvicorn"
if [ -f poetry.lock ] && command -v poetry > /dev/null; then uvicorn="poetry run uvicorn"; fi
server=${SERVER_COMMAND:-$uvicorn openhands.server.listen:app --host 127.0.0.1 --port $server_port}
vite=${VITE_COMMAND:-npm run dev -- --host 127.0.0.1 --port $vite_port}
groups=()

fail() { echo "error: $1" >&2; exit 1; }
listens() { (: < "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
# One kill for all groups succeeds as long as one of them is left.
signal() { [ "${#groups[@]}" -gt 0 ] && kill "-$1" -- "${groups[@]}" 2> /dev/null; }
finish() {
  trap - EXIT
  signal TERM || return 0
  for ((tries = 0; tries < 50; tries++)); do signal 0 || return 0; sleep 0.1; done
  signal KILL || true
}
start() { # NAME PORT COMMAND
  bash -c "exec $3" < /dev/null &
  groups+=("-$!") # Each job is a group of its own, so what npm and poetry start ends too.
  local until=$((SECONDS + bound_s))
  until listens "$2"; do
    if ! kill -0 "$!" 2> /dev/null; then fail "$1 ended before it listened on port $2"; fi
    if ((SECONDS >= until)); then fail "$1 does not listen on port $2 after $bound_s s"; fi
    sleep 0.2
  done
}

for port in "$server_port" "$vite_port"; do
  if listens "$port"; then fail "port $port is taken; see: ss --listening --tcp --processes"; fi
done
trap finish EXIT
trap 'exit 130' HUP INT TERM
set -m
SERVE_FRONTEND=false start "the server" "$server_port" "$server"
export VITE_BACKEND_HOST=127.0.0.1:$server_port VITE_FRONTEND_PORT=$vite_port
if [ -d frontend ]; then cd frontend && start Vite "$vite_port" "$vite"; fi
echo "ready: http://127.0.0.1:$vite_port (server on port $server_port); Ctrl-C ends both"
wait -n || true
fail "one of the two has ended"
