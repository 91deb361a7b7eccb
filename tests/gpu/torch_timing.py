"""How long something takes on a GPU."""

import statistics
import time

import torch


def timed(step, count, warm_up):
    times = []
    for _ in range(warm_up + count):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:])
