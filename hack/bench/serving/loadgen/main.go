// Command loadgen loads one HTTP server, checks every answer, and prints what it measured as JSON.
//
// The order is read from standard input (see Order). It exists because the benchmark shares two cores with the servers
// it measures: one thread, one epoll, no allocation for each request, so that little of the machine is its own. It does
// not retry, does not follow redirects and knows nothing about the servers' protocols but where the labels are.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Order says what to load, how, and what the answers must be.
type Order struct {
	Address  string            `json:"address"` // host:port, of this machine
	Target   string            `json:"target"`  // path of the request line
	Headers  map[string]string `json:"headers"`
	Requests []Request         `json:"requests"` // sent in turn
	Answer   []any             `json:"answer"`   // path to the labels in the JSON body: keys and indexes; null: only the status is checked
	Users    int               `json:"users"`    // connections, each with one request at a time
	Rate     float64           `json:"rate"`     // arrivals per second; 0: closed loop
	WarmUp   float64           `json:"warmUp"`   // seconds that are checked but not measured
	Seconds  float64           `json:"seconds"`  // seconds that are measured
	Drain    float64           `json:"drain"`    // seconds that the last answers may take; later they are errors
	Pids     []int             `json:"pids"`     // processes of the server, for their CPU time in the measured seconds
}

// Request is one body and the labels that its answer must carry, in order.
type Request struct {
	Body   string            `json:"body"`
	Expect []json.RawMessage `json:"expect"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run() error {
	var order Order
	if err := json.NewDecoder(os.Stdin).Decode(&order); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	if err := order.check(); err != nil {
		return fmt.Errorf("order: %w", err)
	}
	// One thread does everything and allocates next to nothing after the start: a collector would only take its time.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 30)
	runtime.LockOSThread()
	load, err := newLoad(&order)
	if err != nil {
		return err
	}
	defer load.close()
	if err := load.run(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(load.result())
}

func (o *Order) check() error {
	switch {
	case len(o.Requests) == 0:
		return fmt.Errorf("requests: at least one is needed")
	case o.Users < 1:
		return fmt.Errorf("users: %d; at least 1", o.Users)
	case o.Rate < 0:
		return fmt.Errorf("rate: %g; 0 for a closed loop, or arrivals per second", o.Rate)
	case o.Seconds <= 0:
		return fmt.Errorf("seconds: %g; more than 0", o.Seconds)
	}
	for _, element := range o.Answer {
		switch element.(type) {
		case string, float64:
		default:
			return fmt.Errorf("answer: %v is neither a key nor an index", element)
		}
	}
	return nil
}

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }
