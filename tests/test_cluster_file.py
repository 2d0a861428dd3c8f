"""The cluster launcher's file, as far as it can be checked without a cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

CLUSTER_FILE = Path(__file__).parent.parent / "ray_cluster.yaml"


def test_ray_accepts_the_cluster_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(CLUSTER_FILE.read_text()))
    validate_config(config)
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
