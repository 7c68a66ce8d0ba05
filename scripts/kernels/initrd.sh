#!/bin/busybox sh
# /init of the guest's initial RAM disk: the host's files, read-only, below a layer in memory that takes
# what is written; then guest.sh becomes the first process.
busybox=/bin/busybox
$busybox mkdir -p /proc /sys /dev /host /layer /root
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sys /sys
$busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do $busybox insmod "$module"; done
fail() { echo "initrd: $1" >/dev/console; $busybox poweroff -f; }
options=trans=virtio,version=9p2000.L,msize=512000,access=any,cache=loose
$busybox mount -t 9p -o "ro,$options" host /host || fail "the host's files cannot be mounted"
$busybox mount -t tmpfs -o size=75%,mode=755 layer /layer
$busybox mkdir /layer/upper /layer/work
$busybox mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work root /root ||
  fail "no overlay over the host's files"
$busybox mkdir -p /root/run /root/carom-guest
$busybox cp /guest $busybox /root/carom-guest/
$busybox umount /proc /sys
$busybox mount --move /dev /root/dev
# The host's own shell: busybox's would start its commands by /proc/self/exe, which below the host's /proc is
# the emulator.
exec $busybox switch_root /root /bin/sh /carom-guest/guest
