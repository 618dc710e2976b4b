"""What `deploy/kubernetes` asks for; `test_tools` builds it with kubectl, and checks it against Kubernetes' schemas."""

from pathlib import Path

import pytest
import yaml

from plugway.testing import PlainBackend, build_plugin, gateway
from tests.deploy.dockerfile import health_check, read

FOLDER = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
IMAGE = read(FOLDER.parent / "Dockerfile")[-1]
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
CONFIG = yaml.safe_load((FOLDER / "config.yaml").read_text())
LABELS = KUSTOMIZATION["labels"][0]["pairs"]


def manifest(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


DEPLOYMENT = manifest("deployment")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def restricted(pod):
    """What the profile "restricted" of the Pod Security Standards refuses in a pod (of 1.30)."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    kinds = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"}
    kinds |= {"persistentVolumeClaim"}
    found += [str(v) for v in pod.get("volumes", []) if not v.keys() - {"name"} <= kinds]
    whole = pod.get("securityContext", {})
    for one in [*pod["containers"], *pod.get("initContainers", [])]:
        own = {**whole, **one.get("securityContext", {})}
        rules = {
            "privileged": not own.get("privileged"),
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "non-root": own.get("runAsNonRoot") is True and own.get("runAsUser") != 0,
            "seccomp": own.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "dropped": "ALL" in own.get("capabilities", {}).get("drop", []),
            "added": set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "ports": not any("hostPort" in port for port in one.get("ports", [])),
            "proc": own.get("procMount", "Default") == "Default",
            "sysctls": not whole.get("sysctls"),
        }
        found += [rule for rule, kept in rules.items() if not kept]
    return found


def test_the_pod_fits_the_restricted_profile_and_the_namespace_enforces_it():
    assert restricted(POD) == []
    labels = manifest("namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize(
    ("place", "value", "rule"),
    [
        ("runAsNonRoot", False, "non-root"),
        ("allowPrivilegeEscalation", True, "escalation"),
        ("capabilities", {}, "dropped"),
        ("seccompProfile", {"type": "Unconfined"}, "seccomp"),
    ],
)
def test_the_profile_would_refuse_less(place, value, rule):
    one = {**CONTAINER, "securityContext": {**CONTAINER["securityContext"], place: value}}
    assert restricted({**POD, "containers": [one]}) == [rule]


def test_the_pod_has_no_access_to_the_cluster_and_cannot_write_its_root():
    assert POD["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in POD
    kinds = {manifest(Path(name).stem)["kind"] for name in KUSTOMIZATION["resources"]}
    assert not kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    user, group = IMAGE.one("USER").split(":")
    context = POD["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    assert context["fsGroup"] == int(group)
    written = {m["mountPath"] for m in CONTAINER["volumeMounts"] if not m.get("readOnly")}
    assert written == {IMAGE.one("VOLUME"), "/tmp"}


def test_a_stop_first_ends_new_connections_and_then_leaves_time_to_finish():
    before = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    readiness = CONTAINER["readinessProbe"]
    assert before >= readiness["periodSeconds"] * readiness["failureThreshold"]
    assert POD["terminationGracePeriodSeconds"] >= before + CONFIG["server"]["drain_seconds"] + 4


def test_an_update_never_has_fewer_gateways():
    spec = DEPLOYMENT["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert manifest("disruption")["spec"]["maxUnavailable"] == 1
    (spread,) = POD["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_each_selector_selects_the_pods():
    selectors = [
        manifest("disruption")["spec"]["selector"],
        manifest("network")["spec"]["podSelector"],
        POD["topologySpreadConstraints"][0]["labelSelector"],
    ]
    assert all(selector == {"matchLabels": LABELS} for selector in selectors)
    assert KUSTOMIZATION["labels"][0]["includeSelectors"] is True


@pytest.mark.anyio
@pytest.mark.parametrize("probe", PROBES)
async def test_the_gateway_answers_a_probe_from_the_nodes_address(probe):
    """A probe's default `Host` is the pod's address, which the gateway does not know."""
    request = CONTAINER[probe]["httpGet"]
    headers = {one["name"]: one["value"] for one in request["httpHeaders"]}
    async with gateway([build_plugin(PlainBackend, "plain")]) as running:
        asked = running.client.build_request("GET", request["path"], headers=headers)
        asked.headers.pop("x-api-key", None)
        asked.headers.pop("authorization", None)
        assert (await running.client.send(asked)).status_code == 200
        without = await running.client.get(request["path"], headers={"host": "10.1.2.3:8484"})
        assert without.status_code == 421
        running.app.drain()
        draining = (await running.client.send(asked)).status_code
    assert draining == (200 if probe == "livenessProbe" else 503)


def test_the_port_of_the_probes_is_that_of_the_service_and_of_the_image():
    (port,) = CONTAINER["ports"]
    assert str(port["containerPort"]) == IMAGE.one("EXPOSE")
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    (served,) = manifest("service")["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    rule = manifest("ingress")["spec"]["rules"][0]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service == {"name": "plugway", "port": {"name": served["name"]}}
    assert rule["host"] in CONFIG["server"]["allowed_hosts"]


def test_the_secrets_of_the_configuration_lie_where_the_pod_mounts_them_and_are_kept_from_others():
    (mount,) = [m for m in CONTAINER["volumeMounts"] if m["name"] == "secrets"]
    (volume,) = [v for v in POD["volumes"] if v["name"] == "secrets"]
    text = (FOLDER / "config.yaml").read_text()
    assert text.count("{$file: ") == text.count(f"{{$file: {mount['mountPath']}/") == 4
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    assert "kind: Secret" not in "".join(path.read_text() for path in FOLDER.iterdir())


def test_the_configuration_is_where_the_image_looks_for_it():
    (mount,) = [m for m in CONTAINER["volumeMounts"] if m["name"] == "config"]
    assert f"PLUGWAY_CONFIG={mount['mountPath']}/config.yaml" in IMAGE.one("ENV")
    assert KUSTOMIZATION["configMapGenerator"] == [
        {"name": "plugway-config", "files": ["config.yaml"]}
    ]
    assert health_check(IMAGE)[0]
