// The same work by way of Go's yamux: `relay` is in the daemon's place, the other commands are the load tool's client. See
// docs/performance.md; built by bench/session where Go is installed.
//
//	yamux relay ADDRESS TARGET
//	yamux bulk ADDRESS STREAMS BYTES SECONDS
//	yamux short ADDRESS COUNT AT-ONCE SECONDS
//	yamux idle ADDRESS COUNT
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

const exchange = 64

func split(address string) (string, string) {
	kind, where, found := strings.Cut(address, "://")
	if !found {
		log.Fatalf("'%s' is not an address", address)
	}
	return kind, where
}

func configuration() *yamux.Config {
	config := yamux.DefaultConfig()
	config.MaxStreamWindowSize = 4 << 20 // larger than its default, which would hold it back
	config.AcceptBacklog = 4096
	config.LogOutput = io.Discard
	return config
}

func relayStream(stream *yamux.Stream, target string) {
	defer stream.Close()
	kind, where := split(target)
	far, err := net.Dial(kind, where)
	if err != nil {
		return
	}
	defer far.Close()
	back := make(chan struct{})
	go func() {
		io.Copy(stream, far)
		stream.Close() // yamux's half-close
		close(back)
	}()
	io.Copy(far, stream)
	if half, ok := far.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	<-back
}

func relay(address, target string) {
	kind, where := split(address)
	listener, err := net.Listen(kind, where)
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		session, err := yamux.Server(connection, configuration())
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			for {
				stream, err := session.AcceptStream()
				if err != nil {
					return
				}
				go relayStream(stream, target)
			}
		}()
	}
}

func connect(address string) *yamux.Session {
	kind, where := split(address)
	connection, err := net.Dial(kind, where)
	if err != nil {
		log.Fatal(err)
	}
	session, err := yamux.Client(connection, configuration())
	if err != nil {
		log.Fatal(err)
	}
	return session
}

func open(session *yamux.Session) *yamux.Stream {
	stream, err := session.OpenStream()
	if err != nil {
		log.Fatal(err)
	}
	return stream
}

func bulk(session *yamux.Session, streams, bytes int, limit time.Duration) {
	var wait sync.WaitGroup
	var sent atomic.Int64
	started := time.Now()
	for i := 0; i < streams; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			stream := open(session)
			piece := make([]byte, 256*1024)
			for left := bytes / streams; left > 0 && time.Since(started) < limit; {
				n, err := stream.Write(piece[:min(left, len(piece))])
				if err != nil {
					log.Fatal(err)
				}
				left -= n
				sent.Add(int64(n))
			}
			stream.Close()
			io.Copy(io.Discard, stream)
		}()
	}
	wait.Wait()
	fmt.Printf("{\"mode\": \"yamux-bulk\", \"sent\": %d, \"seconds\": %.6f}\n", sent.Load(), time.Since(started).Seconds())
}

func askOnce(session *yamux.Session) float64 {
	var data [exchange]byte
	started := time.Now()
	stream := open(session)
	if _, err := stream.Write(data[:]); err != nil {
		log.Fatal(err)
	}
	if _, err := io.ReadFull(stream, data[:]); err != nil {
		log.Fatal(err)
	}
	took := time.Since(started)
	stream.Close()
	return float64(took.Microseconds())
}

func short(session *yamux.Session, count, atOnce int, limit time.Duration) {
	var wait sync.WaitGroup
	var begun atomic.Int64
	took := make([][]float64, atOnce)
	started := time.Now()
	for i := 0; i < atOnce; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for begun.Add(1) <= int64(count) && time.Since(started) < limit {
				took[i] = append(took[i], askOnce(session))
			}
		}()
	}
	wait.Wait()
	seconds := time.Since(started).Seconds()
	var all []float64
	for _, some := range took {
		all = append(all, some...)
	}
	sort.Float64s(all)
	fmt.Printf("{\"mode\": \"yamux-short\", \"connections\": %d, \"failed\": 0, \"per_second\": %.1f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n",
		len(all), float64(len(all))/seconds, all[len(all)/2], all[len(all)*99/100])
}

func idle(session *yamux.Session, count int) {
	var data [exchange]byte
	for i := 0; i < count; i++ {
		stream := open(session)
		stream.Write(data[:])
		if _, err := io.ReadFull(stream, data[:]); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Printf("{\"mode\": \"yamux-idle\", \"ready\": true, \"connections\": %d}\n", count)
	io.Copy(io.Discard, os.Stdin)
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	arguments := os.Args[1:]
	switch {
	case len(arguments) == 3 && arguments[0] == "relay":
		relay(arguments[1], arguments[2])
	case len(arguments) == 5 && arguments[0] == "bulk":
		bulk(connect(arguments[1]), number(arguments[2]), number(arguments[3]), time.Duration(number(arguments[4]))*time.Second)
	case len(arguments) == 5 && arguments[0] == "short":
		short(connect(arguments[1]), number(arguments[2]), number(arguments[3]), time.Duration(number(arguments[4]))*time.Second)
	case len(arguments) == 3 && arguments[0] == "idle":
		idle(connect(arguments[1]), number(arguments[2]))
	default:
		log.Fatal("usage: see main.go")
	}
}
