"""A search on several machines: nodes with a network, processes, files and a name of their own, joined by Ray alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from search.task.screening.demo_images import draw
from tests.support.clusters import SHARED, TOKEN, cluster_of, training_on
from tests.support.lab import Lab, wait_for
from tests.support.launching import SLOW_TRAIN, check_agreement, launch, rows
from tests.support.own_task import SEED, own_repository
from tests.support.repositories import ROOT, git, make_repository

pytestmark = pytest.mark.skipif(bool(Lab.available()), reason=f"machines of our own: {Lab.available()}")
# A node finds its head dead by itself, in half a minute instead of four. Not for searches: pings so often break calls.
NOTICES_ITS_HEAD = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}


def test_a_node_is_lost_and_comes_back_while_a_search_runs(tmp_path):
    with cluster_of(tmp_path, a=1, b=2) as cluster:
        with cluster.driver("--gpus", "auto", "--experiments", "18") as driver:
            lost = wait_for(lambda: training_on(cluster, "b"), 120)
            places = {slot["slot"]: (slot["node"], slot["gpu"]) for slot in cluster.status()["slots"]}
            assert places == {0: ("a", "0"), 1: ("b", "0"), 2: ("b", "1")}
            (raylet,) = cluster.nodes["b"].processes("/raylet --r")
            os.kill(raylet.host_pid, signal.SIGKILL)
            wait_for(lambda: cluster.raylets["b"].poll() is not None, 30)
            wait_for(lambda: not cluster.nodes["b"].processes("train.py"), 10)
            wait_for(lambda: [s["slot"] for s in cluster.status()["slots"] if s["left"]] == [1, 2], 60)
            cluster.start_ray("b")
            wait_for(lambda: len([o for o in cluster.outcomes() if o["slot"] in (1, 2)]) >= 2, 90)
            output = cluster.ends(driver)
        assert "node    b has gone" in output
        assert f"lost    {lost[0]} on gpu" in output
        cluster.check(18)
        again = {outcome["trial"] for outcome in cluster.outcomes() if outcome["trial"].startswith(lost[0])}
        assert len(again) == 1 and lost[0] not in again  # its second attempt
        assert {outcome["slot"] for outcome in cluster.outcomes()} == {0, 1, 2}


@pytest.mark.full
def test_a_cut_network_costs_only_what_ran_behind_the_cut(tmp_path):
    with cluster_of(tmp_path, a=1, b=1, c=1) as cluster:
        with cluster.driver("--gpus", "3") as driver:  # without a limit: how long a cut takes is Ray's affair
            wait_for(lambda: training_on(cluster, "b") and training_on(cluster, "c"), 120)
            cluster.nodes["b"].cut()
            time.sleep(2)
            cluster.nodes["b"].heal()  # a short one is not even noticed
            wait_for(lambda: training_on(cluster, "b"), 60)
            assert "has gone" not in driver.log.read_text()
            cut = wait_for(lambda: training_on(cluster, "b"), 60)
            cluster.nodes["b"].cut()
            wait_for(lambda: "node    b has gone" in driver.log.read_text(), 90)
            cluster.nodes["b"].heal()
            wait_for(lambda: cluster.raylets["b"].poll() is not None, 60)
            wait_for(lambda: not cluster.nodes["b"].processes("train.py"), 20)
            cluster.start_ray("b")
            wait_for(lambda: training_on(cluster, "c"), 60)
            cluster.nodes["c"].kill()  # and another one loses its power
            wait_for(lambda: "node    c has gone" in driver.log.read_text(), 90)
            known = len(cluster.outcomes())
            wait_for(lambda: len(cluster.outcomes()) > known, 90)
            cluster.head.signal(driver, signal.SIGINT)
            output = cluster.ends(driver, code=130, seconds=60)
        cluster.nodes["c"].up()
        assert f"lost    {cut[0]} on gpu" in output or cut[0] in {outcome["trial"] for outcome in cluster.outcomes()}
        assert cluster.outcomes()[-1]["slot"] in (0, 1)
        assert cluster.files_of_search("c")  # it was off when the search ended; its next start removes them
        cluster.start_ray("c")
        done = len(rows(cluster.repository)) - 1
        cluster.launch("--resume", "t", "--experiments", str(done + 3))
        cluster.check(done + 3)


@pytest.mark.full
def test_a_task_of_ones_own_runs_on_every_node(tmp_path):
    with cluster_of(tmp_path, a=1, b=1) as cluster:
        folder = own_repository(cluster.head.home / "own", more=SEED)
        words = "--address auto --gpus auto --experiments 8 --agent none --tag own --disk-reserve 0"
        done = cluster.head.run(
            [sys.executable, "-m", "search", "launch", *words.split()],
            cwd=folder, env={"RAY_AUTH_MODE": "token", "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        outcomes = [json.loads(line) for line in (folder / "runs/own/trials.jsonl").read_text().splitlines()]
        assert {one["slot"] for one in outcomes} == {0, 1} and all(one["score"]["val_loss"] > 1 for one in outcomes)
        table = (folder / "runs/own/results.tsv").read_text().splitlines()
        assert table[0] == "commit\tval_loss\tmemory_gb\tstatus\tdescription" and len(table) >= 10
        assert cluster.files_of_search("b") == [] and not (cluster.nodes["b"].home / "own").exists()


STAGES = {
    "getting ready": lambda search: search.glob("repository.git"),
    "begun": lambda search: search.glob("run/gpu*/trials/*"),
    "started": lambda search: search.glob("run/gpu*/trials/*/running.json"),
    "ended": lambda search: search.glob("run/gpu*/trials/*/outcome.json"),
}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_nodes_lose_their_power_at_every_stage_of_a_trial(tmp_path):
    with cluster_of(tmp_path, a=1, b=1) as cluster:
        with cluster.driver("--gpus", "auto") as driver:
            node = cluster.nodes["b"]
            for count, (stage, shows) in enumerate(STAGES.items(), 1):

                def there(shows=shows):
                    return {path for folder in cluster.files_of_search("b") for path in shows(folder)}

                before = there()  # what earlier lives have left
                wait_for(lambda there=there, before=before: there() - before, 120, every=0.002)
                node.kill()
                wait_for(lambda count=count: driver.log.read_text().count("node    b has gone") == count, 60)
                assert driver.poll() is None, (stage, driver.log.read_text())
                node.up()
                cluster.start_ray("b")
                wait_for(lambda count=count: driver.log.read_text().count("b has joined") >= count, 60)
            assert "not used" not in driver.log.read_text()
            cluster.head.signal(driver, signal.SIGINT)
            cluster.ends(driver, code=130, seconds=60)
        done = len(rows(cluster.repository)) - 1
        cluster.launch("--resume", "t", "--experiments", str(done + 3))
        cluster.check(done + 3)


@pytest.mark.full
@pytest.mark.parametrize("dies", ["driver", "head"])
def test_a_search_whose_head_dies_is_resumed(tmp_path, dies):
    with cluster_of(tmp_path, a=1, b=2) as cluster:
        if dies == "head":
            cluster.nodes["b"].kill()
            cluster.nodes["b"].up()
            cluster.start_ray("b", **NOTICES_ITS_HEAD)
        with cluster.driver("--gpus", "auto") as driver:
            wait_for(lambda: len(cluster.outcomes()) >= 4 and training_on(cluster, "b"), 150)
            if dies == "driver":
                cluster.head.signal(driver, signal.SIGKILL)
            else:
                cluster.head.kill()
            driver.wait(timeout=30)
            finished = {path.parent.name for path in cluster.repository.glob("runs/t/gpu*/trials/*/outcome.json")}
            wait_for(lambda: not cluster.nodes["b"].processes("train.py"), 60)
        if dies == "head":
            wait_for(lambda: cluster.raylets["b"].poll() is not None, 120)
            cluster.head.up()
            cluster.start_ray("a")
            cluster.start_ray("b")
        cluster.launch("--resume", "t", "--experiments", "12")
        cluster.check(12, driver_died=True)
        assert {outcome["slot"] for outcome in cluster.outcomes()} == {0, 1, 2}  # the numbers are the same ones
        assert finished <= {outcome["trial"] for outcome in cluster.outcomes()}


@pytest.mark.full
def test_ctrl_c_ends_the_trials_on_all_nodes(tmp_path):
    with cluster_of(tmp_path, a=1, b=2) as cluster:
        with cluster.driver("--gpus", "auto") as driver:
            results = cluster.repository / "runs/t/results.tsv"  # its first row: the baseline is decided
            wait_for(lambda: results.exists() and rows(cluster.repository) and training_on(cluster, "b"), 150)
            cluster.head.signal(driver, signal.SIGINT)
            output = cluster.ends(driver, code=130, seconds=60)
        assert "--resume t" in output
        cluster.check(len(rows(cluster.repository)) - 1)
        done = len(rows(cluster.repository)) - 1
        cluster.launch("--resume", "t", "--experiments", str(done + 4))  # three were running
        cluster.check(done + 4)  # what was ended with the search is no crash


@pytest.mark.full
def test_who_takes_part_in_a_search(tmp_path):
    """Nodes with other versions, without the wanted model, with a notice, beyond --gpus; and one that comes late."""
    with cluster_of(tmp_path, a=1, b=1) as cluster:
        other = cluster.nodes["b"].home / "other/pillow-0.0.1.dist-info"
        other.mkdir(parents=True)
        (other / "METADATA").write_text("Metadata-Version: 2.1\nName: pillow\nVersion: 0.0.1\n")
        cluster.nodes["c"], cluster.gpus["c"] = cluster.lab.node("c"), 2
        (cluster.nodes["c"].home / ".ray").mkdir()
        (cluster.nodes["c"].home / ".ray/auth_token").write_text(TOKEN)
        cluster.raylets["b"].terminate()
        cluster.nodes["b"].kill()
        cluster.nodes["b"].up()
        cluster.start_ray("b", PYTHONPATH=str(other.parent))
        draw(cluster.nodes["c"].home.parent / "unused", 100)
        with cluster.driver("--gpus", "2", "--experiments", "24") as driver:
            wait_for(lambda: "node    b is not used: pillow 0.0.1" in driver.log.read_text(), 90)
            cluster.start_ray("c")
            wait_for(lambda: {outcome["slot"] for outcome in cluster.outcomes()} == {0, 1}, 90)
            folder = next(cluster.nodes["c"].home.glob(".local/state/autoresearch/nodes/*"))
            (folder / "leaving").write_text("maintenance")
            wait_for(lambda: "nothing new begins there" in driver.log.read_text(), 60)
            busy = [slot["slot"] for slot in cluster.status()["slots"] if not slot["left"]]
            assert len(busy) <= 2  # two slots were asked for
            output = cluster.ends(driver)
        assert "node    c: told to leave: maintenance; nothing new begins there" in output
        cluster.check(24)
        none = cluster.launch("--gpu-model", "A100", "--tag", "u", code=1)
        assert "no node can take part: a: it has logical GPUs, not A100" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--address", "ray://head:10001"], 2, "start the search on a node of the cluster"),
        (["--address", "127.0.0.1:1"], 1, "Ray did not start at 127.0.0.1:1"),
        (["--address", "head"], 2, "--address head: auto, or the address of the head"),
        (["--gpu-model", "A100"], 2, "--gpu-model A100: this machine has no GPU"),
    ],
)
def test_what_cannot_be_joined_is_one_clear_line(fast_repository, demo, arguments, code, words):
    done = launch(fast_repository, demo, *arguments, code=code)
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_cluster_files_commands_bring_up_a_cluster_that_takes_a_job(tmp_path):
    """Its set-up and start commands on two machines, then what docs/cluster.md says: a push, a job, a summary."""
    config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    environment = tmp_path / "lab/a/home/exit-site-search-env"  # the head's, for both: it has gigabytes
    environment.mkdir(parents=True)
    with Lab(tmp_path / "lab", shared=[*SHARED, environment]) as lab:
        head, worker = lab.node("a"), lab.node("b")
        assert head.ip == config["provider"]["head_ip"]
        photos = tmp_path / "photos"
        draw(photos, 300)
        for node in (head, worker):  # by rsync, in the launcher
            (node.home / ".ray").mkdir()
            (node.home / ".ray/auth_token").write_text(TOKEN)
            shutil.copytree(photos, node.home / "exit-site-photos")
            shutil.copy(ROOT / "requirements.txt", node.home / "exit-site-search-env.txt")
            shutil.copy(ROOT / "ray_cluster.yaml", node.home / "ray_bootstrap_config.yaml")
        for command in [*config["setup_commands"], *config["setup_commands"], *config["head_setup_commands"]]:
            subprocess.run(  # a node of the lab has no way to a package index, so here, with the node's home
                ["bash", "-c", command], env=os.environ | {"HOME": str(head.home)}, check=True, timeout=600
            )
        (worker.home / "exit-site-search-env").symlink_to(environment)
        for command in config["setup_commands"]:  # there is nothing to do
            worker.run(command, check=True, timeout=20)
        more = " --num-gpus=1 --num-cpus=2"  # this machine has none to be found
        for node, commands in ((head, "head"), (worker, "worker")):
            *first, start = config[f"{commands}_start_ray_commands"]
            for command in [*first, start.replace(" --autoscaling-config=~/ray_bootstrap_config.yaml", "") + more]:
                done = node.run(command, env={"RAY_HEAD_IP": head.ip}, timeout=120)
                assert done.returncode == 0, done.stdout + done.stderr
        project = make_repository(tmp_path / "project", SLOW_TRAIN)
        git(project, "push", "-q", str(head.home / "exit-site-search"), "HEAD:main")
        search = "exec ~/exit-site-search-env/bin/python -m search.launch --address auto --gpus auto --tag t "
        search += "--dataset ~/exit-site-photos --space spaces/fast.toml --max-train-seconds 5 --experiments 4"
        asked = ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--", "bash", "-c"]
        asked += [f"cd ~/exit-site-search && {search}"]
        refused = head.run(asked, env={"RAY_AUTH_MODE": "disabled"}, timeout=120)
        assert refused.returncode != 0 and "Unauthorized" in refused.stdout + refused.stderr
        done = head.run(asked, env={"RAY_AUTH_MODE": "token"}, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "search t: 2 slots, and all that join" in done.stdout
        check_agreement(head.home / "exit-site-search", 5)
        listening = head.run("ss -ltnH").stdout
        assert "127.0.0.1:8265" in listening and "0.0.0.0:8265" not in listening
        assert not list(worker.home.glob(".local/state/autoresearch/nodes/*/searches/*"))
        assert not list(worker.home.glob(".cache/autoresearch/*/photos"))
