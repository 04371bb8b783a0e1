"""Benchmarks: every figure against a baseline that is run beside it, in the same run, the two sides taken in turns.

    __main__   the command line and the list of benches
    table      a row, what it is held against, the table; the machine
    measure    turns and medians, fresh processes, how large a run is
    corpora    pictures and vectors, made once and kept
    indexing · encoders · queries · updates · neighbours · quality      the benches

A bench is a function of a `Setting` that yields rows. What it measures runs in processes of its own, so that no bench
finds the threads or the memory of another one.
"""
