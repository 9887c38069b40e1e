#!/usr/bin/env python3
"""The command line: exit codes, messages, JSON, what is written. Usage: cli.py GRAFT MODEL-FOLDER"""
import json
import os
import pathlib
import sys
import tempfile
import unittest

import numpy as np
from command import run, write_recipe
from safetensors.numpy import load_file, save_file

GRAFT, MODEL = sys.argv[1], pathlib.Path(os.path.abspath(sys.argv[2]))


class CommandLine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.work = pathlib.Path(cls.folder.name)
        cls.batch = load_file(MODEL / "batch.safetensors")
        rows, width = cls.batch["input_ids"].shape
        cls.recipe, cls.program = cls.work / "recipe.toml", cls.work / "p.graft"
        write_recipe(cls.recipe, MODEL / "model.onnx", MODEL / "weights.safetensors", rows, width)
        cls.compiled = run(GRAFT, "compile", cls.recipe, "-o", cls.program)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def expect(self, code, *arguments, **options):
        done = run(GRAFT, *arguments, **options)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return done

    def run_entry(self, code=0, entry="accumulate", batch=None, extra=()):
        """Runs the entry on a batch (arrays); returns the process and the results."""
        path, out = self.work / "batch.safetensors", self.work / "out.safetensors"
        save_file(batch if batch is not None else self.batch, path)
        out.unlink(missing_ok=True)
        done = self.expect(code, "run", self.program, "--entry", entry, "--batch", path, "--out", out, *extra)
        return done, load_file(out) if out.exists() else None

    # Explaining itself

    def test_help(self):
        for arguments in ([], ["help"], ["--help"]):
            self.assertIn("compile", self.expect(0, *arguments).stdout)
        for command in ("port", "plan", "compile", "explain", "run", "train", "objective", "verify", "doctor"):
            self.assertEqual(self.expect(0, command, "--help").stdout, self.expect(0, "help", command).stdout)
        self.assertIn("no command 'brew'", self.expect(2, "help", "brew").stderr)

    def test_version(self):
        self.assertRegex(self.expect(0, "--version").stdout, r"^graft \d+\.\d+\.\d+\n$")

    def test_wrong_use(self):
        self.expect(2, "brew")
        self.expect(2, "compile")
        self.expect(2, "compile", self.recipe, "--brew")
        self.assertIn("-o", self.expect(2, "compile", self.recipe).stderr)

    def test_commands_that_do_not_exist_yet(self):
        for command in ("bench", "profile", "canary", "diagnose"):
            self.assertIn("not", self.expect(2, command, "something", "--flag").stderr)

    # compile

    def test_plan_summary(self):
        self.assertEqual(self.compiled.returncode, 0, self.compiled.stderr)
        for what in ("parameters", "gradients", "optimizer state", "arena", "accumulate", "logprobs", "kernels"):
            self.assertIn(what, self.compiled.stdout)

    def test_plan_summary_as_json(self):
        summary = json.loads(self.expect(0, "compile", self.recipe, "-o", self.work / "again.graft", "--json").stdout)
        weights = load_file(MODEL / "weights.safetensors")
        self.assertEqual(summary["parameters"], sum(w.size for w in weights.values()))
        self.assertEqual([entry["name"] for entry in summary["entries"]], ["logprobs", "advantages", "accumulate"])
        self.assertGreater(summary["arena_bytes"], 0)

    def test_print_recipe_is_stable(self):
        printed = self.expect(0, "compile", self.recipe, "--print-recipe").stdout
        self.assertIn("warmup_steps", printed)
        (self.work / "printed.toml").write_text(printed)
        self.assertEqual(printed, self.expect(0, "compile", self.work / "printed.toml", "--print-recipe").stdout)

    def test_stages(self):
        marks = {"import": "@forward", "objective": "@accumulate", "autodiff": "grad.", "lower": "rt.row_program", "codegen": "rt.row_program"}
        for stage, mark in marks.items():
            dump, program = self.work / f"{stage}.mlir", self.work / f"{stage}.graft"
            self.expect(0, "compile", self.recipe, "-o", program, "--stop-after", stage, "--dump", f"{stage}={dump}")
            self.assertIn(mark, dump.read_text())
            self.assertEqual(program.exists(), stage == "codegen")
        self.assertIn("import, objective", self.expect(2, "compile", self.recipe, "--stop-after", "lunch").stderr)
        self.assertIn("STAGE=FILE", self.expect(2, "compile", self.recipe, "-o", self.work / "x", "--dump", "import").stderr)

    def test_targets(self):
        self.expect(0, "compile", self.recipe, "-o", self.work / "v3.graft", "--target", "x86-64-v3")
        for target, message in {"cuda": "there is no target 'cuda'", "tpu": "targets are cpu", "cuda:": "there is no CUDA architecture ''",
                                "cuda:sm_80,sm_7": "there is no CUDA architecture 'sm_7'\n  architectures are sm_80,"}.items():
            self.assertIn(message, self.expect(2, "compile", self.recipe, "-o", self.work / "x", "--target", target).stderr)

    def test_cuda_code_lies_beside_that_of_the_cpu(self):
        program = self.work / "cuda.graft"
        arguments = ["compile", self.recipe, "-o", program, "--json", "--target", "x86-64-v3", "--target", "cuda:sm_80,sm_90"]
        without = {"CUDA_HOME": "", "PATH": str(self.work)}
        said = json.loads(self.expect(0, *arguments, env=without).stdout)
        self.assertEqual(sorted(said["objects"]), ["ptx", "x86-64-v3"])
        self.assertIn("there is no ptxas in PATH or CUDA_HOME", "".join(said["notes"]))
        self.assertIn(" for ptx)", self.expect(0, *[a for a in arguments if a != "--json"], env=without).stdout)
        batch = self.work / "cuda.safetensors"
        save_file(self.batch, batch)
        results = []
        for each in (program, self.program):
            self.expect(0, "run", each, "--entry", "logprobs", "--batch", batch, "--out", self.work / "out.safetensors")
            results.append(load_file(self.work / "out.safetensors")["logprobs"])
        np.testing.assert_allclose(*results, atol=1e-5)

    def test_assembler_of_cuda(self):
        # One that says something and fails, and one that makes a file.
        for name, script in {"bad": "echo no such thing >&2; exit 3", "good": 'while [ "$1" != -o ]; do shift; done; echo cubin > "$2"'}.items():
            path = self.work / name / "bin" / "ptxas"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        arguments = ["compile", self.recipe, "-o", self.work / "assembled.graft", "--json", "--target", "cuda:sm_86"]
        error = self.expect(5, *arguments, env={"CUDA_HOME": str(self.work / "bad")}).stderr
        self.assertIn("cannot assemble for sm_86", error)
        self.assertIn("no such thing", error)
        said = json.loads(self.expect(0, *arguments, env={"CUDA_HOME": str(self.work / "good")}).stdout)
        self.assertEqual(said["objects"]["sm_86"], 6)
        self.assertIn("cubin is not an ELF file", self.expect(3, "explain", self.work / "assembled.graft", "peak").stderr)

    def test_every_missing_weight_is_named(self):
        weights = load_file(MODEL / "weights.safetensors")
        gone = sorted(name for name in weights if name.endswith("mlp.up_proj.weight"))
        self.assertGreater(len(gone), 1)
        save_file({name: value for name, value in weights.items() if name not in gone}, self.work / "partial.safetensors")
        rows, width = self.batch["input_ids"].shape
        write_recipe(self.work / "partial.toml", MODEL / "model.onnx", self.work / "partial.safetensors", rows, width)
        done = self.expect(3, "compile", self.work / "partial.toml", "-o", self.work / "x")
        for name in gone:
            self.assertIn(name, done.stderr)

    def test_weight_of_another_shape(self):
        weights = load_file(MODEL / "weights.safetensors")
        name = next(name for name in sorted(weights) if weights[name].ndim == 2)
        weights[name] = np.zeros((3, 5), np.float32)
        save_file(weights, self.work / "reshaped.safetensors")
        rows, width = self.batch["input_ids"].shape
        write_recipe(self.work / "reshaped.toml", MODEL / "model.onnx", self.work / "reshaped.safetensors", rows, width)
        self.assertIn("[3, 5]", self.expect(3, "compile", self.work / "reshaped.toml", "-o", self.work / "x").stderr)

    def test_objective_faults_point_into_the_recipe(self):
        text = self.recipe.read_text().replace("clip_low = 0.2", "clip_lou = 0.2")
        (self.work / "typo.toml").write_text(text)
        done = self.expect(2, "compile", self.work / "typo.toml", "-o", self.work / "x")
        self.assertIn("typo.toml:8:1", done.stderr)
        self.assertIn("clip_low", done.stderr)
        (self.work / "preset.toml").write_text(text.replace('preset = "grpo"', 'preset = "grpp"'))
        self.assertIn("preset.toml:5:1", self.expect(2, "compile", self.work / "preset.toml", "-o", self.work / "x").stderr)

    # Graphs and weights from elsewhere

    def results_of(self, recipe_text, entry="accumulate", weights=None):
        """Compiles a recipe (text) and runs it on the model's batch."""
        recipe, program, out = self.work / "other.toml", self.work / "other.graft", self.work / "other.safetensors"
        recipe.write_text(recipe_text)
        self.expect(0, "compile", recipe, "-o", program)
        arguments = ["run", program, "--entry", entry, "--batch", MODEL / "batch.safetensors", "--out", out, "--gradients"]
        self.expect(0, *arguments, *(["--weights", weights] if weights else []))
        return load_file(out)

    def test_micro_batches_give_the_same_step(self):
        rows = self.batch["input_ids"].shape[0]
        for preset, aggregation in (("grpo", "token_mean"), ("grpo", "sequence_mean_token_mean"), ("gspo", "sequence_mean_token_mean"), ("sft", "token_sum")):
            with self.subTest(preset=preset, aggregation=aggregation):
                text = self.recipe.read_text().replace('preset = "grpo"', f'preset = "{preset}"').replace("token_mean", aggregation)
                if preset == "sft":
                    text = "".join(line for line in text.splitlines(True) if not line.startswith(("advantages", "clip_low", "clip_high", "kl", "old_logprobs")))
                whole = self.results_of(text)
                parts = self.results_of(text.replace("[batch]", f"[batch]\nmicro_batches = {rows}"))
                self.assertEqual(set(whole), set(parts))
                for name in (name for name in whole if name.startswith("grad.")):
                    # Sums of some tens of tokens in another order, in float32.
                    error = np.linalg.norm(whole[name] - parts[name]) / (np.linalg.norm(whole[name]) + 1e-3 * whole["grad_norm"])
                    self.assertLess(error, 1e-5, name)
                np.testing.assert_allclose(parts["loss"], whole["loss"], rtol=1e-5, atol=1e-6)

    # plan, budgets

    def with_budget(self, budget, name="budget"):
        path = self.work / f"{name}.toml"
        path.write_text(self.recipe.read_text() + f'[memory]\nbudget = "{budget}"\n')
        return path

    def test_plan(self):
        text = self.expect(0, "plan", self.recipe).stdout
        for what in ("parameters", "arena", "a step takes about", "kept for the backward pass", "computed again"):
            self.assertIn(what, text)
        plan = json.loads(self.expect(0, "plan", self.recipe, "--json").stdout)
        summary = json.loads(self.expect(0, "compile", self.recipe, "-o", self.work / "again.graft", "--json").stdout)
        self.assertEqual(plan["arena_bytes"], summary["arena_bytes"])
        self.assertGreater(plan["seconds"], 0)
        self.assertTrue(any("mlp" in family["name"] for family in plan["recompute"]["kept"]))

    def test_plans_under_budgets(self):
        points = json.loads(self.expect(0, "plan", self.recipe, "--budgets", "1B,590 KiB,1GiB", "--json").stdout)["budgets"]
        self.assertEqual([point["fits"] for point in points], [False, True, True])
        self.assertEqual([point["budget"] for point in points], [1, 590 << 10, 1 << 30])
        self.assertLessEqual(points[1]["device_bytes"], 590 << 10)
        self.assertGreater(points[1]["flops"], points[2]["flops"])
        self.assertIn("does not fit", self.expect(0, "plan", self.recipe, "--budgets", "1B,1GiB").stdout)

    def test_budgets_that_are_none(self):
        for budgets in ("1", "201", "six", "1GiB,,2GiB", "1GiB,2", "-1GiB"):
            self.assertIn("--budgets", self.expect(2, "plan", self.recipe, "--budgets", budgets).stderr)

    def test_a_budget_that_cannot_be_held(self):
        done = self.expect(4, "compile", self.with_budget("100KiB"), "-o", self.work / "none.graft")
        for what in ("budget.toml:", "does not fit into 100KiB", "parameters", "optimizer state", "largest tensors", 'memory.budget = "'):
            self.assertIn(what, done.stderr)
        self.assertFalse((self.work / "none.graft").exists())

    def test_explain_what_is_computed_again(self):
        program = self.work / "small.graft"
        self.expect(0, "compile", self.with_budget("590KiB"), "-o", program)
        text = self.expect(0, "explain", program, "recompute").stdout
        self.assertIn("computed again", text)
        entries = json.loads(self.expect(0, "explain", program, "recompute", "--json").stdout)["entries"]
        again = entries[0]["computed_again"]
        self.assertGreater(sum(family["flops"] for family in again), 0)
        self.assertIn("model.layers.N", again[0]["name"])
        tensors = json.loads(self.expect(0, "explain", program, "model.layers.", "--json", "--limit", 1000).stdout)["buffers"]
        self.assertEqual({"temporary", "kept", "made again"}, {tensor["fate"] for tensor in tensors})
        self.assertIn("computed a second time", self.expect(0, "explain", program, "layers.0.mlp").stdout)

    def test_micro_batches_are_chosen(self):
        text = self.with_budget("640KiB", "chosen").read_text().replace("[optimizer]", 'micro_batches = "auto"\n[optimizer]', 1)
        (self.work / "chosen.toml").write_text(text)
        summary = json.loads(self.expect(0, "compile", self.work / "chosen.toml", "-o", self.work / "chosen.graft", "--json").stdout)
        total = sum(summary[key] for key in ("parameter_bytes", "gradient_bytes", "state_bytes", "arena_bytes", "constant_bytes"))
        self.assertLessEqual(total, 640 << 10)

    def test_a_graph_without_weights_compiles(self):
        recipe = self.work / "bare.toml"
        text = self.recipe.read_text()
        (self.work / "bare.onnx").write_bytes((MODEL / "model.onnx").read_bytes())
        lines = [line for line in text.splitlines() if not line.startswith("weights")]
        recipe.write_text("\n".join(lines).replace(str(MODEL / "model.onnx"), str(self.work / "bare.onnx")))
        done = self.expect(0, "compile", recipe, "-o", self.work / "bare.graft")
        self.assertIn("the weights are not there", done.stderr)

    def test_the_dump_of_import_is_a_graph(self):
        dump = self.work / "forward.mlir"
        self.expect(0, "compile", self.recipe, "--stop-after", "import", "--dump", f"import={dump}")
        again = self.results_of(self.recipe.read_text().replace(str(MODEL / "model.onnx"), str(dump)))
        _, first = self.run_entry(extra=["--gradients"])
        self.assertEqual(set(first), set(again))
        for name in first:
            np.testing.assert_array_equal(first[name], again[name], name)

    def test_weights_inside_of_the_graph(self):
        text = "".join(line for line in self.recipe.read_text().splitlines(True) if not line.startswith("weights"))
        again = self.results_of(text)
        _, first = self.run_entry(extra=["--gradients"])
        self.assertEqual(set(first), set(again))
        np.testing.assert_array_equal(first["loss"], again["loss"])

    def test_names_of_the_checkpoint(self):
        weights = load_file(MODEL / "weights.safetensors")
        old = next(name for name in sorted(weights) if name.endswith("k_proj.weight"))
        weights["wk"] = weights.pop(old)
        save_file(weights, self.work / "renamed.safetensors")
        text = self.recipe.read_text().replace(str(MODEL / "weights.safetensors"), str(self.work / "renamed.safetensors"))
        results = self.results_of(text.replace("[objective]", f'[model.names]\n"{old}" = "wk"\n[objective]'))
        _, first = self.run_entry(extra=["--gradients"])
        np.testing.assert_array_equal(results["grad.wk"], first["grad." + old])
        self.assertNotIn("grad." + old, results)

    # run

    def test_accumulate(self):
        _, out = self.run_entry(extra=["--gradients"])
        self.assertEqual(out["logprobs"].shape, self.batch["input_ids"].shape)
        self.assertEqual(out["loss"].shape, ())
        norm = np.sqrt(sum(np.square(v.astype(np.float64)).sum() for k, v in out.items() if k.startswith("grad.")))
        self.assertAlmostEqual(float(out["grad_norm"]) / norm, 1, places=5)
        self.assertIn("metric.clip_fraction", out)
        _, without = self.run_entry()
        self.assertFalse([name for name in without if name.startswith("grad.")])

    def test_logprobs(self):
        only = {name: self.batch[name] for name in ("input_ids", "attention_mask", "position_ids")}
        _, out = self.run_entry(entry="logprobs", batch=only)
        _, full = self.run_entry()
        self.assertEqual(list(out), ["logprobs"])
        np.testing.assert_array_equal(out["logprobs"], full["logprobs"])

    def test_step_changes_the_weights_that_decay_and_train(self):
        _, out = self.run_entry(entry="step")
        weights = load_file(MODEL / "weights.safetensors")
        for name, before in weights.items():
            self.assertTrue(np.any(out["parameter." + name] != before), name)
            self.assertLess(np.abs(out["parameter." + name] - before).max(), 2e-6)

    def test_entries_are_timed(self):
        for entry in ("logprobs", "accumulate", "step", "apply"):
            once, expected = self.run_entry(entry=entry, extra=["--json"])
            again, results = self.run_entry(entry=entry, extra=["--json", "--repeat", 3])
            self.assertNotIn("seconds", json.loads(once.stdout))
            seconds = json.loads(again.stdout)["seconds"]
            self.assertEqual(len(seconds), 3)
            self.assertTrue(all(value > 0 for value in seconds))
            for name in expected:  # those of the first run
                np.testing.assert_array_equal(expected[name], results[name], name)
        self.assertIn("--repeat", self.run_entry(2, entry="advantages", extra=["--repeat", 3])[0].stderr)
        self.run_entry(2, extra=["--repeat", 0])
        self.run_entry(2, extra=["--repeat", 3, "--interpret"])

    def test_advantages_from_rewards(self):
        batch = {name: value for name, value in self.batch.items() if name != "advantages"}
        rewards = np.array([1.0, 0.0, 0.5], np.float32)
        batch |= {"rewards": rewards, "group_ids": np.array([4, 4, 4], np.int32)}
        _, out = self.run_entry(entry="advantages", batch=batch)
        expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)
        np.testing.assert_allclose(out["advantages"][:, -1][self.batch["loss_mask"][:, -1] > 0], expected[self.batch["loss_mask"][:, -1] > 0], rtol=1e-5)
        self.run_entry(batch=batch)

    def test_missing_arrays_are_named(self):
        batch = {name: value for name, value in self.batch.items() if name not in ("advantages", "old_logprobs")}
        done, _ = self.run_entry(3, batch=batch)
        self.assertIn("advantages", done.stderr)
        batch["advantages"] = self.batch["advantages"]
        done, _ = self.run_entry(3, batch=batch)
        self.assertIn("old_logprobs", done.stderr)

    def test_token_out_of_range(self):
        batch = dict(self.batch)
        batch["input_ids"] = batch["input_ids"].copy()
        batch["input_ids"][1, 2] = 1 << 40
        done, _ = self.run_entry(3, batch=batch)
        self.assertIn("input_ids", done.stderr)

    def test_weights_of_another_model(self):
        save_file({"x": np.zeros(3, np.float32)}, self.work / "other.safetensors")
        done, _ = self.run_entry(3, extra=["--weights", self.work / "other.safetensors"])
        self.assertIn("other.safetensors", done.stderr)
        self.assertGreater(done.stderr.count("error["), 3)

    def test_unknown_entry(self):
        done, _ = self.run_entry(2, entry="lunch")
        self.assertIn("accumulate", done.stderr)

    def test_faults_as_json(self):
        done = self.expect(3, "run", self.recipe, "--batch", MODEL / "batch.safetensors", "--out", self.work / "x", "--json")
        faults = json.loads(done.stdout)["errors"]
        self.assertIn("recipe.toml", faults[0]["place"])

    # verify

    def test_verify(self):
        done = self.expect(0, "verify", self.recipe, "--json")
        result = json.loads(done.stdout)
        self.assertEqual(result["failed"], 0)
        names = {line["name"] for line in result["comparisons"]}
        self.assertLessEqual({"grad." + name for name in load_file(MODEL / "weights.safetensors")} | {"loss", "logprobs"}, names)
        self.expect(0, "verify", self.recipe, "--batch", MODEL / "batch.safetensors", "--quiet")

    def test_verify_in_bfloat16(self):
        recipe = self.work / "narrow.toml"
        recipe.write_text(self.recipe.read_text().replace('compute = "float32"', 'compute = "bfloat16"'))
        result = json.loads(self.expect(0, "verify", recipe, "--json").stdout)
        self.assertGreater(next(line["difference"] for line in result["comparisons"] if line["name"] == "grad.lm_head.weight"), 1e-3)
        self.assertEqual([layer["name"] for layer in result["layers"]],
                         ["lm_head.weight", "model.embed_tokens.weight", "model.layers.0", "model.layers.1", "model.norm.weight"])
        self.assertLess(max(layer["difference"] for layer in result["layers"]), 0.05)
        self.expect(1, "verify", recipe, "--tolerance", "1e-4", "--quiet")
        summary = json.loads(self.expect(0, "compile", recipe, "-o", self.work / "narrow.graft", "--json", "--quiet").stdout)
        matrices = sum(array.size for array in load_file(MODEL / "weights.safetensors").values() if array.ndim == 2)
        embedding = load_file(MODEL / "weights.safetensors")["model.embed_tokens.weight"].size  # gathered, not multiplied
        self.assertEqual(summary["working_bytes"], 2 * (matrices - embedding))

    def test_verify_fails_when_out_of_tolerance(self):
        done = self.expect(1, "verify", self.recipe, "--tolerance", "0")
        self.assertIn("FAIL", done.stdout)

    # train

    def test_run_directory_is_not_overwritten(self):
        rollouts = self.work / "rollouts.jsonl"
        rollouts.write_text("".join(json.dumps({"prompt_ids": [1, 2], "completion_ids": [3, 4, 5], "advantage": a, "old_logprobs": [-5.0, -5.5, -5.0]}) + "\n" for a in (1, -1, 0.5)))
        arguments = ["train", self.program, "--rollouts", rollouts, "--steps", 1, "--out", self.work / "run"]
        done = self.expect(0, *arguments)
        self.assertIn("step 1/1", done.stderr)
        self.assertIn("report.html", done.stdout)
        for name in ("recipe.toml", "program.graft", "metrics.jsonl", "report.html", "checkpoints/step-1/model.safetensors"):
            self.assertTrue((self.work / "run" / name).exists(), name)
        line = json.loads((self.work / "run/metrics.jsonl").read_text())
        for key in ("step", "loss", "grad_norm", "lr", "tokens", "seconds", "tokens_per_second", "memory", "mean_ratio", "min_ratio", "max_ratio", "clip_fraction",
                    "approx_kl", "entropy", "mean_logprob"):
            self.assertIn(key, line)
        self.expect(2, *arguments)

    def test_rollouts_that_do_not_fit(self):
        rollouts = self.work / "long.jsonl"
        rollouts.write_text("".join(json.dumps({"prompt_ids": [1] * 50, "completion_ids": [3], "advantage": 1, "old_logprobs": [-5.0]}) + "\n" for _ in range(3)))
        done = self.expect(3, "train", self.program, "--rollouts", rollouts, "--steps", 1, "--out", self.work / "long")
        self.assertIn("long.jsonl:1", done.stderr)


if __name__ == "__main__":
    os.environ.pop("GRAFT_THREADS", None)
    unittest.main(argv=sys.argv[:1], verbosity=2)
