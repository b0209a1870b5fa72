# shellcheck shell=bash
#
# Minimal Debian 12 systems in a directory, for the tests that need a machine with nothing on it. Sourced. Needs
# root and debootstrap.
#
# What is downloaded is kept in $POSTERN_CACHE, outside the repository; an empty one only costs time. Everything
# about how packages are reached (mirror, proxy, name servers) is taken from this machine's own apt as it runs.

shopt -s inherit_errexit
POSTERN_CACHE=${POSTERN_CACHE:-/var/cache/postern-ci}

debian_die() {
    echo "$0: $*" >&2
    exit 1
}

# Where this machine's apt gets Debian from.
debian_mirror() {
    local uri
    # shellcheck disable=SC2016 # the variables are apt's
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
        'Codename: bookworm' 2>/dev/null | head -n 1)
    echo "${uri:-http://deb.debian.org/debian}"
}

# Gives the system in $1 the apt sources and settings of this machine, and its name servers.
debian_borrow_network() {
    local root=$1 sources
    mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/apt/sources.list.d"
    # shellcheck disable=SC2016
    sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' \
        'Origin: Debian' 2>/dev/null | grep bookworm | sort -u)
    [[ -z $sources ]] || echo "$sources" >"$root/etc/apt/sources.list"
    apt-config dump Acquire | grep -v -E '::IndexTargets|::Languages' >"$root/etc/apt/apt.conf.d/90host"
    echo 'Acquire::Languages "none";' >>"$root/etc/apt/apt.conf.d/90host"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

# The oldest entries of the cache go when new ones come in: $1 is a pattern of names there, $2 how many to keep.
debian_prune() {
    find "$POSTERN_CACHE" -maxdepth 1 -name "$1" -printf "%T@ %p\n" | sort -rn | cut -d" " -f2- | tail -n +"$(($2 + 1))" | while read -r old; do
        rm -rf "$old"
    done
}

# Prints the name of a tarball with a minimal Debian 12, made this week.
debian_minbase() {
    local tarball root
    tarball=$POSTERN_CACHE/minbase-$(date +%G-%V).tar
    if [[ ! -s $tarball ]]; then
        mkdir -p "$POSTERN_CACHE"
        root=$(mktemp -d "$POSTERN_CACHE/making.XXXXXX")
        debootstrap --variant=minbase bookworm "$root" "$(debian_mirror)" >"$root.log" 2>&1 || {
            tail -n 20 "$root.log" >&2
            rm -rf "$root" "$root.log"
            debian_die "debootstrap failed"
        }
        rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root.log"
        tar -C "$root" --numeric-owner --one-file-system -cf "$tarball.$$" .
        mv "$tarball.$$" "$tarball"
        rm -rf "$root"
        debian_prune 'minbase-*.tar' 2
    fi
    echo "$tarball"
}

# debian_enter ROOT COMMAND...: runs the command in ROOT, with its own mounts and processes: whatever it leaves
# running ends with it. /dev holds the harmless devices only; downloaded packages are kept in the cache.
debian_enter() {
    local root=$1
    shift
    mkdir -p "$POSTERN_CACHE/archives/partial"
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --pid --ipc --uts --fork --kill-child -- /bin/bash -c '
        set -euo pipefail
        root=$1 archives=$2
        shift 2
        mount --make-rprivate /
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=755 dev "$root/dev"
        for node in null zero full random urandom tty; do
            touch "$root/dev/$node"
            mount --bind "/dev/$node" "$root/dev/$node"
        done
        ln -s /proc/self/fd "$root/dev/fd"
        ln -s /proc/self/fd/0 "$root/dev/stdin"
        ln -s /proc/self/fd/1 "$root/dev/stdout"
        ln -s /proc/self/fd/2 "$root/dev/stderr"
        mkdir "$root/dev/pts" "$root/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
        ln -s pts/ptmx "$root/dev/ptmx"
        mount -t tmpfs shm "$root/dev/shm"
        mkdir -p "$root/var/cache/apt/archives"
        mount --bind "$archives" "$root/var/cache/apt/archives"
        chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            TERM=dumb http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" "$@"
    ' bash "$root" "$POSTERN_CACHE/archives" "$@"
}

# debian_install ROOT PACKAGE...: quiet, unless it fails.
debian_install() {
    local root=$1 log
    shift
    log=$(mktemp)
    debian_enter "$root" /bin/bash -c 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@"' bash "$@" \
        >"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        rm -f "$log"
        debian_die "could not install $*"
    }
    rm -f "$log"
}
