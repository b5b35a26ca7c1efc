"""PyTorch's DataLoader on an InsightFace record file: OpenCV decodes, half the faces are mirrored."""

import argparse
import struct
import time

import cv2
import numpy
import torch

import protocol

MAGIC = 0xCED7230A


class Faces(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.path = f"{folder}/train.rec"
        self.file = None
        offsets = sorted(int(line.split()[1]) for line in open(f"{folder}/train.idx"))
        with open(self.path, "rb") as file:
            # Header and identity records hold labels and no image.
            self.offsets = [offset for offset in offsets if len(self.record(file, offset)[1]) > 64]

    @staticmethod
    def record(file, offset):
        file.seek(offset)
        magic, length = struct.unpack("<II", file.read(8))
        assert magic == MAGIC
        body = file.read(length & 0x1FFFFFFF)
        flag, label = struct.unpack_from("<If", body)
        return label, body[24 + 4 * flag :]

    def __len__(self):
        return len(self.offsets)

    def __getitem__(self, index):
        if self.file is None:
            self.file = open(self.path, "rb")
        label, encoded = self.record(self.file, self.offsets[index])
        image = cv2.cvtColor(cv2.imdecode(numpy.frombuffer(encoded, numpy.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        if torch.rand(()) < 0.5:
            image = cv2.flip(image, 1)
        return torch.from_numpy(image), int(label)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batches", type=int, required=True, help="batches of one figure")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faces = Faces(options.data)
    loader = torch.utils.data.DataLoader(
        faces, batch_size=options.batch, shuffle=True, drop_last=True, num_workers=options.workers, persistent_workers=True)

    def batches():
        while True:
            yield from loader

    source = batches()

    def figure():
        begin = time.perf_counter()
        count = sum(len(next(source)[1]) for _ in range(options.batches))
        return count / (time.perf_counter() - begin)

    next(source)
    protocol.serve(figure)


main()
