#!/usr/bin/env python3
"""Writes all bad and odd data files (safetensors, rollouts, batches) and prints a line per file: expect, kind, id, path, separated by tabs.

    emit_data_files.py FOLDER    (must not exist)
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import batch
import rollouts
import safetensors

if __name__ == "__main__":
    os.makedirs(sys.argv[1])
    for module in (safetensors, rollouts, batch):
        for case in module.emit(os.path.join(sys.argv[1], module.__name__)):
            print(case["expect"], case["kind"], case["id"], case["path"], sep="\t")
