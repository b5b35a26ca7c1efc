"""Exact search by inner product with faiss."""

import argparse
import time

import faiss
import numpy

import protocol


def main():
    parser = argparse.ArgumentParser()
    for name in ("count", "size", "queries", "top", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    random = numpy.random.default_rng(0)
    index = faiss.IndexFlatIP(options.size)
    queries = None
    for begin in range(0, options.count, 65536):
        part = random.standard_normal((min(65536, options.count - begin), options.size), dtype="f4")
        part /= numpy.linalg.norm(part, axis=1, keepdims=True)
        index.add(part)
        if queries is None:
            queries = numpy.ascontiguousarray(part[: options.queries] + numpy.float32(0.01))

    def figure():
        begin = time.perf_counter()
        index.search(queries, options.top)
        return time.perf_counter() - begin

    figure()
    protocol.serve(figure)


main()
