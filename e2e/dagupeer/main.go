// Command dagupeer is a coordinator, worker or scheduler of package
// internal/dagupeer, or all of a machine, with settings named as Dagu's are.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"renewer/internal/dagupeer"
)

func main() {
	roles := map[string]func(context.Context, dagupeer.Config) error{
		"coordinator": dagupeer.Coordinate, "worker": dagupeer.Work, "scheduler": dagupeer.Schedule, "start-all": dagupeer.All,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: dagupeer coordinator|worker|scheduler|start-all [flags]; DAGU_PEER_*")
		os.Exit(2)
	}
	var c dagupeer.Config
	if err := c.FromEnv(os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&c.Host, "coordinator.host", "127.0.0.1", "")
	f.IntVar(&c.Port, "coordinator.port", 50055, "")
	f.StringVar(&c.Health, "health", "", "")
	f.StringVar(&c.Advertise, "coordinator.advertise", "", "")
	f.StringVar(&c.Registry, "registry", "", "")
	f.IntVar(&c.Pollers, "worker.max-active-runs", 1, "")
	f.BoolVar(&c.Local, "local", false, "")
	coordinators := f.String("worker.coordinators", "", "")
	f.StringVar(&c.WorkerID, "worker.id", "", "")
	f.StringVar(&c.Dir, "dir", ".", "")
	f.BoolVar(&c.Insecure, "peer.insecure", c.Insecure, "")
	f.StringVar(&c.CertFile, "peer.cert-file", c.CertFile, "")
	f.StringVar(&c.KeyFile, "peer.key-file", c.KeyFile, "")
	f.StringVar(&c.ClientCAFile, "peer.client-ca-file", c.ClientCAFile, "")
	_ = f.Parse(os.Args[2:])
	if *coordinators != "" {
		c.Coordinators = strings.Split(*coordinators, ",")
	}
	if os.Args[1] == "start-all" {
		signal.Ignore(syscall.SIGHUP)
	} // of the others it ends the process
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := roles[os.Args[1]](ctx, c); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // nothing is left to be stopped
	}
}
