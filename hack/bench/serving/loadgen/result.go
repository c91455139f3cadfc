package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"syscall"
)

const (
	ticksPerSecond  = 100 // USER_HZ of Linux, the unit of /proc/<pid>/stat
	bucketsPerTen   = 20  // of the histogram, in each power of ten
	longestReported = 400 // characters of the first error
)

// findings are what the run has seen; errors count from the first request on, the rest in the measured time.
type findings struct {
	samples    []int64 // nanoseconds from when a request was due to its whole, right answer
	others     []int64 // the same for requests that were due outside of the measured time
	right      int     // right answers of the whole run
	last       int64   // when the last of them arrived
	lags       []int64 // nanoseconds from when a request was due to when it was sent (open loop)
	sent       int
	answers    int
	completed  int // right answers that arrived in the measured time
	errors     int
	reconnects int
	kinds      map[string]int
	first      string
}

func (f *findings) fail(kind, detail string) {
	if f.errors == 0 {
		f.first = kind + ": " + detail
		if len(f.first) > longestReported {
			f.first = f.first[:longestReported]
		}
	}
	f.errors++
	f.kinds[kind]++
}

// Result is what is printed. Times are microseconds, CPU is in cores.
type Result struct {
	Sent         int            `json:"sent"`
	Answers      int            `json:"answers"`
	Seconds      float64        `json:"seconds"`
	PerSecond    float64        `json:"perSecond"`
	Samples      int            `json:"samples"`
	Mean         float64        `json:"mean"`
	P50          float64        `json:"p50"`
	P90          float64        `json:"p90"`
	P99          float64        `json:"p99"`
	P999         float64        `json:"p999"`
	Max          float64        `json:"max"`
	LagP99       float64        `json:"lagP99"` // how late requests of an open loop were sent
	Errors       int            `json:"errors"`
	ErrorKinds   map[string]int `json:"errorKinds"`
	FirstError   string         `json:"firstError"`
	Reconnects   int            `json:"reconnects"`
	GeneratorCPU float64        `json:"generatorCPU"`
	ServerCPU    float64        `json:"serverCPU"`
	Histogram    [][2]float64   `json:"histogram"` // upper edge, count
	Whole        bool           `json:"whole"`     // rate and latencies are of the whole run, see slow
}

func (l *load) result() Result {
	f := &l.found
	wall := float64(l.usage[1].at-l.usage[0].at) / 1e9
	r := Result{
		Sent: f.sent, Answers: f.answers, Seconds: wall, Samples: len(f.samples), Errors: f.errors,
		ErrorKinds: f.kinds, FirstError: f.first, Reconnects: f.reconnects, Histogram: [][2]float64{},
	}
	if wall > 0 {
		r.PerSecond = float64(f.completed) / wall
		r.GeneratorCPU = (l.usage[1].own - l.usage[0].own) / wall
		r.ServerCPU = (l.usage[1].server - l.usage[0].server) / wall
	}
	if l.slow() {
		r.Whole = true
		r.PerSecond = float64(f.right) / (float64(f.last) / 1e9)
		f.samples = append(f.samples, f.others...)
		r.Samples = len(f.samples)
	}
	slices.Sort(f.lags)
	r.LagP99 = rank(f.lags, 0.99)
	slices.Sort(f.samples)
	if len(f.samples) == 0 {
		return r
	}
	total := 0.0
	for _, sample := range f.samples {
		total += float64(sample)
	}
	r.Mean = total / float64(len(f.samples)) / 1e3
	r.P50, r.P90, r.P99, r.P999 = rank(f.samples, 0.5), rank(f.samples, 0.9), rank(f.samples, 0.99), rank(f.samples, 0.999)
	r.Max = rank(f.samples, 1)
	r.Histogram = histogram(f.samples)
	return r
}

// slow says whether a closed loop saw too few answers for its measured time to mean anything: a server that answers
// all its users together, every few seconds, may answer none in it. The whole run, up to the last answer, is counted
// then; the server was busy all along.
func (l *load) slow() bool {
	return l.order.Rate == 0 && l.found.completed < 2*l.order.Users && l.found.right > 0
}

// rank is the nearest-rank percentile of sorted nanoseconds, in microseconds.
func rank(sorted []int64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	index := int(math.Ceil(share*float64(len(sorted)))) - 1
	return float64(sorted[max(index, 0)]) / 1e3
}

// histogram counts sorted nanoseconds in buckets of equal width on a logarithmic scale, empty ones left out.
func histogram(sorted []int64) [][2]float64 {
	buckets := [][2]float64{}
	for _, sample := range sorted {
		microseconds := max(float64(sample)/1e3, 1)
		upper := math.Pow(10, math.Ceil(math.Log10(microseconds)*bucketsPerTen)/bucketsPerTen)
		if last := len(buckets) - 1; last >= 0 && buckets[last][0] == upper {
			buckets[last][1]++
		} else {
			buckets = append(buckets, [2]float64{upper, 1})
		}
	}
	return buckets
}

// usage is the CPU time, in seconds, that this program and the server's processes had used at a moment.
type usage struct {
	at     int64
	own    float64
	server float64
}

func (l *load) readUsage(now int64) usage {
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	u := usage{at: now, own: float64(own.Utime.Nano()+own.Stime.Nano()) / 1e9}
	for _, pid := range l.order.Pids {
		u.server += processTime(pid)
	}
	return u
}

// processTime reads user and system time of a process; one that has ended counts nothing.
func processTime(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name is in parentheses and may hold spaces; utime and stime are the 12th and 13th fields after it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	total := 0.0
	for _, field := range fields[11:13] {
		ticks, _ := strconv.ParseFloat(string(field), 64)
		total += ticks / ticksPerSecond
	}
	return total
}
