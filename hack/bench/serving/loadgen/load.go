package main

import (
	"fmt"
	"net"
	"syscall"
	"time"
	"unsafe"
)

const (
	bufferSize   = 64 << 10
	errorsToStop = 1000
	noRequest    = -1
	clockTimer   = 1 // CLOCK_MONOTONIC
)

// connection is one user: at most one request is under way.
type connection struct {
	fd       int
	in       []byte // what has arrived of the answer
	out      []byte // what is left of the request to send
	request  int    // index of the request under way, noRequest when idle
	waiting  bool   // for room to send in
	intended int64  // when the request was due; in a closed loop when it was sent
}

// load is one run: a single thread around one epoll instance.
type load struct {
	order    *Order
	address  syscall.Sockaddr
	wire     [][]byte // the requests as they are sent
	started  time.Time
	measure  [2]int64 // first and last nanosecond that count, since started
	users    []*connection
	idle     []int   // users without a request, first in first out
	pending  []int64 // arrivals that found no idle user
	arrivals int64   // how many were due so far
	next     int     // index of the request to send next
	busy     int
	poll     int
	timer    int
	stopped  bool // nothing listens any more
	found    findings
	usage    [2]usage
}

func newLoad(order *Order) (*load, error) {
	resolved, err := net.ResolveTCPAddr("tcp4", order.Address)
	if err != nil {
		return nil, err
	}
	address := &syscall.SockaddrInet4{Port: resolved.Port}
	copy(address.Addr[:], resolved.IP.To4())
	l := &load{order: order, address: address, timer: -1}
	for _, request := range order.Requests {
		l.wire = append(l.wire, requestBytes(order, request.Body))
	}
	l.found.kinds = map[string]int{}
	l.found.samples = make([]int64, 0, 1<<18)
	if l.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := 0; i < order.Users; i++ {
		user := &connection{fd: -1, in: make([]byte, 0, bufferSize), request: noRequest}
		l.users = append(l.users, user)
		if err := l.connect(i); err != nil {
			return nil, fmt.Errorf("connect to %s: %w", order.Address, err)
		}
		l.idle = append(l.idle, i)
	}
	return l, nil
}

func (l *load) close() {
	for _, user := range l.users {
		if user.fd >= 0 {
			_ = syscall.Close(user.fd)
		}
	}
	_ = syscall.Close(l.poll)
}

func (l *load) connect(i int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.users[i].fd = fd
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	// Waiting here is short: the kernel accepts for the server.
	if err := syscall.Connect(fd, l.address); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	return syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)})
}

func (l *load) now() int64 { return int64(time.Since(l.started)) }

func (l *load) run() error {
	l.started = time.Now()
	l.measure[0] = int64(seconds(l.order.WarmUp))
	l.measure[1] = l.measure[0] + int64(seconds(l.order.Seconds))
	if err := l.startTimer(); err != nil {
		return err
	}
	events := make([]syscall.EpollEvent, 512)
	last := l.measure[1] + int64(seconds(l.order.Drain))
	phase := 0 // 0 warming up, 1 measuring, 2 waiting for the last answers
	for {
		now := l.now()
		if phase == 0 && now >= l.measure[0] {
			phase = 1
			l.usage[0] = l.readUsage(now)
		}
		if phase == 1 && now >= l.measure[1] {
			phase = 2
			l.usage[1] = l.readUsage(now)
		}
		l.sendDue(now, phase)
		if l.stopped || l.found.errors >= errorsToStop {
			if phase == 1 {
				l.usage[1] = l.readUsage(now) // what was right until now is a rate, too
			}
			return nil
		}
		if phase == 2 && (l.busy == 0 && len(l.pending) == 0 || now >= last) {
			l.giveUp()
			return nil
		}
		until := []int64{l.measure[0], l.measure[1], last}[phase]
		count, err := l.wait(events, until-now)
		if err != nil {
			return err
		}
		for _, event := range events[:count] {
			if event.Fd < 0 {
				l.readTimer()
				continue
			}
			l.onEvent(int(event.Fd), event.Events, phase < 2)
		}
	}
}

func (l *load) wait(events []syscall.EpollEvent, nanoseconds int64) (int, error) {
	milliseconds := int(nanoseconds/1e6) + 1
	count, err := syscall.EpollWait(l.poll, events, milliseconds)
	if err == syscall.EINTR {
		return 0, nil
	}
	return count, err
}

// sendDue sends what is due: in a closed loop the first request of each user, in an open loop every arrival up to now.
func (l *load) sendDue(now int64, phase int) {
	if l.order.Rate == 0 {
		for phase < 2 && len(l.idle) > 0 && !l.stopped {
			l.send(l.takeIdle(), now)
		}
		return
	}
	horizon := min(now, l.measure[1]-1) // nothing is due after the measured time
	for {
		due := int64(float64(l.arrivals) * 1e9 / l.order.Rate)
		if due > horizon {
			break
		}
		l.arrivals++
		l.pending = append(l.pending, due)
	}
	l.sendPending(now)
}

func (l *load) sendPending(now int64) {
	for len(l.pending) > 0 && len(l.idle) > 0 && !l.stopped {
		due := l.pending[0]
		l.pending = l.pending[1:]
		if l.counts(due) {
			l.found.lags = append(l.found.lags, now-due)
		}
		l.send(l.takeIdle(), due)
	}
}

func (l *load) takeIdle() int {
	i := l.idle[0]
	l.idle = l.idle[1:]
	return i
}

func (l *load) send(i int, intended int64) {
	user := l.users[i]
	if user.fd < 0 {
		if err := l.connect(i); err != nil {
			l.found.fail("not connected", err.Error())
			l.stopped = true
			return
		}
	}
	user.request, user.intended = l.next, intended
	l.next = (l.next + 1) % len(l.wire)
	user.out = l.wire[user.request]
	l.busy++
	l.found.sent++
	l.flush(i)
}

func (l *load) flush(i int) {
	user := l.users[i]
	count, _, number := syscall.RawSyscall(
		syscall.SYS_WRITE, uintptr(user.fd), uintptr(unsafe.Pointer(&user.out[0])), uintptr(len(user.out)))
	switch {
	case number == syscall.EAGAIN:
		count = 0
	case number != 0:
		l.lost(i, number.Error())
		return
	}
	user.out = user.out[count:]
	if waiting := len(user.out) > 0; waiting != user.waiting {
		user.waiting = waiting
		l.listen(i)
	}
}

func (l *load) listen(i int) {
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
	if l.users[i].waiting {
		event.Events |= syscall.EPOLLOUT
	}
	_ = syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_MOD, l.users[i].fd, &event)
}

func (l *load) onEvent(i int, events uint32, sending bool) {
	user := l.users[i]
	if user.fd < 0 {
		return
	}
	if events&syscall.EPOLLOUT != 0 && len(user.out) > 0 {
		l.flush(i)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLERR|syscall.EPOLLHUP) == 0 || user.fd < 0 {
		return
	}
	if len(user.in) == cap(user.in) {
		user.in = append(user.in, make([]byte, cap(user.in))...)[:len(user.in)]
	}
	free := user.in[len(user.in):cap(user.in)]
	count, _, number := syscall.RawSyscall(
		syscall.SYS_READ, uintptr(user.fd), uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)))
	switch {
	case number == syscall.EAGAIN || number == syscall.EINTR:
		return
	case number != 0:
		l.lost(i, number.Error())
		return
	case count == 0:
		l.lost(i, "the server closed the connection")
		return
	}
	user.in = user.in[:len(user.in)+int(count)]
	l.onBytes(i, sending)
}

func (l *load) onBytes(i int, sending bool) {
	user := l.users[i]
	r, ok, err := parse(user.in)
	if err != nil {
		l.lost(i, err.Error())
		return
	}
	if !ok {
		return
	}
	now := l.now()
	if user.request == noRequest {
		l.lost(i, "an answer that nobody asked for")
		return
	}
	l.check(user, r, now)
	if r.size != len(user.in) {
		l.found.fail("more bytes than one answer", string(user.in[r.size:]))
		r.close = true
	}
	user.in = user.in[:0]
	user.request = noRequest
	l.busy--
	if r.close {
		l.drop(i)
		l.found.reconnects++
	}
	if l.order.Rate == 0 && sending {
		l.send(i, now)
		return
	}
	l.idle = append(l.idle, i)
	l.sendPending(now)
}

func (l *load) check(user *connection, r reply, now int64) {
	l.found.answers++
	request := &l.order.Requests[user.request]
	switch {
	case r.status != 200:
		l.found.fail(fmt.Sprintf("status %d", r.status), string(r.body))
	case l.order.Answer != nil && !labelsAre(r.body, l.order.Answer, request.Expect):
		l.found.fail("wrong answer", fmt.Sprintf("%s to %s", r.body, request.Body))
	default:
		if l.counts(now) {
			l.found.completed++
		}
		l.found.right++
		l.found.last = now
		if l.counts(user.intended) {
			l.found.samples = append(l.found.samples, now-user.intended)
		} else {
			l.found.others = append(l.found.others, now-user.intended)
		}
	}
}

func (l *load) counts(at int64) bool { return at >= l.measure[0] && at < l.measure[1] }

// lost ends a connection that broke; one with a request under way is an error, an idle one is only opened again.
func (l *load) lost(i int, why string) {
	user := l.users[i]
	if user.request != noRequest {
		l.found.fail("connection lost", why)
		user.request = noRequest
		l.busy--
		l.idle = append(l.idle, i)
	} else {
		l.found.reconnects++
	}
	l.drop(i)
}

func (l *load) drop(i int) {
	user := l.users[i]
	_ = syscall.Close(user.fd)
	user.fd, user.in, user.out, user.waiting = -1, user.in[:0], nil, false
}

// giveUp counts what was never answered.
func (l *load) giveUp() {
	for _, user := range l.users {
		if user.request != noRequest {
			l.found.fail("no answer in time", fmt.Sprintf("%d bytes unsent, %d bytes received", len(user.out), len(user.in)))
		}
	}
	for range l.pending {
		l.found.fail("never sent: every user waited for an answer", "")
	}
}

// startTimer wakes the loop at every arrival; epoll's own time-out knows only milliseconds.
func (l *load) startTimer() error {
	if l.order.Rate == 0 {
		return nil
	}
	fd, _, number := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockTimer, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if number != 0 {
		return fmt.Errorf("timerfd_create: %w", number)
	}
	l.timer = int(fd)
	every := syscall.NsecToTimespec(int64(1e9 / l.order.Rate))
	interval := [2]syscall.Timespec{every, every}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: -1}
	if err := syscall.EpollCtl(l.poll, syscall.EPOLL_CTL_ADD, l.timer, &event); err != nil {
		return err
	}
	_, _, number = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&interval)), 0, 0, 0)
	if number != 0 {
		return fmt.Errorf("timerfd_settime: %w", number)
	}
	return nil
}

// readTimer takes the expiries away; a timer that is not read does not expire again.
func (l *load) readTimer() {
	var expiries [8]byte
	_, _, _ = syscall.RawSyscall(
		syscall.SYS_READ, uintptr(l.timer), uintptr(unsafe.Pointer(&expiries[0])), uintptr(len(expiries)))
}
