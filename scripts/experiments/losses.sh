#!/bin/bash
# Trains y1 with every loss on one record file, the same number of steps each, and prints the accuracy on held-out pairs.
#
#   scripts/experiments/losses.sh DATASET [STEPS] [MODELS] [LOSS …]
#
# DATASET is a folder with train.rec, train.idx, property and a verification set that holds pairs of both kinds (with one
# kind any network scores 1). A few steps tell losses apart by nothing: while the own class's probability is below
# float32's resolution, cosface, elasticface-cos and combined-margin move the weights alike to the last bit. Images of a
# batch: $BATCH (default 60: a multiple of 3, so that all losses see as many faces); learning rate: $RATE (default 0.05).
# Triplet losses start from the softmax run, as the reference's recipe has it, at a tenth of the rate. A run that was cut off
# goes on where it was. The table is written to MODELS/losses.md as well.
set -euo pipefail

dataset=${1:?"usage: $0 DATASET [STEPS] [MODELS] [LOSS …]"}
steps=${2:-400}
models=${3:-models/losses}
if [ $# -gt 3 ]; then
  losses=("${@:4}")
else
  losses=(softmax nsoftmax arcface cosface combined sphereface curricularface magface adaface elasticface-arc
    elasticface-cos subcenter-arcface combined-margin triplet atriplet)
fi
train=${INSIGHTFACE_TRAIN:-$(cd "$(dirname "$0")/../.." && pwd)/.build/release/insightface-train}
batch=${BATCH:-60}
rate=${RATE:-0.05}
[ -x "$train" ] || { echo "$train: not built; run: make build" >&2; exit 1; }
mkdir -p "$models"

for loss in "${losses[@]}"; do
  folder=$models/y1-$loss-faces
  options=(--lr "$rate")
  case $loss in
  triplet | atriplet)
    options=(--lr "$(awk "BEGIN { print $rate / 10 }")" --pretrained "$models/y1-softmax-faces,1")
    if [ ! -e "$models/y1-softmax-faces/model-0001.params" ]; then
      echo "$loss: no softmax run to start from; starting from random weights" >&2
      options=(--lr "$rate")
    fi
    ;;
  # Without a warm-up a margin does not get off the ground in few steps on few faces.
  softmax | nsoftmax) ;;
  *) options+=(--margin-warmup $((steps / 2))) ;;
  esac
  # Numbers of checkpoints count verifications: with one at the last step it is number 1.
  "$train" train --network y1 --loss "$loss" --dataset faces --dataset-path "$dataset" --models-root "$models" \
    --per-batch-size "$batch" --max-steps "$steps" --verbose "$steps" --frequent 20 --ckpt 2 --resume \
    "${options[@]}" ${EXTRA:-} >"$models/$loss.out" 2>&1 ||
    { echo "$loss: failed; see $models/$loss.out" >&2; tail -3 "$models/$loss.out" >&2; exit 1; }
  echo "$loss: done, state in $folder" >&2
done

{
  echo "| loss | steps | last loss | accuracy on held-out pairs | XNorm |"
  echo "|---|---|---|---|---|"
  for loss in "${losses[@]}"; do
    folder=$models/y1-$loss-faces
    last=$(tail -n 1 "$folder/history.csv" | cut -d, -f1,5)
    accuracy=$(grep -ho 'Accuracy-Flip: [0-9.+-]*' "$folder/train.log" | tail -n 1 | cut -d' ' -f2 | sed 's/+-/ ± /')
    norm=$(grep -ho 'XNorm: [0-9.]*' "$folder/train.log" | tail -n 1 | cut -d' ' -f2)
    printf '| %s | %s | %.4f | %s | %s |\n' "$loss" "${last%%,*}" "${last##*,}" "$accuracy" "$norm"
  done
} | tee "$models/losses.md"
