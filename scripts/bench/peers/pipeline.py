"""Photos to embeddings with the insightface package, ONNX Runtime and OpenCV: photos a second.

Recognition and alignment are the package's own (`ArcFaceONNX`, `face_align.norm_crop`). Its detector class reads networks of another
kind, which have no anchors; what a RetinaFace network with anchors needs around it is written out here as the package's NumPy code
would do it: one blob, one run, decoding and suppression on arrays.
"""

import argparse
import json
import time

import cv2
import numpy
import onnxruntime
from insightface.app.common import Face
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

import protocol

# Stride, sides of the anchors: large ones first, as the network's channels come.
LEVELS = [(32, (512, 256)), (16, (128, 64)), (8, (32, 16))]


def session(path, threads):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def suppressed(boxes, scores, threshold=0.4):
    """Places of the boxes that stay, best first; a box of 1 pixel has its two ends in one place."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order, kept = scores.argsort()[::-1], []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = numpy.maximum(0, numpy.minimum(x2[best], x2[rest]) - numpy.maximum(x1[best], x1[rest]) + 1)
        height = numpy.maximum(0, numpy.minimum(y2[best], y2[rest]) - numpy.maximum(y1[best], y1[rest]) + 1)
        overlap = width * height
        order = rest[overlap / (areas[best] + areas[rest] - overlap) < threshold]
    return kept


class Detector:
    def __init__(self, path, threads, threshold):
        self.session, self.threshold, self.anchors = session(path, threads), threshold, {}
        self.input = self.session.get_inputs()[0].name

    def grid(self, stride, sides, rows, columns):
        """Centres (R, 2) and sides (R,) of all anchors of a level, kept for the next photo of this size."""
        key = (stride, rows, columns)
        if key not in self.anchors:
            corner = numpy.stack(numpy.mgrid[:rows, :columns][::-1], axis=-1).astype("f4") * stride
            # All anchors are made around a square of 16 pixels, whatever the stride.
            centre = numpy.repeat((corner + 7.5).reshape(-1, 1, 2), len(sides), axis=1).reshape(-1, 2)
            self.anchors[key] = centre, numpy.tile(numpy.array(sides, "f4"), rows * columns)
        return self.anchors[key]

    def detect(self, image):
        height, width = image.shape[:2]
        blob = cv2.dnn.blobFromImage(image, 1.0, (width, height), (0, 0, 0), swapRB=True)
        outputs = self.session.run(None, {self.input: blob})
        all_boxes, all_scores, all_points = [], [], []
        for index, (stride, sides) in enumerate(LEVELS):
            scores, deltas, points = outputs[3 * index : 3 * index + 3]
            rows, columns = scores.shape[2:]
            count = len(sides)
            centre, side = self.grid(stride, sides, rows, columns)
            scores = scores[0, count:].transpose(1, 2, 0).ravel()
            places = numpy.where(scores >= self.threshold)[0]
            if not places.size:
                continue
            deltas = deltas[0].transpose(1, 2, 0).reshape(-1, 4)[places]
            points = points[0].transpose(1, 2, 0).reshape(-1, 5, 2)[places]
            centre, side = centre[places], side[places, None]
            middle, size = centre + deltas[:, :2] * side, numpy.exp(deltas[:, 2:]) * side
            all_boxes.append(numpy.hstack([middle - (size - 1) / 2, middle + (size - 1) / 2]))
            all_scores.append(scores[places])
            all_points.append(centre[:, None] + points * side[:, None])
        if not all_boxes:
            return numpy.zeros((0, 4)), numpy.zeros((0, 5, 2))
        boxes, scores, points = map(numpy.concatenate, (all_boxes, all_scores, all_points))
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width - 1)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height - 1)
        kept = suppressed(boxes, scores)
        return boxes[kept], points[kept]


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    both = max(0, width) * max(0, height)
    area = lambda box: (box[2] - box[0] + 1) * (box[3] - box[1] + 1)
    return both / (area(a) + area(b) - both)


def check(found, path):
    """Whether the other side found the same; says how near it is."""
    expected = json.load(open(path))
    assert [len(faces) for faces in found] == [len(faces) for faces in expected], "the numbers of faces differ"
    overlaps, cosines = [], []
    for ours, theirs in zip(found, expected):
        for box, embedding in ours:
            other = max(theirs, key=lambda face: overlap(box, face["box"]))
            overlaps.append(overlap(box, other["box"]))
            vector = numpy.array(other["embedding"])
            cosines.append(float(embedding @ vector / numpy.linalg.norm(embedding) / numpy.linalg.norm(vector)))
    print(
        f"check: {len(found)} photos, {len(overlaps)} faces: least overlap of two boxes {min(overlaps):.4f}, cosine of two "
        f"embeddings at least {min(cosines):.5f}, on average {sum(cosines) / len(cosines):.6f}", flush=True)
    assert min(overlaps) > 0.98 and min(cosines) > 0.98, "boxes or embeddings differ"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--detector", required=True)
    parser.add_argument("--recognizer", required=True)
    parser.add_argument("--list", required=True, help="a path of a photo a line")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--expected", required=True, help="what this project found")
    parser.add_argument("--check", action="store_true", help="compare what is found and end")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    photos = open(options.list).read().split("\n")[:-1]
    detector = Detector(options.detector, options.threads, options.threshold)
    recognizer = ArcFaceONNX(options.recognizer, session(options.recognizer, options.threads))

    def faces(photo):
        image = cv2.imread(photo)
        result = []
        for box, points in zip(*detector.detect(image)):
            face = Face(bbox=box, kps=points)
            recognizer.get(image, face)
            result.append((box, face.normed_embedding))
        return result

    found = [faces(photo) for photo in photos]
    if options.check:
        return check(found, options.expected)

    def figure():
        begin = time.perf_counter()
        for photo in photos:
            faces(photo)
        return len(photos) / (time.perf_counter() - begin)

    protocol.serve(figure)


main()
