module tidemill.io/hack/loadgen

go 1.24
