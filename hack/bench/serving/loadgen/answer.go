package main

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// labelsAre says whether the JSON value at path is the expected labels; nested lists count as one flat list.
func labelsAre(body []byte, path []any, expected []json.RawMessage) bool {
	at := find(body, path)
	if at < 0 {
		return false
	}
	count, end := 0, at
	depth := 0
	for {
		end = blank(body, end)
		if end >= len(body) {
			return false
		}
		switch body[end] {
		case '[':
			depth++
			end++
			continue
		case ']':
			depth--
			end++
		case ',':
			end++
			continue
		default:
			next := skip(body, end)
			if next < 0 || count >= len(expected) || !sameScalar(body[end:next], expected[count]) {
				return false
			}
			count++
			end = next
		}
		if depth <= 0 {
			return count == len(expected)
		}
	}
}

// sameScalar compares two JSON scalars: bytes first, then numbers and strings by what they mean.
func sameScalar(got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	if got[0] == '"' || want[0] == '"' {
		var a, b string
		return json.Unmarshal(got, &a) == nil && json.Unmarshal(want, &b) == nil && a == b
	}
	a, err := strconv.ParseFloat(string(got), 64)
	if err != nil {
		return false
	}
	b, err := strconv.ParseFloat(string(want), 64)
	return err == nil && a == b
}

// find returns where the value at path begins, -1 when there is none.
func find(b []byte, path []any) int {
	at := blank(b, 0)
	for _, element := range path {
		if at < 0 || at >= len(b) {
			return -1
		}
		switch key := element.(type) {
		case string:
			at = member(b, at, key)
		case float64:
			at = item(b, at, int(key))
		}
	}
	if at >= len(b) {
		return -1
	}
	return at
}

func member(b []byte, at int, key string) int {
	if b[at] != '{' {
		return -1
	}
	at = blank(b, at+1)
	for at < len(b) && b[at] == '"' {
		end := skip(b, at)
		if end < 0 {
			return -1
		}
		name := b[at+1 : end-1]
		at = blank(b, end)
		if at >= len(b) || b[at] != ':' {
			return -1
		}
		at = blank(b, at+1)
		if string(name) == key {
			return at
		}
		if at = skip(b, at); at < 0 {
			return -1
		}
		at = blank(b, at)
		if at >= len(b) || b[at] != ',' {
			return -1
		}
		at = blank(b, at+1)
	}
	return -1
}

func item(b []byte, at, index int) int {
	if b[at] != '[' {
		return -1
	}
	at = blank(b, at+1)
	for ; index > 0; index-- {
		if at = skip(b, at); at < 0 {
			return -1
		}
		at = blank(b, at)
		if at >= len(b) || b[at] != ',' {
			return -1
		}
		at = blank(b, at+1)
	}
	if at >= len(b) || b[at] == ']' {
		return -1
	}
	return at
}

// skip returns where the value at `at` ends, -1 when it does not.
func skip(b []byte, at int) int {
	depth := 0
	for at < len(b) {
		switch b[at] {
		case '"':
			if at = stringEnd(b, at); at < 0 {
				return -1
			}
		case '{', '[':
			depth++
			at++
			continue
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\n', '\t', '\r':
			at++
			continue
		default:
			for at < len(b) && !delimiter(b[at]) {
				at++
			}
		}
		if depth <= 0 {
			if depth < 0 {
				return -1
			}
			return at
		}
	}
	return -1
}

func stringEnd(b []byte, at int) int {
	for at++; at < len(b); at++ {
		switch b[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return -1
}

func delimiter(c byte) bool {
	switch c {
	case ',', ':', ']', '}', ' ', '\n', '\t', '\r':
		return true
	}
	return false
}

func blank(b []byte, at int) int {
	for at >= 0 && at < len(b) && (b[at] == ' ' || b[at] == '\n' || b[at] == '\t' || b[at] == '\r') {
		at++
	}
	return at
}
