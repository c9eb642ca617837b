# Runs a command as a container runtime would, inside namespaces of mounts and processes that the caller made:
#   container.sh ROOT USER:GROUP GROUPS VOLUMES COMMAND…
# VOLUMES is a file with a line for each: source, path, ro or rw, separated by tabs. ROOT becomes the root, read-only.
set -eu
root=$1 user=$2 groups=$3 volumes=$4
shift 4

mount --bind "$root" "$root"
# What the base image would bring: libraries, and what the kubelet puts into /etc.
for folder in /lib /lib64 /usr/lib /usr/lib64; do
  [ -d "$folder" ] || continue
  mkdir -p "$root$folder"
  mount --bind "$folder" "$root$folder"
  mount -o remount,bind,ro "$root$folder"
done
mkdir -p "$root/etc" "$root/proc" "$root/dev"
cp /etc/hosts /etc/resolv.conf "$root/etc"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
tab=$(printf '\t')
while IFS="$tab" read -r source path access; do
  mkdir -p "$root$path"
  mount --bind "$source" "$root$path"
  mount -o "remount,bind,$access" "$root$path"
done <"$volumes"
mount -o remount,bind,ro "$root"

exec setpriv --no-new-privs chroot --userspec="$user" --groups="$groups" "$root" "$@"
