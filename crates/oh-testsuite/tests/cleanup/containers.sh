# In namespaces of its own: a podman of its own, three containers, and what `oh-cleanup` does to them.
# Arguments: oh-cleanup, its root, an empty folder. Each part begins with a line `== NAME`.
mount -t cgroup2 none /sys/fs/cgroup
mkdir --parents /var/lib/containers
for folder in /run /var/lib/containers /etc/containers; do mount -t tmpfs none "$folder"; done
echo '{"default":[{"type":"insecureAcceptAnything"}]}' > /etc/containers/policy.json
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/storage"\ngraphroot = "/var/lib/containers"\n' > /etc/containers/storage.conf
printf '[containers]\ncgroups = "disabled"\nnetns = "none"\ndefault_ulimits = ["nofile=64:64", "nproc=64:64"]\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
  > /etc/containers/containers.conf
mkdir --parents "$3/bin"
cp /bin/sleep "$3/bin/sleep"
cp /bin/sleep "$3/bin/openhands-agent-server"
for library in $(ldd /bin/sleep | grep --only-matching '/[^ ]*'); do
  cp --parents --dereference "$library" "$3"
done
tar --create --file /run/image.tar --directory "$3" .
podman import --quiet /run/image.tar test:1
run() { podman run --detach --name "$1" test:1 "/bin/$2" 300; }
for name in openhands-runtime-a my-openhands-runtime-c openhands-runtime-stopped; do
  run "$name" sleep
done
agent=$(run oh-agent-server-b openhands-agent-server)
podman stop --time 0 openhands-runtime-stopped
# Where an engine that manages control groups would put it.
group="/sys/fs/cgroup/oht-test/libpod-$agent.scope"
mkdir --parents "$group"
trap 'podman kill --all; rmdir "$group" "${group%/*}"' EXIT
echo "$(podman inspect --format '{{.State.Pid}}' "$agent")" > "$group/cgroup.procs"
part() {
  echo "== $1"
  shift
  "$@" 2>&1 && code=0 || code=$?
  echo "code $code"
  podman ps --format 'runs {{.Names}}' | sort
}
part named "$1" --dry-run --processes
part all "$1" --root "$2" --all --yes
part dry "$1" --root "$2" --containers --dry-run
part done "$1" --root "$2" --containers --yes --grace 1s
part again "$1" --root "$2" --containers --yes
part undo "$1" --root "$2" undo
mount --bind /bin/false /usr/bin/podman
"$1" --root "$2" --containers --yes && code=0 || code=$?
umount /usr/bin/podman
part blind echo "code $code"
echo "== end $agent"
