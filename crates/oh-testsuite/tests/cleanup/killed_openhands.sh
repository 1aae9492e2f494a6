# In namespaces of its own: a real OpenHands with a conversation, killed, and `oh-cleanup` after it.
# Arguments: the root that has OpenHands, an empty folder, oh-cleanup. Each part begins with `== NAME`.
ip link set lo up
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
root="$2/root"
mount -t overlay overlay --options "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$root"
mount -t tmpfs --options mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$3" "$root/usr/bin/oh-cleanup"
editor="$root/openhands/.openvscode-server/bin/openvscode-server"
mkdir --parents "${editor%/*}" "$root/workspace" "$root/srv/frontend/build"
echo '<title>OpenHands</title>' > "$root/srv/frontend/build/index.html"
# The program is on no registry; OpenHands waits until one says that it is there.
printf '#!/bin/sh\necho Web UI available at a port\nwhile :; do sleep 300; done\n' > "$editor"
chmod 755 "$editor"
inside="chroot $root env --ignore-environment --chdir=/srv HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin"
$inside sleep 301 &
$inside bash -c 'exec -a "python -m openhands.runtime.action_execution_server" sleep 302' &
$inside RUNTIME=local RUN_AS_OPENHANDS=false SKIP_DEPENDENCY_CHECK=1 FILE_STORE_PATH=/srv/store \
  LITELLM_LOCAL_MODEL_COST_MAP=True ENABLE_BROWSER=false PYTHONDONTWRITEBYTECODE=1 \
  /opt/openhands/bin/python -m uvicorn openhands.server.listen:app --host=127.0.0.1 --port=3000 &
server=$!
# Bounded by whoever runs this.
until_true() { until "$@" > /dev/null 2>&1; do sleep 0.2; done; }
ask() {
  path=$1
  shift
  curl --silent --fail --header 'content-type: application/json' "http://127.0.0.1:3000$path" "$@"
}
runs() { for one in /proc/[0-9]*; do tr '\0' ' ' < "$one/cmdline" 2> /dev/null || :; echo; done; }
has() { case "$(runs)" in *"$1"*) ;; *) return 1 ;; esac }
until_true ask /alive
ask /api/settings --data '{"language":"en","agent":"CodeActAgent","llm_model":"openai/x",
  "llm_api_key":"k","llm_base_url":"http://127.0.0.1:9"}'
ask /api/conversations --data '{"initial_user_msg":"hello"}'
for part in 'ipykernel_launcher -f' 'tmux new-session' 'bin/openvscode-server --host'; do
  until_true has "$part"
done
part() {
  echo "== $1"
  $inside oh-cleanup --all --yes 2>&1 && echo "code 0" || echo "code $?"
  runs | sed --quiet 's/^./runs &/p'
}
part before
kill -KILL "$server"
wait "$server" || :
part after
part again
