"""ray_cluster.yaml by Ray's own schema: as it is, and with each of its blocks for a cloud in place."""

import copy
import re

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.repositories import ROOT

TEXT = (ROOT / "ray_cluster.yaml").read_text()


def variants():
    """The file's text with each provider, as its own comments say how."""
    parts = re.split(r"(?m)^# ---- (.*) ----$", TEXT)
    top, blocks = parts[0], dict(zip(parts[1::2], parts[2::2], strict=True))
    common = blocks.pop("All providers")
    found = {"local": top + blocks.pop("Machines that you have") + common}
    for name, block in blocks.items():
        assert all(line.startswith("#") or not line for line in block.splitlines()), name
        found[name[:3].lower()] = top + re.sub(r"(?m)^# ?", "", block) + common
    return found


@pytest.mark.parametrize("provider", ["local", "aws", "gcp"])
def test_the_cluster_file_is_valid(provider):
    config = yaml.safe_load(variants()[provider])
    assert config["cluster_name"] and config["provider"]["type"] == provider
    validate_config(prepare_config(copy.deepcopy(config)))
    starts = [config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]]
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    if provider == "local":
        assert f"--node-ip-address={config['provider']['head_ip']}" in starts[0]
        assert yaml.safe_load(TEXT) == config
    else:
        kinds = config["available_node_types"]
        assert kinds["gpu"]["min_workers"] == 0 < kinds["gpu"]["max_workers"] <= config["max_workers"]
        assert config["idle_timeout_minutes"] > 0 and config["provider"]["use_internal_ips"]


def test_the_file_of_a_misspelt_field_is_refused():
    config = yaml.safe_load(variants()["aws"])
    config["idle_timeout_minuets"] = 5
    with pytest.raises(Exception, match="idle_timeout_minuets"):
        validate_config(prepare_config(config))
