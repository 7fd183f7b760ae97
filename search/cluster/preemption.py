"""Has this machine been told that it will be taken away? By its cloud, or by anybody who leaves a file."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

NOTICE_FILE = "leaving"  # in the node's folder; its text is the reason
METADATA = "http://169.254.169.254"  # of AWS and of GCP; $AUTORESEARCH_METADATA names another
VENDOR = Path("/sys/class/dmi/id/sys_vendor")
PATIENCE = 2.0  # seconds


def notice(folder: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Why this machine will go soon; '' if nobody said so. folder: node.node_folder()."""
    try:
        return f"told to leave: {(folder / NOTICE_FILE).read_text(errors='replace').strip() or 'no reason given'}"
    except OSError:
        pass
    cloud = cloud_here(environment)
    try:
        if cloud == "aws":
            return _of_aws(environment.get("AUTORESEARCH_METADATA", METADATA))
        if cloud == "gcp":
            return _of_gcp(environment.get("AUTORESEARCH_METADATA", METADATA))
    except (OSError, ValueError, HTTPException):  # no answer is no notice
        pass
    return ""


def cloud_here(environment: Mapping[str, str]) -> str:
    """aws, gcp or ''; $AUTORESEARCH_CLOUD if it is set, else by the machine's maker."""
    named = environment.get("AUTORESEARCH_CLOUD")
    if named is not None:
        return named
    try:
        vendor = VENDOR.read_text()
    except OSError:
        return ""
    return "aws" if "Amazon" in vendor else "gcp" if "Google" in vendor else ""


def _ask(url: str, method: str = "GET", **headers: str) -> str:
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def _of_aws(root: str) -> str:
    """AWS gives notice two minutes ahead, at spot/instance-action, which is not found before."""
    token = _ask(f"{root}/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
    try:
        answer = _ask(f"{root}/latest/meta-data/spot/instance-action", X_aws_ec2_metadata_token=token)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise
    return f"spot reclaim: {' '.join(answer.split())}"


def _of_gcp(root: str) -> str:
    """GCP gives notice half a minute ahead."""
    answer = _ask(f"{root}/computeMetadata/v1/instance/preempted", Metadata_Flavor="Google")
    return "spot reclaim: preempted" if answer.strip() == "TRUE" else ""
