#!/bin/sh
# The guest's first process: mounts what a system has, runs the command of the kernel's command line (in
# base64) without a terminal, says how it ended, and turns the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  [ -e "/dev/${link%%:*}" ] || ln -s "${link#*:}" "/dev/${link%%:*}"
done
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
mount -t bpf bpf /sys/fs/bpf
value() { sed -n "s/.*\bcarom\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$(value modules)" "/lib/modules/$(uname -r)"
ulimit -l unlimited
ulimit -n 1048576
ip link set lo up
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  out=$(ls /dev/virtio-ports/out /dev/vport*p1 2>/dev/null | head -n 1)
  [ -n "$out" ] && break
  sleep 0.2
done
value command | base64 -d >/run/command
# A pipe and no input, as in CI.
{ setsid sh /run/command </dev/null 2>&1; echo "guest: exit code $?"; } | cat >"$out"
sync
exec /carom-guest/busybox poweroff -f
