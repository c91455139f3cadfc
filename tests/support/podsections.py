"""Sections about pods that the API server refuses, each with what its answer must name, and some that it takes.

Rows of `tests/integration/test_crds_rules.py`: the section is the same on every kind, so most rows stand for one.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
TP, MD, MM = "TrainingPipeline", "ModelDeployment", "ModelMonitor"
PLACES = {"spec.pod": (TP, MM), "spec.server.pod": (MD,), "spec.router.pod": (MD,)}

_DOMAINS = "tidemill.io/, a domain below tidemill.io or batch.kubernetes.io/"
_LABELS = f"labels: a key must not begin with {_DOMAINS} and must not be one of "
_ANNOTATIONS = f"annotations: a key must not begin with {_DOMAINS}, because these are set by "
_LOOSENED = "annotations: AppArmor and seccomp are set by the operator, as Pod Security restricted requires"
_KEY = "must be a name such as team or example.com/team, of at most 63 characters after the slash"
_CODE = (
    "env: a name must not begin with TIDEMILL_, LD_, PYTHON, OPENSSL_, GCONV_ or GLIBC_, nor be HOME, TMPDIR, "
    "TMP, TEMP, PATH, BASH_ENV, LOCPATH, NLSPATH, OMP_TOOL_LIBRARIES, ARROW_LIBHDFS_DIR or HADOOP_HOME, because these "
    "are set by the operator or make a process load other code"
)
_BELIEVED = "because these change what the process writes, or whom it believes"
_GRPC = "because these change how gRPC resolves, connects and trusts"
_TRACES = "because traces are sent where spec.server.tracing says"
_CONTROL = "env: a value must not hold control characters other than tab, line feed and carriage return"
_PROXY = "because a proxy is set for all pods by the operator's settings TIDEMILL_HTTP_PROXY, TIDEMILL_HTTPS_PROXY and"
_RESOLVER = "because the cluster's DNS resolves names for all pods"
_CA = "because certificate authorities are set for all pods by the operator's setting TIDEMILL_CA_BUNDLE_CONFIG_MAP"
_STORE = "because credentials and address of a store come from the keys of a Secret (secretRef), or from the identity"
_TRACED = "spec.server.pod.env: a name must not begin with OTEL_ if spec.server.tracing is set"
_VALUES = "values must have at least one entry with operator In or NotIn, exactly one with Gt or Lt, and none with "
_TOLERATION = "tolerations: operator Exists takes no value, and any other needs a key"
_EXCLUDED = (
    "spec.pod must not be set together with spec.nodeSelector, spec.tolerations or spec.serviceAccountName; write "
    "these inside spec.pod"
)


def _env(*names: str) -> Json:
    return {"env": [{"name": name, "value": "x"} for name in names]}


def _nodes(**expression: Any) -> Json:
    term = {"matchExpressions": [expression]}
    nodes = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": nodes}}


def _pods(**expression: Any) -> Json:
    term = {"labelSelector": {"matchExpressions": [expression]}, "topologyKey": "kubernetes.io/hostname"}
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


_SPREAD = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}

# name: (section, causes that the answer must name below the section)
_SECTIONS: dict[str, tuple[Json, list[str]]] = {
    **{
        f"label {key}": ({"labels": {key: "x"}}, [_LABELS])
        for key in (
            "tidemill.io/deployment",
            "sub.tidemill.io/x",
            "a.b.tidemill.io/x",
            "app.kubernetes.io/name",
            "app.kubernetes.io/managed-by",
            "batch.kubernetes.io/job-name",
            "pod-template-hash",
        )
    },
    "label that is none": ({"labels": {"my team": "x"}}, [f"labels: a key {_KEY}"]),
    "label of an empty name": ({"labels": {"example.com/": "x"}}, [f"labels: a key {_KEY}"]),
    "label with a long name": ({"labels": {"a" * 64: "x"}}, [f"labels: a key {_KEY}"]),
    "label with a value that is none": ({"labels": {"team": "my team"}}, ["labels.team in body should match"]),
    "annotation of ours": ({"annotations": {"tidemill.io/bootstrap": "x"}}, [_ANNOTATIONS]),
    "annotation below ours": ({"annotations": {"sub.tidemill.io/x": "x"}}, [_ANNOTATIONS]),
    "annotation that is none": ({"annotations": {"a b": "x"}}, [f"annotations: a key {_KEY}"]),
    "no AppArmor": (
        {"annotations": {"container.apparmor.security.beta.kubernetes.io/server": "unconfined"}},
        [_LOOSENED],
    ),
    "no seccomp": ({"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}, [_LOOSENED]),
    "label of a node that is none": ({"nodeSelector": {"a b": "x"}}, [f"nodeSelector: a key {_KEY}"]),
    **{
        f"variable {name}": (_env("A", name), ["env[1].name: Invalid value", _CODE])
        for name in (
            "TIDEMILL_SERVER_CONFIG",
            "LD_PRELOAD",
            "PYTHONPATH",
            "OPENSSL_CONF",
            "GCONV_PATH",
            "GLIBC_TUNABLES",
            "HOME",
        )
    },
    **{
        f"variable {name}": (_env(name), ["env[0].name: Invalid value", why])
        for why, names in {
            _PROXY: ("https_proxy", "NO_PROXY", "grpc_proxy", "FTP_PROXY", "Socks_Proxy"),
            _BELIEVED: ("MALLOC_TRACE", "prometheus_multiproc_dir", "FORWARDED_ALLOW_IPS"),
            _GRPC: ("GRPC_XDS_BOOTSTRAP", "grpc_dns_resolver"),
            _TRACES: ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER", "OTEL_PYTHON_TRACER_PROVIDER"),
            _RESOLVER: ("HOSTALIASES", "RES_OPTIONS"),
            _CA: (
                "ssl_cert_file",
                "SSL_CERT_FILE",
                "SSL_CERT_DIR",
                "SSLKEYLOGFILE",
                "REQUESTS_CA_BUNDLE",
                "CURL_CA_BUNDLE",
            ),
            _STORE: (
                "AWS_CONFIG_FILE",
                "AWS_SHARED_CREDENTIALS_FILE",
                "AWS_PROFILE",
                "AWS_ENDPOINT_URL",
                "AWS_ENDPOINT_URL_S3",
                "AWS_endpoint",
                "AWS_SKIP_SIGNATURE",
                "AZURE_STORAGE_ENDPOINT",
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GCE_METADATA_HOST",
                "STORAGE_EMULATOR_HOST",
                "STORAGE_EMULATOR_HOST_GRPC",
                "CLOUDSDK_CONFIG",
                "METADATA_SERVER_DETECTION",
                "NO_GCE_CHECK",
                "BOTO_CONFIG",
                "SERVICE_ACCOUNT",
                "NETRC",
            ),
        }.items()
        for name in names
    },
    **{
        f"value with U+{ord(character):04X}": (
            {"env": [{"name": "A", "value": f"a{character}b"}]},
            ["env[0].value: Invalid value", _CONTROL],
        )
        for character in ("\x00", "\x1b", "\x7f")
    },
    "variable twice": (_env("A", "A"), ["env[1]: Duplicate value"]),
    "variable without a name": (_env(""), ["env[0].name"]),
    "variable from a Secret": (
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        ["env[0].valueFrom"],
    ),
    "spread over nothing": ({"topologySpreadConstraints": [{"maxSkew": 1}]}, ["topologyKey: Required value"]),
    "spread twice": ({"topologySpreadConstraints": [_SPREAD, _SPREAD]}, ["Constraints[1]: Duplicate value"]),
    "spread with a selector": (
        {"topologySpreadConstraints": [{**_SPREAD, "labelSelector": {}}]},
        ["topologySpreadConstraints[0].labelSelector"],
    ),
    "priority of no name": ({"priorityClassName": "Very High"}, ["priorityClassName in body should match"]),
    "account of no name": ({"serviceAccountName": "Me"}, ["serviceAccountName in body should match"]),
    "toleration of no effect": ({"tolerations": [{"effect": "Never"}]}, ["tolerations[0].effect: Unsupported value"]),
    "fewest places that are no must": (
        {"topologySpreadConstraints": [{**_SPREAD, "minDomains": 2}]},
        ["topologySpreadConstraints: minDomains may be set only with whenUnsatisfiable DoNotSchedule"],
    ),
    "toleration of no key": ({"tolerations": [{"effect": "NoSchedule"}]}, [_TOLERATION]),
    "toleration of any value": ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, [_TOLERATION]),
    "toleration of a while": (
        {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]},
        ["tolerations: tolerationSeconds may be set only with effect NoExecute"],
    ),
    "affinity to no values": (_nodes(key="pool", operator="In"), [_VALUES]),
    "affinity to any value": (_nodes(key="pool", operator="Exists", values=["x"]), [_VALUES]),
    "affinity to two numbers": (_nodes(key="cpus", operator="Gt", values=["1", "2"]), [_VALUES]),
    "affinity to pods by number": (_pods(key="app", operator="Gt", values=["1"]), ["operator: Unsupported value"]),
    "affinity to pods of no value": (_pods(key="app", operator="NotIn"), [_VALUES]),
}
_UNKNOWN = {"variable from a Secret", "spread with a selector"}

REFUSED: dict[str, tuple[str, Json, list[str]]] = {
    **{
        name: (MD, {"spec.server.pod": section}, ["spec.server.pod", *wanted])
        for name, (section, wanted) in _SECTIONS.items()
        if name not in _UNKNOWN
    },
    **{
        f"label of ours in {place} of a {kind}": (
            kind,
            {place: {"labels": {"tidemill.io/monitor": "x"}}},
            [f"{place}.labels: Invalid value", _LABELS],
        )
        for place, kinds in PLACES.items()
        for kind in kinds
    },
    **{
        f"section beside {field}": (TP, {"spec.pod": {}, f"spec.{field}": value}, [_EXCLUDED])
        for field, value in (
            ("nodeSelector", {"a": "b"}),
            ("tolerations", [{"operator": "Exists"}]),
            ("serviceAccountName", "me"),
        )
    },
    "tracing said twice": (
        MD,
        {"spec.server": {"tracing": {"endpoint": "http://otel:4318"}, "pod": _env("OTEL_SERVICE_NAME")}},
        [_TRACED],
    ),
}
"""By name: the kind, changes to the minimal object, causes that the answer must name."""

UNKNOWN = {name: ({"spec.server.pod": _SECTIONS[name][0]}, _SECTIONS[name][1][0]) for name in _UNKNOWN}
"""Fields that a Pod has and a section has not."""

FULL: Json = {
    "labels": {
        "team": "risk",
        "nottidemill.io/x": "y",
        "app.kubernetes.io/version": "7",
        "azure.workload.identity/use": "true",
        "empty": "",
    },
    "annotations": {"sidecar.example.com/Inject": "yes, with any text: {}", "prometheus.io/scrape": "false"},
    "nodeSelector": {"pool": "models"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}]},
                    {"matchExpressions": [{"key": "cpus", "operator": "Gt", "values": ["8"]}]},
                ]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]}}
            ],
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 50,
                    "podAffinityTerm": {
                        "labelSelector": {"matchLabels": {"app": "db"}},
                        "topologyKey": "kubernetes.io/hostname",
                    },
                }
            ]
        },
    },
    "topologySpreadConstraints": [
        {**_SPREAD, "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "nodeTaintsPolicy": "Honor"}
    ],
    "priorityClassName": "models",
    "serviceAccountName": "churn",
    "env": [
        {"name": name, "value": value}
        for name, value in {
            "OMP_NUM_THREADS": "2",
            "OTEL_SDK_DISABLED": "",
            "AWS_REGION": "eu-central-1",
            "AZURE_STORAGE_ACCOUNT_NAME": "lake",
            "MALLOC_ARENA_MAX": "2",
            "HOMEPAGE": "x",
        }.items()
    ],
}
ACCEPTED: dict[str, tuple[str, Json]] = {
    **{f"full {place} of a {kind}": (kind, {place: FULL}) for place, kinds in PLACES.items() for kind in kinds},
    "largest section": (
        TP,
        {
            "spec.pod": {
                "labels": {f"example.com/{n:063}": "x" * 63 for n in range(50)},
                "annotations": {f"example.com/{n:063}": "x" * 4096 for n in range(30)},
                "env": [{"name": f"V{n}", "value": "x" * 4096} for n in range(50)],
            }
        },
    ),
    "section of nothing": (MD, {"spec.server.pod": {}, "spec.router": {}}),
    "no spreading": (MD, {"spec.server.pod": {"topologySpreadConstraints": []}}),
}
