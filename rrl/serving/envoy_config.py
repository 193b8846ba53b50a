"""The configuration of an Envoy in front of a kept server and a server on trial, as plain data.

Envoy reads listeners and clusters once, at its start. It reads the routes and the addresses of the
servers from files, and anew whenever another file is *renamed* over one of them. All is data for
JSON; nothing here touches a file or a process.

During a trial, predictions go by the rule "trial, then kept": the server on trial gets a fraction
of them, and what it refuses, loses or holds for too long is sent again to the kept server. Nothing
but predictions is repeated, because only they change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrl.serving.loadgen import SYNTHETIC

_GRPC_PREDICTION = (
    r"/tensorflow\.serving\.PredictionService/(Predict|Classify|Regress|MultiInference)"
)
_REST_PREDICTION = r"/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?:(predict|classify|regress)"

ROUTES, ACCESS_LOG, ADMIN = "routes.json", "requests.log", "admin.sock"
"""Files in the folder of an Envoy: the routes, its log of requests, and its socket for questions.

The addresses of the servers of a cluster are in a file with the cluster's name.
"""

KEPT, TRIAL, OTHER = "kept", "trial", "other"
"""The routes of predictions, named after the two servers, and the route of all other calls."""

CLUSTERS = (KEPT, TRIAL, f"{KEPT}-rest", f"{TRIAL}-rest")
"""Where calls go, by gRPC or by REST: to the kept server, or to the trial and then to the kept one.
"""

_MANY = 1_000_000  # of what Envoy would otherwise limit to a few
_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_NO_LIMITS = {"thresholds": [dict.fromkeys(_LIMITS, _MANY)]}
# A request consists of frames of at most 16 KiB. Envoy would close a connection on which more than
# 10,000 of them wait. The large requests of a dropped trial, sent to the kept server, can be more.
_BY_GRPC = {"http2_protocol_options": {"max_outbound_frames": _MANY}}
_BY_REST: dict[str, Any] = {"http_protocol_options": {}}
READ_S = 60.0  # in which a request has to arrive as a whole
_IDLE_S = 3600  # a prediction may take long; a client that reads nothing must not stay for ever
_OPEN_S = 0.5  # between two lines of the log on a request that is open
_TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Door:
    """Where clients come in.

    Parameters
    ----------
    port : int
        The port for gRPC.
    rest_port : int, optional
        The port for REST; None if there is none.
    bind : str
        The address of this machine on which both listen.
    max_request : int
        Size in bytes of the largest request. A larger one is refused while it arrives.
    """

    port: int
    rest_port: int | None = None
    bind: str = "127.0.0.1"
    max_request: int = 64 * 2**20

    def __str__(self) -> str:
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        rest = f" and {host}:{self.rest_port} (REST)" if self.rest_port else ""
        return f"{host}:{self.port}{' (gRPC)' if rest else ''}{rest}"

    @property
    def local(self) -> str:
        """The address for gRPC, as this machine reaches it."""
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = everywhere.get(self.bind, self.bind)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def ports(self) -> list[int]:
        """The ports of both kinds."""
        return [port for port in (self.port, self.rest_port) if port]


def bootstrap(door: Door, folder: Path, model: str = "") -> dict[str, Any]:
    """Return what Envoy reads at its start; `folder` has the other files.

    The name of the model changes nothing: it says who may go on with this Envoy.
    """
    return {
        "node": {"id": f"rrl-{door.port}", "cluster": "rrl", "metadata": {"model": model}},
        "admin": {"address": _pipe(folder / ADMIN)},
        "static_resources": {
            "listeners": [_listener(door, port, folder) for port in door.ports],
            "clusters": [_cluster(name, folder) for name in CLUSTERS],
        },
        "memory_allocator_manager": {
            "bytes_to_release": 256 * 2**20,  # so much, so often: a burst does not stay
            "memory_release_interval": "2s",
        },
        "overload_manager": {
            "resource_monitors": [
                _typed(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    max_active_downstream_connections=10_000,
                )
            ]
        },
    }


def endpoints(cluster: str, addresses: Sequence[str]) -> dict[str, Any]:
    """Return the addresses of a cluster's servers.

    An address is ``unix:/path`` or ``host:port``. The first server gets the calls, and the second
    one the repeated calls.
    """
    servers = [[{"endpoint": {"address": _address(address)}}] for address in addresses]
    return {
        "@type": f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"priority": n, "lb_endpoints": one} for n, one in enumerate(servers)],
    }


def routes(trial: float | None = None, hang_s: float = 60.0) -> dict[str, Any]:
    """Return the routes.

    Parameters
    ----------
    trial : float, optional
        The fraction of the predictions that goes to the server on trial. Predictions of rrl itself
        all go there, and are not repeated. None stands for no trial.
    hang_s : float
        Seconds after which a prediction that the trial has not answered is sent to the kept server,
        too. The first good answer is the one that the client gets.

    Examples
    --------
    >>> [route["name"] for route in routes()["virtual_hosts"][0]["routes"]]
    ['kept', 'other', 'kept', 'other']
    """
    grpc = {"safe_regex": {"regex": _GRPC_PREDICTION}}
    rest = {
        "safe_regex": {"regex": _REST_PREDICTION},
        "headers": [{"name": ":method", "string_match": {"exact": "POST"}}],
    }
    found = []
    if trial is not None:
        own = {**grpc, "headers": [{"name": SYNTHETIC[0], "present_match": True}]}
        found.append(_route(TRIAL, own, TRIAL))
        for match, end in ((grpc, ""), (rest, "-rest")):
            part = {"numerator": round(_MANY * trial), "denominator": "MILLION"}
            some = {**match, "runtime_fraction": {"default_value": part}}
            repeats = {
                "retry_policy": _trial_repeats(hang_s),
                "hedge_policy": {"hedge_on_per_try_timeout": True},
            }
            found.append(_route(TRIAL, some, f"{TRIAL}{end}", **repeats))
    lost = {"retry_policy": {"retry_on": "reset,connect-failure,refused-stream", "num_retries": 1}}
    found += [
        _route(KEPT, grpc, KEPT, **lost),
        _route(OTHER, {"prefix": "/", "grpc": {}}, KEPT),
        _route(KEPT, rest, f"{KEPT}-rest", **lost),
        _route(OTHER, {"prefix": "/"}, f"{KEPT}-rest"),
    ]
    return {
        "@type": f"{_TYPE}config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": found}],
        "request_headers_to_remove": [SYNTHETIC[0]],
    }


def _trial_repeats(hang_s: float) -> dict[str, Any]:
    """Return when a prediction of the trial is sent again, to the kept server.

    A refusal may be due to the configuration, such as a largest batch, so all of them are repeated.
    """
    name = "envoy.retry_priorities.previous_priorities"
    config = "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    codes = {"name": "grpc-status", "string_match": {"safe_regex": {"regex": "[1-9][0-9]?"}}}
    return {
        "retry_on": "5xx,reset,connect-failure,refused-stream,retriable-headers,"
        "retriable-status-codes",
        "retriable_headers": [codes],
        "retriable_status_codes": [400, 404, 408, 409, 412, 429],
        "num_retries": 1,
        "per_try_timeout": f"{hang_s:.3f}s",
        "retry_priority": _typed(name, config, update_frequency=1),
    }


def _route(name: str, match: Mapping[str, Any], cluster: str, **more: Any) -> dict[str, Any]:
    action = {"cluster": cluster, "timeout": "0s", **more}  # the client's own deadline holds
    return {"name": name, "match": dict(match), "route": action}


def _listener(door: Door, port: int, folder: Path) -> dict[str, Any]:
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=f"port-{port}",
        rds={"route_config_name": "routes", "config_source": _file(folder / ROUTES)},
        http_filters=[
            _typed(  # a request that may be repeated has to be here as a whole
                "envoy.filters.http.buffer",
                "extensions.filters.http.buffer.v3.Buffer",
                max_request_bytes=door.max_request,
            ),
            _typed(
                "envoy.filters.http.router",
                "extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        ],
        access_log=[_access_log(folder / ACCESS_LOG)],
        access_log_options={
            "flush_access_log_on_new_request": True,
            "access_log_flush_interval": f"{_OPEN_S}s",
        },
        generate_request_id=False,
        request_timeout=f"{READ_S}s",
        stream_idle_timeout=f"{_IDLE_S}s",
    )
    return {
        "name": f"port-{port}",
        "address": _socket(door.bind, port),
        "enable_reuse_port": False,  # nobody else may listen there, too
        "filter_chains": [{"filters": [manager]}],
    }


def _access_log(file: Path) -> dict[str, Any]:
    """Return the log of calls of others: lines when one arrives, is still open, and ends.

    :mod:`rrl.serving.client_traffic` reads it.
    """
    others = {"name": SYNTHETIC[0], "present_match": True, "invert_match": True}
    line = {
        "id": "%CONNECTION_ID%-%START_TIME(%s%9f)%",
        "type": "%ACCESS_LOG_TYPE%",
        "start_s": "%START_TIME(%s.%9f)%",
        "seconds_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
        "milliseconds": "%DURATION%",
        "route": "%ROUTE_NAME%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "host": "%UPSTREAM_HOST%",
        "http": "%RESPONSE_CODE%",
        "grpc": "%GRPC_STATUS_NUMBER%",
        "content": "%REQ(CONTENT-TYPE)%",
    }
    log = _typed(
        "envoy.access_loggers.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(file),
        log_format={"json_format": line},
    )
    return log | {"filter": {"header_filter": {"header": others}}}


def _cluster(name: str, folder: Path) -> dict[str, Any]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _file(folder / f"{name}.json")},
        "circuit_breakers": _NO_LIMITS,
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": _BY_REST if name.endswith("-rest") else _BY_GRPC,
            }
        },
    }


def _file(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _typed(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": _TYPE + kind, **fields}}


def _address(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        return _pipe(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    return _socket(host, int(port))


def _pipe(path: Path) -> dict[str, Any]:
    return {"pipe": {"path": str(path), "mode": 0o600}}


def _socket(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
