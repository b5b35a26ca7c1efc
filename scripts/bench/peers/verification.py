"""The evaluation of `recognition/arcface_mxnet/verification.py` in NumPy: thresholds one by one, fold by fold."""

import argparse
import time

import numpy

import protocol


def rates(threshold, distances, same):
    """(true accept rate, false accept rate, accuracy) at a threshold."""
    accepted = numpy.less(distances, threshold)
    right = numpy.sum(numpy.logical_and(accepted, same))
    wrong = numpy.sum(numpy.logical_and(accepted, numpy.logical_not(same)))
    refused = numpy.sum(numpy.logical_and(numpy.logical_not(accepted), numpy.logical_not(same)))
    missed = numpy.sum(numpy.logical_and(numpy.logical_not(accepted), same))
    return right / max(1, right + missed), wrong / max(1, wrong + refused), (right + refused) / distances.size


def accept_rates(threshold, distances, same):
    accepted = numpy.less(distances, threshold)
    right = numpy.sum(numpy.logical_and(accepted, same))
    wrong = numpy.sum(numpy.logical_and(accepted, numpy.logical_not(same)))
    return right / numpy.sum(same), wrong / numpy.sum(numpy.logical_not(same))


def folds(count, parts):
    everything = numpy.arange(count)
    for test in numpy.array_split(everything, parts):
        yield numpy.setdiff1d(everything, test, assume_unique=True), test


def evaluate(embeddings, same, parts=10, target=1e-3):
    """(mean accuracy, mean VAL, mean FAR)"""
    first, second = embeddings[0::2], embeddings[1::2]
    distances = numpy.sum(numpy.square(numpy.subtract(first, second)), 1)
    thresholds, accuracies, curve = numpy.arange(0, 4, 0.01), [], []
    for train, test in folds(len(same), parts):
        best = numpy.argmax([rates(t, distances[train], same[train])[2] for t in thresholds])
        curve.append([rates(t, distances[test], same[test])[:2] for t in thresholds])
        accuracies.append(rates(thresholds[best], distances[test], same[test])[2])
    numpy.mean(curve, 0)
    thresholds, results = numpy.arange(0, 4, 0.001), []
    distances = numpy.sum(numpy.square(numpy.subtract(first, second)), 1)
    for train, test in folds(len(same), parts):
        false = numpy.array([accept_rates(t, distances[train], same[train])[1] for t in thresholds])
        threshold = numpy.interp(target, false, thresholds) if false.max() >= target else 0.0
        results.append(accept_rates(threshold, distances[test], same[test]))
    return numpy.mean(accuracies), *numpy.mean(results, 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--embeddings", required=True)
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args()
    embeddings = numpy.fromfile(options.embeddings, "f4").reshape(-1, options.size).astype("f8")
    embeddings /= numpy.linalg.norm(embeddings, axis=1, keepdims=True)
    same = numpy.arange(len(embeddings) // 2) % 2 == 0

    def figure():
        begin = time.perf_counter()
        evaluate(embeddings, same)
        return 1000 * (time.perf_counter() - begin)

    protocol.serve(figure)


main()
