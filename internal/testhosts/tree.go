package testhosts

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// recipe is all that the tree of the hosts is made of beside Debian itself.
//
//go:embed recipe
var recipe embed.FS

// suite is the Debian that the hosts run.
const suite = "bookworm"

// options of mmdebstrap: a small tree, quickly.
var options = []string{
	"--quiet", "--mode=root", "--variant=essential",
	"--dpkgopt=force-unsafe-io",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
}

// openTree returns the directory of the tree that this recipe makes, built if
// need be, and what says that it is no longer in use. Other trees in the cache
// are removed unless somebody uses them.
func openTree(ctx context.Context) (dir string, release func(), err error) {
	cache, err := cacheDirectory()
	if err != nil {
		return "", nil, err
	}
	// One builder at a time; the others find what it built.
	lock, err := lockFile(cache, unix.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	defer lock.Close()
	hash, err := recipeHash(recipe)
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(cache, "tree-"+hash)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := buildTree(ctx, cache, dir); err != nil {
			return "", nil, err
		}
	}
	used, err := lockFile(dir, unix.LOCK_SH)
	if err != nil {
		return "", nil, err
	}
	prune(cache)
	return dir, func() { used.Close() }, nil
}

// cacheDirectory is made readable for root alone: setuid programs of another
// system are in there.
func cacheDirectory() (string, error) {
	dir := os.Getenv("RENEWER_TESTHOSTS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache directory (RENEWER_TESTHOSTS names one): %w", err)
		}
		dir = filepath.Join(cache, "renewer-testhosts")
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// recipeHash names a tree: it is another one for any change to its recipe.
func recipeHash(recipe fs.FS) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", append(options, suite))
	err := fs.WalkDir(recipe, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(recipe, path)
		fmt.Fprintf(sum, "%q %q\n", path, content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:12], err
}

// buildTree makes the tree beside its place and moves it there when it is whole.
func buildTree(ctx context.Context, cache, dir string) error {
	fmt.Fprintln(os.Stderr, "testhosts: building the hosts' tree in", dir, "(about two minutes, once)")
	begin := time.Now()
	work, err := os.MkdirTemp(cache, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, recipe); err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(work, "recipe/packages"))
	if err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	arguments := append(options[:len(options):len(options)],
		"--include="+strings.Join(packages(string(list)), ","),
		"--customize-hook=sh "+filepath.Join(work, "recipe/customize")+` "$1"`,
		suite, tree)
	// Without a mirror mmdebstrap takes Debian's own, security updates included.
	if mirror := os.Getenv("RENEWER_TESTHOSTS_MIRROR"); mirror != "" {
		arguments = append(arguments, mirror)
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", arguments...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the hosts' tree with mmdebstrap: %w", err)
	}
	fmt.Fprintln(os.Stderr, "testhosts: built in", time.Since(begin).Round(time.Second))
	return os.Rename(tree, dir)
}

// packages reads the recipe's list: one name a line, comments after a '#'.
func packages(list string) (names []string) {
	for line := range strings.Lines(list) {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// prune removes trees that no run uses, and what a killed build left.
func prune(cache string) {
	for _, pattern := range []string{"tree-*", "build-*"} {
		dirs, _ := filepath.Glob(filepath.Join(cache, pattern))
		for _, dir := range dirs {
			if lock, err := lockFile(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
				_ = os.RemoveAll(dir)
				lock.Close()
			}
		}
	}
}
