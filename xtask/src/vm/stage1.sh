#!/bin/busybox sh
# The guest's first program, in the initramfs: finds the host's files and hands over to stage2.sh there.
# `settings` gives MODE (run or probe), MODULES and SCRATCH (folders of the host) and RUN (a folder in SCRATCH).

busybox=/bin/busybox

fail() {
    echo "xlb-vm: $*"
    $busybox sleep 1
    $busybox reboot -f
}

$busybox mount -t devtmpfs dev /dev
exec >/dev/console 2>&1
. /settings

for module in /modules/*.ko; do
    $busybox insmod "$module" || fail "cannot load $module"
done
if [ "$MODE" = probe ]; then
    fail alive
fi

# The host's files below, the guest's changes above, in memory.
share=trans=virtio,version=9p2000.L,msize=512000
$busybox mount -t 9p -o "$share,ro,cache=loose" host /lower || fail "cannot mount the host's files"
$busybox mount -t tmpfs -o size=75% upper /upper
$busybox mkdir /upper/files /upper/work
$busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /root ||
    fail "cannot lay memory over the host's files"
$busybox mkdir -p "/root$SCRATCH"
$busybox mount -t 9p -o "$share,cache=mmap" scratch "/root$SCRATCH" || fail "cannot mount $SCRATCH"

release=$($busybox uname -r)
$busybox mkdir -p "/root/lib/modules/$release"
$busybox mount -o bind "/root$MODULES" "/root/lib/modules/$release" || fail "cannot mount the modules"

exec $busybox switch_root /root /bin/sh "$RUN/stage2.sh" "$RUN"
fail "cannot start $RUN/stage2.sh"
