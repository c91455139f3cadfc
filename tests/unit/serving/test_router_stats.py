"""Statistics of the router, from text that the real Envoy wrote."""

import math
import re
from pathlib import Path

import pytest

from tidemill.serving import router_stats
from tidemill.serving.router_stats import ClusterStats, Scrape

RECORDED = (Path(__file__).parent / "envoy_stats.txt").read_text()
CLUSTERS = ("churn-1-aaaa", "churn-2-bbbb")
INF = math.inf


def test_parse_reads_a_recorded_answer() -> None:
    scrape = router_stats.parse(RECORDED, CLUSTERS)
    assert scrape.members == {"churn-1-aaaa": 1, "churn-2-bbbb": 1}
    assert scrape.clusters_version == "b71cf0912c8cf963"
    assert scrape.routes_version == "a3ac52646d467fd6"
    good, bad = scrape.clusters["churn-1-aaaa"], scrape.clusters["churn-2-bbbb"]
    assert (good.requests, good.errors) == (53, 0)
    assert (bad.requests, bad.errors) == (47, 47)
    assert good.buckets[INF] == 53 and len(good.buckets) == 54
    assert 0.5 < (bad.quantile(0.99) or 0) < 1000


def test_parse_skips_what_it_does_not_know() -> None:
    assert router_stats.parse('# HELP x\nup 1\nother{a="b"} 3\nnonsense', CLUSTERS) == Scrape({}, {})


@pytest.mark.parametrize(
    ("before", "after", "want"),
    [
        (None, ClusterStats(10, 1, {INF: 10}), (10, 1)),
        (ClusterStats(4, 1, {INF: 4}), ClusterStats(10, 3, {INF: 10}), (6, 2)),
        (ClusterStats(50, 9, {INF: 50}), ClusterStats(10, 3, {INF: 10}), (10, 3)),  # the pod was restarted
        (ClusterStats(5, 0, {INF: 9}), ClusterStats(6, 0, {INF: 1}), (6, 0)),
    ],
)
def test_since_subtracts_and_survives_a_reset(before, after, want) -> None:
    delta = after.since(before)
    assert (delta.requests, delta.errors) == want


def test_total_adds_up_pods_and_takes_a_new_pod_whole() -> None:
    before = {
        "a": Scrape({"c": ClusterStats(5, 1, {INF: 5})}, {}),
        "gone": Scrape({"c": ClusterStats(90, 9, {INF: 90})}, {}),
    }
    after = {"a": Scrape({"c": ClusterStats(8, 1, {INF: 8})}, {}), "b": Scrape({"c": ClusterStats(7, 2, {INF: 7})}, {})}
    assert router_stats.total(before, after, "c") == ClusterStats(10, 2, {INF: 10})
    assert router_stats.total(before, after, "unknown") == ClusterStats()


@pytest.mark.parametrize(
    ("buckets", "q", "want"),
    [
        ({}, 0.5, None),
        ({1.0: 0.0, INF: 0.0}, 0.5, None),
        ({1.0: 0, 2.0: 10, INF: 10}, 0.5, 1.5),
        ({1.0: 90, 10.0: 100, INF: 100}, 0.99, 9.1),
        ({1.0: 50, 10.0: 50, 100.0: 100, INF: 100}, 0.5, 1.0),
        ({1.0: 1, 10.0: 2, INF: 100}, 0.99, 10.0),  # above the largest finite bound
    ],
)
def test_quantile_interpolates(buckets, q, want) -> None:
    got = ClusterStats(1, 0, buckets).quantile(q)
    assert got == (None if want is None else pytest.approx(want))


def test_refused_requests_are_those_of_three_statuses_and_of_three_of_grpc() -> None:
    lines = [
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"} 10',
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="4",envoy_cluster_name="a"} 9',
        *(
            f'envoy_cluster_upstream_rq{{envoy_response_code="{code}",envoy_cluster_name="a"}} {count}'
            for code, count in {200: 10, 400: 1, 404: 2, 413: 1, 415: 2, 422: 3}.items()
        ),
        'envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="a_grpc"} 50',
        *(
            f'envoy_cluster_grpc_{status}{{envoy_cluster_name="a_grpc"}} {count}'
            for status, count in {0: 20, 3: 4, 5: 1, 8: 1, 9: 5, 11: 6, 13: 1}.items()
        ),
    ]
    found = router_stats.parse("\n".join(lines), ["a"]).clusters["a"]
    assert (found.requests, found.errors, found.client_errors) == (19 + 38, 1, 6 + 15)
    assert found.client_error_ratio == 21 / 57


def test_the_query_asks_for_every_status_that_counts() -> None:
    pattern = re.compile(router_stats.QUERY.removeprefix("filter=").removesuffix("&text_readouts"))
    names = ["upstream_rq_4xx", *(f"upstream_rq_{code}" for code in router_stats.CLIENT_ERRORS), "upstream_rq_time"]
    assert all(pattern.search(f"cluster.churn-1-aaaa.{name}") for name in names)
    assert not pattern.search("cluster.churn-1-aaaa.upstream_rq_404")


def test_refused_requests_that_nobody_counted_at_the_start_are_not_known_at_the_end() -> None:
    now, before = ClusterStats(10, 1, {}, 7), ClusterStats(4, 1, {}, None)
    assert now.since(before) == ClusterStats(6, 0, {}, None)
    assert now.since(before).plus(now).client_errors is None and now.since(before).client_error_ratio is None
    assert now.since(ClusterStats(4, 1, {}, 3)) == ClusterStats(6, 0, {}, 4)
    assert ClusterStats(10, 1, {}, 2).since(ClusterStats(4, 1, {}, 3)) == ClusterStats(10, 1, {}, 2), "restarted"


def test_calls_of_grpc_count_by_their_status_among_the_stats_of_their_version() -> None:
    lines = [
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"} 10',
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="a"} 2',
        'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a_grpc"} 99',
        *(
            f'envoy_cluster_grpc_{status}{{envoy_cluster_name="a_grpc"}} {count}'
            for status, count in {0: 20, 1: 1, 3: 4, 4: 1, 5: 1, 8: 1, 12: 1, 13: 3, 14: 5}.items()
        ),
        'envoy_cluster_grpc_total{envoy_cluster_name="a_grpc"} 37',
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="1"} 6',
        'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a_grpc",le="1"} 30',
        'envoy_cluster_membership_healthy{envoy_cluster_name="a"} 2',
        'envoy_cluster_membership_healthy{envoy_cluster_name="a_grpc"} 1',
    ]
    scrape = router_stats.parse("\n".join(lines), ["a"])
    assert scrape.members == {"a": 2}
    assert set(scrape.clusters) == {"a"}
    found = scrape.clusters["a"]
    assert (found.requests, found.errors) == (12 + 37, 2 + 1 + 3 + 5)
    assert found.buckets == {1.0: 36}


HOSTILE = {
    "not a number": ('envoy_cluster_membership_healthy{envoy_cluster_name="a"} NaN', "not a count"),
    "infinite": ('envoy_cluster_membership_healthy{envoy_cluster_name="a"} 1e999', "not a count"),
    "negative": ('envoy_cluster_grpc_0{envoy_cluster_name="a_grpc"} -1', "not a count"),
    "beyond whole numbers": ('envoy_cluster_grpc_0{envoy_cluster_name="a_grpc"} 1e16', "not a count"),
    "refused": ('envoy_cluster_upstream_rq{envoy_response_code="400",envoy_cluster_name="a"} NaN', "not a count"),
    "no number": ('envoy_cluster_grpc_0{envoy_cluster_name="a_grpc"} ...', "not a count"),
    "a bucket of its own": ('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="0.123"} 1', "bucket"),
    "a bucket that is no number": ('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="x"} 1', "bucket"),
    "class": ('envoy_cluster_upstream_rq_xx{envoy_response_code_class="9",envoy_cluster_name="a"} 1', "class"),
    "version": ('envoy_http_rds_version_text{text_value="<script>"} 0', "version"),
}


@pytest.mark.parametrize(("line", "what"), HOSTILE.values(), ids=HOSTILE)
def test_what_no_router_says_is_refused_without_quoting_it(line: str, what: str) -> None:
    with pytest.raises(router_stats.StatsError, match=what) as caught:
        router_stats.parse(line, ["a"])
    assert not any(word in str(caught.value) for word in ("NaN", "1e999", "0.123", "script"))


def test_clusters_that_nobody_requested_are_left_out_however_many_there_are() -> None:
    lines = [f'envoy_cluster_membership_healthy{{envoy_cluster_name="made-up-{i}"}} NaN' for i in range(1000)]
    assert router_stats.parse("\n".join(lines), ["a"]) == Scrape({}, {})
