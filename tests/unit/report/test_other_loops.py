"""Histories of other loops: any columns, statuses and metric, read without a flag where they tell."""

import json
import random

import pytest

from search import summarize
from search.core.types import Status
from search.records.results_tsv import LedgerError
from search.report.other_loops.histories import agreement, is_ours, metric_of, read_other
from search.report.other_loops.summary import analyse_other, doubt_about, noise_of, steps_of
from search.report.other_loops.tables import number_in, status_of
from tests.support.states import TASK

BPB = """commit\tval_bpb\tmemory_gb\tstatus\tdescription
a000001\t1.810852\t44.0\tkeep\tbaseline
a000002\t1.666229\t44.0\tkeep\tlonger warmdown
a000003\t1.701000\t44.0\tdiscard\thigher lr
a000004\t0.000000\t0.0\tcrash\tdepth 20 (OOM)
a000005\t1.606566\t44.1\tkeep\tlr floor
a000006\t1.640000\t44.1\tdiscard\tGeLU
"""
AUC = """commit\toof_auc\tstatus\tdescription
b000001\t0.987468\tkeep\tbaseline: 15 members
exp1\t0.987102\tdiscard\tmore features
exp3\t0.989256\tkeep\tan MLP head
exp6\t-\tkeep\tself-training, blended
lb_11\t0.891552\tlb\tthe leaderboard
exp9\t0.990810\tkeep\t21 members
exp10\t0.9672\toof\tone fold
exp11\t0.988100\tdiscard\tlarger
"""
SHARPE = """commit\tscore\tsharpe\tmax_dd\tstatus\tdescription
exp0\t-999.000\t0.000\t0.00\tBASELINE\tno trades
exp1\t1.079\t1.079\t8.74\tKEEP\tstop distance
exp2\t-999.000\t0.715\t4.17\tREVERT\ttighter
exp3\t0.680\t0.680\t4.39\tREVERT\tworse Sharpe
exp4\t1.136\t1.136\t9.15\tKEEP\tthreshold
exp5\t1.100\t1.100\t5.14\tREVERT\tclose
"""
WER = """git_commit\thf_wer\tstatus\tdescription
unknown\t\tfailed\tbaseline | NotFound("Dataset 'x' is gated")
unknown\t14.2900\tpartial\tbaseline
unknown\t13.1000\tpartial\tbaseline-fixed
"""
LAPS = """commit\taggregate_score\tmean_score\tstatus\tdescription
c000001\t0.275558\t0.886028\tkeep\tbaseline
c000002\t0.281397\t0.664994\tkeep\tbrake earlier
c000003\t0.285799\t0.934548\tkeep\tease off
c000004\t0.270000\t0.954548\tdiscard\tlookahead
c000005\t1.160353\t1.249532\tkeep\tcornering
c000005\t0.270715\t0.959897\tdiscard\tcornering (repeat)
c000005\t0.261700\t0.959897\tdiscard\tcornering, seed 3
"""
LONG = """run_id\tmetric_name\tmetric_value\tmetric_direction\tdecision\tidea
r1\tseparation\t0.90\tmax\tkeep\tbaseline
r2\tseparation\t0.94\tmax\tkeep\tsimpler
r3\tseparation\tNaN\tmax\tcrash\tslow
"""
HEADLESS = """HEAD\tmodel-4bit\t397.0\t3.30\tkeep\tbaseline
HEAD\tmodel-4bit\t397.0\t5.29\tkeep\tshaders
HEAD\tmodel-4bit\t397.0\t2.79\tdiscard\tmmap
HEAD\tmodel-4bit\t397.0\t6.10\tkeep\tfused
HEAD\tmodel-4bit\t397.0\t4.40\tdiscard\tcache
"""
COMMAS = """commit,val_acc,memory_gb,status,description
d000001,24.9%,3.2,keep,baseline
d000002,25.9%,3.2,keep,"wider, deeper"
d000003,21.9%,3.2,discard,longer
d000004,27.0%,3.2,keep,colour
"""
WIDE = """commit\tkind\tval_bpb\tdelta_vs_best\tsteps\tmemory_gb\tstatus\thypothesis\tdescription
e000001\tbaseline\t0.964088\t0.000000\t900\t29.9\tkeep\tit runs\tclean
e000002\tlr\t0.954881\t-0.009207\t901\t29.9\tkeep\tless\tlower
e000003\tarchitecture\t0.000000\t0.000000\t0\t0.0\tdiscard\tnot run\tskip
e000004\tlr\t1.030709\t0.075828\t902\t29.9\tdiscard\tmore\thigher
e000005\tlr\t0.950000\t-0.004881\t903\t29.9\tkeep\tless still\tlowest
e000006\tlr\t0.951000\t0.001000\t903\t29.9\tdiscard\tless than that\ttoo low
"""
SPEED = """config_id\ttg_tok_s\tppl\tvram_gb\tstatus\tdescription
f1\t29.17\t4.5807\t10.1\tkeep\tbaseline
f2\t26.34\t4.5839\t9.9\tdiscard\tq8
f3\t32.17\t-\t10.2\tkeep\tspeculative
f4\t31.00\t-\t10.2\tdiscard\tn_max=4
"""
KINDS = {  # text, metric, higher is better, kept rows that have it, statuses of other kinds
    "bits per byte": (BPB, "val_bpb", False, 3, {}),
    "empty cells and other statuses": (AUC, "oof_auc", True, 3, {"lb": 1, "oof": 1}),
    "numbers that stand for failures": (SHARPE, "score", True, 2, {}),
    "no word of what was kept": (WER, "hf_wer", False, 0, {"partial": 2}),
    "two metrics, one of which decided": (LAPS, "aggregate_score", True, 4, {}),
    "a metric in each row": (LONG, "separation", True, 2, {}),
    "no header": (HEADLESS, "column4", True, 3, {}),
    "commas, per cent": (COMMAS, "val_acc", True, 3, {}),
    "many columns": (WIDE, "val_bpb", False, 3, {}),
    "speed beside quality": (SPEED, "tg_tok_s", True, 2, {}),
}


def written(tmp_path, text):
    path = tmp_path / "results.tsv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_any_history_is_read_without_a_flag(tmp_path, kind):
    text, name, higher, kept, others = KINDS[kind]
    path = written(tmp_path, text)
    assert not is_ours(path, TASK)
    history = read_other(path)
    metric = metric_of(history)
    assert (metric.name, metric.higher_is_better) == (name, higher), metric.known_by
    found = analyse_other(history, metric, steps_of(history, metric))
    assert (len(found["frontier"]), found["other_statuses"]) == (kept, others)
    rows = len(text.splitlines()) - (kind != "no header")
    assert sum(found["counts"][status] for status in Status) + sum(others.values()) == rows


def test_a_crash_is_told_by_its_status_and_a_zero_is_no_score(tmp_path):
    history = read_other(written(tmp_path, WIDE))
    assert "val_bpb" not in history.rows[2].values and history.rows[2].status is Status.DISCARD
    assert any("val_bpb" in note for note in history.notes)
    assert "val_bpb" not in read_other(written(tmp_path, BPB)).rows[3].values


def test_what_a_repeat_denies_looks_like_luck(tmp_path):
    history = read_other(written(tmp_path, LAPS))
    metric = metric_of(history)
    step = steps_of(history, metric)[-1]
    assert step.others == (0.270715, 0.2617)
    assert doubt_about(step, metric, None).startswith("measured again it had 0.266")
    found = analyse_other(history, metric, steps_of(history, metric))
    assert found["frontier"][-1]["looks_like_luck"] and found["noise"]["measured_again"] == 1


def test_a_gain_within_the_noise_looks_like_luck_and_a_large_one_does_not(tmp_path):
    rows = ["b\t0.9\tkeep\tbaseline"]
    rows += [f"b\t{0.897 + n / 1000:.4f}\tdiscard\tbaseline, seed {n}" for n in range(7)]
    rows += ["c\t0.903\tkeep\tsmall", "d\t0.95\tkeep\tlarge"]
    history = read_other(written(tmp_path, "\n".join(["commit\tval_acc\tstatus\tdescription", *rows])))
    metric = metric_of(history)
    noise = noise_of(history.rows, metric)
    assert noise.deviation == pytest.approx(0.002, abs=0.0003) and noise.freedom == 7
    doubts = [doubt_about(step, metric, noise) for step in steps_of(history, metric)]
    assert doubts[0] == doubts[2] == "" and "within the noise" in doubts[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("commit\tval_acc\tstatus\tdescription\n", "a header and no row"),
        ("one\ttwo\n1\t2\n", "no header"),
        ("commit\tval_acc\tdescription\na\t0.5\tx\n", "name the metric with --metric (val_acc)"),
        ("commit\tstatus\tdescription\na\tkeep\tx\n", "no column of numbers"),
        ("commit\tscore\tstatus\na\t1\tok\nb\t2\tok\n", "its direction with --minimize or --maximize"),
        ("commit\talpha\tbeta\tstatus\na\t1\t2\tkeep\nb\t2\t1\tkeep\n", "name it with --metric (alpha, beta)"),
    ],
)
def test_what_does_not_tell_is_one_line_with_the_flag_that_helps(tmp_path, text, words):
    path = written(tmp_path, text)
    with pytest.raises(LedgerError) as raised:
        metric_of(read_other(path))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_flag_says_what_the_file_does_not(tmp_path, capsys):
    path = written(tmp_path, "commit\tscore\tstatus\na\t3\tok\nb\t2\tok\nc\t2.5\tok\n")
    assert summarize.main([str(path)]) == 1
    assert "--minimize or --maximize" in capsys.readouterr().err
    assert summarize.main([str(path), "--metric", "score", "--minimize", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["higher_is_better"] and found["other_statuses"] == {"ok": 3}
    assert {name.name for name in tmp_path.iterdir()} >= {
        "analysis_summary.json",
        "analysis_summary.md",
        "progress.png",
    }
    assert summarize.main([str(path), "--metric", "nothing", "--minimize"]) == 1
    assert "--metric nothing: no column of numbers; there are score" in capsys.readouterr().err


def test_without_a_word_of_what_was_kept_what_beats_all_before_counts(tmp_path):
    path = written(tmp_path, "experiment\tspeedup\tdescription\n1\t1.0\ta\n2\t0.9\tb\n3\t1.4\tc\n")
    history = read_other(path)
    assert [step.value for step in steps_of(history, metric_of(history, "speedup"))] == [1.0, 1.4]


@pytest.mark.parametrize("seed", range(4))
def test_the_direction_is_found_whatever_the_name(tmp_path, seed):
    rng, best, lines = random.Random(seed), 5.0, ["commit\tquantity\tstatus\tdescription", "a\t5\tkeep\tx"]
    up = bool(seed % 2)
    for n in range(20):
        value = rng.gauss(5.0, 1.0)
        keeps = value > best if up else value < best
        best = value if keeps else best
        lines.append(f"{n:07x}\t{value}\t{'keep' if keeps else 'discard'}\ty{n}")
    history = read_other(written(tmp_path, "\n".join(lines)))
    assert metric_of(history).higher_is_better == up
    assert agreement(history.rows, "quantity", up) == (20, 20)


def test_ours_stay_ours(tmp_path):
    header = "commit\tmc_acc\tbin_acc\tmemory_gb\tstatus\tdescription\n"
    assert is_ours(written(tmp_path, header + "a\t0.5\t0.9\t0.1\tkeep\tbaseline\n"), TASK)
    assert is_ours(written(tmp_path, "a1b2c3d\t0.5\t0.9\t0.1\tkeep\tbaseline\n"), TASK)
    assert is_ours(tmp_path / "nowhere.tsv", TASK)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1,234.5", 1234.5),
        ("24.9%", 24.9),
        ("1.2s", 1.2),
        ("-", None),
        ("NA", None),
        ("3 layers deep", None),
        ("1e-3", 1e-3),
    ],
)
def test_numbers_have_signs_and_units(cell, number):
    assert number_in(cell) == number


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("KEEP (new best)", "keep"),
        ("Reverted", "discard"),
        ("✅ kept", "keep"),
        ("OOM", "crash"),
        ("pending", None),
        ("1", "keep"),
    ],
)
def test_words_of_other_loops(word, status):
    assert status_of(word) == (status and Status(status))
