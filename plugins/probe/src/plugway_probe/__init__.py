"""Four short exchanges through a running gateway that show whether a model works with an agent.

findings = await probe(url, token, "anthropic/local/demo")
for finding in findings:
    print(finding.probe, finding.outcome, finding.reason, finding.fix)
"""

from plugway_probe._models import ListedModel, list_models, one_per_backend
from plugway_probe._probes import PROBES, Finding, Outcome, ProbeName, probe
from plugway_probe._started import started

__all__ = [
    "PROBES",
    "Finding",
    "ListedModel",
    "Outcome",
    "ProbeName",
    "list_models",
    "one_per_backend",
    "probe",
    "started",
]
