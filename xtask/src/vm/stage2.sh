# The guest's second program, among the host's files: what an init system would do, then the job, then the end.
# $1 is this run's folder, shared with the host: job.sh in it is run, its exit status is left in `status`.

run=$1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

fail() {
    echo "xlb-vm: $*"
    sync
    sleep 1
    echo b >/proc/sysrq-trigger
}

mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=0620,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=0755 run /run
mkdir -p /run/lock
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
echo vm >/proc/sys/kernel/hostname
ip link set lo up
ulimit -n 1048576

# The wire on which the job's output leaves, without a terminal's ideas about line ends.
port=
tries=0
while [ -z "$port" ] && [ $tries -lt 100 ]; do
    for name in /sys/class/virtio-ports/*/name; do
        if [ -e "$name" ] && [ "$(cat "$name")" = xlb-vm ]; then
            port=/dev/$(basename "$(dirname "$name")")
        fi
    done
    tries=$((tries + 1))
    [ -n "$port" ] || sleep 0.1
done
[ -c "$port" ] || fail "the wire for the job's output is missing"

echo >"$run/started"
sh "$run/job.sh" </dev/null >"$port" 2>&1
echo $? >"$run/status"
sync
echo b >/proc/sysrq-trigger
sleep 10
