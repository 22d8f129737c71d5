package testhosts

import "context"

// ballast is the file that fills a full directory.
const ballast = ".ballast"

// A small file system is put over the directory, with what is in there, and is
// filled to the last byte.
const fill = `set -eu
kept=$(mktemp -d)
cp -a "$1/." "$kept/"
mount -t tmpfs -o size="$2" full "$1"
cp -a "$kept/." "$1/"
rm -rf "$kept"
cat /dev/zero >"$1/$3" 2>/dev/null || true`

// FillDisk makes every write below a directory of the host fail with "no space
// left on device". It takes a directory with less than a megabyte in it, which
// is on a file system of its own from then on, until the host is rebooted: then
// what was there before is there again.
func (h *Host) FillDisk(ctx context.Context, dir string) error {
	_, err := h.Run(ctx, "sh", "-c", fill, "sh", dir, "1m", ballast)
	return err
}

// FreeDisk makes room again in a directory that FillDisk filled.
func (h *Host) FreeDisk(ctx context.Context, dir string) error {
	_, err := h.Run(ctx, "rm", dir+"/"+ballast)
	return err
}
