package main

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"strconv"
)

var (
	headEnd      = []byte("\r\n\r\n")
	errNotHTTP   = errors.New("the answer is no HTTP/1.1")
	errNoLength  = errors.New("the answer has neither a length nor chunks")
	errBadChunks = errors.New("the answer's chunks are broken")
)

// reply is one parsed answer; body points into the connection's buffer or, for chunks, to bytes of its own.
type reply struct {
	status int
	body   []byte
	size   int // bytes of the buffer that the answer took
	close  bool
}

// parse returns the answer at the start of the buffer; ok is false while it is not whole.
func parse(buffer []byte) (r reply, ok bool, err error) {
	end := bytes.Index(buffer, headEnd)
	if end < 0 {
		return r, false, nil
	}
	head := buffer[:end]
	if len(head) < 12 || string(head[:7]) != "HTTP/1." {
		return r, false, errNotHTTP
	}
	if r.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return r, false, errNotHTTP
	}
	length, chunked := -1, false
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, headEnd[:2])
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		value := bytes.TrimSpace(line[colon+1:])
		switch name := line[:colon]; {
		case colon == 14 && bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return r, false, errNotHTTP
			}
		case colon == 17 && bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case colon == 10 && bytes.EqualFold(name, []byte("connection")):
			r.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	start := end + len(headEnd)
	switch {
	case chunked:
		return parseChunks(r, buffer, start)
	case length < 0:
		return r, false, errNoLength
	case len(buffer) < start+length:
		return r, false, nil
	}
	r.body, r.size = buffer[start:start+length], start+length
	return r, true, nil
}

func parseChunks(r reply, buffer []byte, at int) (reply, bool, error) {
	for {
		line := bytes.Index(buffer[at:], headEnd[:2])
		if line < 0 {
			return r, false, nil
		}
		text, _, _ := bytes.Cut(buffer[at:at+line], []byte(";"))
		size, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 16, 31)
		if err != nil {
			return r, false, errBadChunks
		}
		at += line + 2
		if len(buffer) < at+int(size)+2 {
			return r, false, nil
		}
		r.body = append(r.body, buffer[at:at+int(size)]...)
		at += int(size)
		if string(buffer[at:at+2]) != "\r\n" {
			return r, false, errBadChunks
		}
		at += 2
		if size == 0 {
			r.size = at
			return r, true, nil
		}
	}
}

// requestBytes returns the whole request as it goes over the wire.
func requestBytes(order *Order, body string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nhost: %s\r\n", order.Target, order.Address)
	names := make([]string, 0, len(order.Headers))
	for name := range order.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\r\n", name, order.Headers[name])
	}
	fmt.Fprintf(&b, "content-length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}
