"""What JAX's processes would be told in each kind of cluster, by what its machines say."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Sequence

import jax
import pytest
from jax._src.clusters import ClusterEnv, cloud_tpu_cluster, cluster

from jaxbert.errors import InputError
from jaxbert.runtime import processes

Told = tuple[str | None, int | None, int | None, Sequence[int] | None]

# As srun, mpirun, GKE and the metadata of a TPU VM say it; the third of four processes or so.
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_NTASKS": "16",
    "SLURM_STEP_NODELIST": "gpu[007-008,011]",
    "SLURM_PROCID": "10",
    "SLURM_LOCALID": "2",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}
# Hosts of a slice have a number each; a JobSet gives the slices theirs.
GKE = {
    "TPU_WORKER_HOSTNAMES": "localhost,h1,h2,h3",
    "TPU_WORKER_ID": "2",
    "TPU_SKIP_MDS_QUERY": "true",
}
SLICES = {
    "MEGASCALE_COORDINATOR_ADDRESS": "localhost:8080",
    "MEGASCALE_NUM_SLICES": "2",
    "MEGASCALE_SLICE_ID": "1",
}
METADATA = {
    "agent-worker-number": "3",
    "worker-network-endpoints": "127.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4",
    "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-16'\nZONE: 'us-west4-a'\n",
}
OLD_METADATA = METADATA | {
    "worker-network-endpoints": ",".join(f"unknown:8470:127.0.0.{n}" for n in range(1, 5))
}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of no cluster."""
    for name in os.environ:
        if name.startswith(("SLURM", "OMPI", "TPU", "MEGASCALE", "JAX_COORD", "KUBERNETES")):
            monkeypatch.delenv(name)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, machine: None) -> list[Told]:
    """What JAX makes of each call of jax.distributed.initialize."""
    calls: list[Told] = []

    def initialize(
        coordinator_address: str | None = None,
        num_processes: int | None = None,
        process_id: int | None = None,
        heartbeat_timeout_seconds: int = 0,
    ) -> None:
        given = (coordinator_address, num_processes, process_id)
        calls.append(ClusterEnv.auto_detect_unset_distributed_params(*given, None, None, 5))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


def on_a_tpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cloud_tpu_cluster, cluster):
        monkeypatch.setattr(module, "running_in_cloud_tpu_vm", True)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (SLURM, ("gpu007:61441", 16, 10, [2])),
        (SLURM | {"SLURM_STEP_NODELIST": "n1,n2"}, ("n1:61441", 16, 10, [2])),
        (OPEN_MPI, ("10.96.0.1:62624", 4, 2, [0])),
    ],
)
def test_processes_of_slurm_and_open_mpi(
    variables: dict[str, str],
    expected: Told,
    told: list[Told],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    processes.join(None, None, None)
    assert told == [expected]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (GKE, ("localhost:8482", 4, 2, None)),
        (GKE | SLICES, ("localhost:8482", 8, 6, None)),
    ],
)
def test_hosts_of_a_tpu_slice_in_kubernetes(
    variables: dict[str, str],
    expected: Told,
    told: list[Told],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_a_tpu(monkeypatch)
    no_slices = {"MEGASCALE_COORDINATOR_ADDRESS": "", "MEGASCALE_NUM_SLICES": ""}
    for name, value in (no_slices | {"MEGASCALE_SLICE_ID": ""} | variables).items():
        monkeypatch.setenv(name, value)
    processes.join(None, None, None)
    assert told == [expected]


@pytest.mark.parametrize("content", [METADATA, OLD_METADATA], ids=["names", "triples"])
def test_hosts_of_a_tpu_slice_by_its_metadata(
    content: dict[str, str], told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_tpu(monkeypatch)

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Metadata-Flavor"] == "Google"
            text = content[self.path.rpartition("/")[2]].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: str) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{server.server_port}")
        processes.join(None, None, None)
        server.shutdown()
    assert told == [("127.0.0.1:8482", 4, 3, None)]


def test_a_host_alone_or_outside_of_a_cluster_asks_for_nobody(
    told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.join(None, None, None)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    processes.join(None, None, None)
    on_a_tpu(monkeypatch)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "localhost")
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "1")
    processes.join(None, None, None)
    assert told == []


def test_flags_come_before_what_a_cluster_says(
    told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an indexed job of Kubernetes with GPUs, and of a launcher inside SLURM, whose process
    has one GPU of its own."""
    for name, value in (SLURM | {"SLURM_LOCALID": "0"}).items():
        monkeypatch.setenv(name, value)
    processes.join("job-workers-0-0.job:1234", 4, 3)
    assert told == [("job-workers-0-0.job:1234", 4, 3, [0])]


def test_an_open_mpi_that_tells_no_address_is_refused_with_what_to_do(
    told: list[Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OPEN_MPI.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OMPI_MCA_orte_hnp_uri")
    with pytest.raises(InputError, match="--coordinator_address HOST:PORT"):
        processes.join(None, None, None)
    assert told == []
