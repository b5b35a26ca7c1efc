"""MXNet's ImageRecordIter on an InsightFace record file: decode, mirror, batch."""

import argparse
import time

import mxnet

import protocol


def flatten(folder, least):
    """A record file of images alone, for the iterator knows no header and identity records; long enough for one figure."""
    source = mxnet.recordio.MXIndexedRecordIO(f"{folder}/train.idx", f"{folder}/train.rec", "r")
    records = []
    for key in sorted(source.keys):
        record = source.read_idx(key)
        if len(mxnet.recordio.unpack(record)[1]) > 64:
            records.append(record)
    writer = mxnet.recordio.MXRecordIO("plain.rec", "w")
    for index in range(max(least, len(records))):
        writer.write(records[index % len(records)])
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batches", type=int, required=True, help="batches of one figure")
    options = parser.parse_args()
    flatten(options.data, options.batch * options.batches)
    iterator = mxnet.io.ImageRecordIter(
        path_imgrec="plain.rec", data_shape=(3, 112, 112), batch_size=options.batch, rand_mirror=True,
        preprocess_threads=options.threads, verbose=False)

    def figure():
        iterator.reset()
        begin, count = time.perf_counter(), 0
        for _, batch in zip(range(options.batches), iterator):
            batch.data[0].wait_to_read()
            count += options.batch
        return count / (time.perf_counter() - begin)

    figure()
    protocol.serve(figure)


main()
