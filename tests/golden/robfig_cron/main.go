// Records what github.com/robfig/cron/v3 answers, for tests/unit/core/test_schedule.py: go run . > ticks.json
package main

import (
	"encoding/json"
	"os"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

type row struct {
	Cron  string   `json:"cron"`
	Zone  string   `json:"zone"`
	After string   `json:"after"`
	Ticks []string `json:"ticks"`
}

func main() {
	crons := []string{"0 3 * * *", "30 2 * * *", "30 1 * * *", "0 0 * * *", "15,45 * * * *", "*/20 1-4 * * *", "0 2 * * 0", "30 2 31 * *",
		"0 0 29 2 *", "5 0 13 * 5", "5 0 */2 * 1-5", "5 0 1-15 * */2", "0 12 * jan,jul mon-fri", "@hourly", "@daily", "@weekly", "@monthly", "@yearly", "0 */5 * * ?", "59 23 31 12 *", "10/15 * * * *", "0 0 30 2 *", "0 1,2,3 * * *", "0 0 1 */3 *"}
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Cairo", "America/St_Johns", "Asia/Beirut"}
	afters := []string{"2026-03-28T12:00:00Z", "2026-10-24T20:30:15Z", "2026-03-07T22:00:59Z", "2026-10-31T21:17:00Z",
		"2018-11-03T10:00:00Z", "2026-04-04T10:00:00Z", "2026-12-31T23:59:59Z"}
	var rows []row
	for _, c := range crons {
		s, err := cron.ParseStandard(c)
		if err != nil {
			panic(err)
		}
		for _, z := range zones {
			loc, err := time.LoadLocation(z)
			if err != nil {
				panic(err)
			}
			for _, a := range afters {
				t, _ := time.Parse(time.RFC3339, a)
				r := row{Cron: c, Zone: z, After: a, Ticks: []string{}}
				at := t.In(loc)
				for i := 0; i < 2; i++ {
					at = s.Next(at)
					if at.IsZero() {
						break
					}
					r.Ticks = append(r.Ticks, at.UTC().Format(time.RFC3339))
				}
				rows = append(rows, r)
			}
		}
	}
	for i, r := range rows {
		line, _ := json.Marshal(r)
		os.Stdout.WriteString(map[bool]string{true: "[", false: ",\n"}[i == 0] + string(line))
	}
	os.Stdout.WriteString("]\n")
}
