"""One sweep twice: by this machine's processes, and by a Dask cluster. The tables are the same.

python run.py                               (both; the second needs: pip install ".[dask]")
python run.py --models DIR --csv sweep.csv  (your own models)
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING

import ktc

if TYPE_CHECKING:
    from concurrent.futures import Executor

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "int8": {},
    "int16": {"datapath_bitwidth_mode": "int16"},
    "1 GB/s": {"dma_bandwidth": 1.0, "weight_bandwidth": 1.0},
}


def main() -> None:
    options = arguments()
    models = options.models or [HERE.parent / "digits" / "digits.onnx"]
    table = timed("processes of this machine", models, options.workers)
    if importlib.util.find_spec("distributed") is None:
        print('no Dask here; install it with: pip install ".[dask]"')
    else:
        on_dask = with_dask(models, options.workers)
        print(f"the same table: {'yes' if on_dask == table else 'no'}")
    if options.csv:
        table.to_csv(options.csv)
        print(f"table: {options.csv}")
    best = max((row for row in table if row["fps"]), key=lambda row: row["fps"])
    print(f"fastest: {best['model']} on KL{best['platform']}, {best['setting']}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sweep over platforms and settings, with and without Dask.")
    parser.add_argument("--models", nargs="+", help=".onnx files and folders (default: the digits)")
    parser.add_argument("--workers", type=int, default=2, help="number of processes (default: 2)")
    parser.add_argument("--csv", help="write the table here")
    return parser.parse_args()


def timed(label: str, models: list[str | Path], workers: int, executor: Executor | None = None) -> ktc.Sweep:
    start = time.perf_counter()
    table = ktc.sweep(models, settings=SETTINGS, executor=executor, workers=workers)
    seconds = time.perf_counter() - start
    print(f"{label}: {len(table)} evaluations, {len(table.failed)} refused, {seconds:.1f} s")
    return table


def with_dask(models: list[str | Path], workers: int) -> ktc.Sweep:
    """Do the sweep on a cluster; for one on other machines, give Client its address."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        return timed("Dask on this machine", models, workers, executor)


if __name__ == "__main__":  # the processes import this file
    main()
