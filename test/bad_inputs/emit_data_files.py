#!/usr/bin/env python3
"""Writes all bad and odd data files (weights, rollouts, batches) and prints a line per file: expect, kind, id, path, separated by tabs.

    emit_data_files.py FOLDER    (must not exist)

For the test of the readers alone, without the graft program and without Python packages; run.py gives the same files to graft.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import batch
import rollouts
import weights

if __name__ == "__main__":
    os.makedirs(sys.argv[1])
    for module in (weights, rollouts, batch):
        for case in module.emit(os.path.join(sys.argv[1], module.__name__)):
            print(case["expect"], case["kind"], case["id"], case["path"], sep="\t")
