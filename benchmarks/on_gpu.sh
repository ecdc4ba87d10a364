#!/usr/bin/env bash
# All that needs a GPU, in one call of at most eight minutes and without a download: the tests marked `gpu`, then a LoRA
# step and generation at the shape of Llama-3-8B with random weights, plain peft and plain generation beside them.
#
#     benchmarks/on_gpu.sh [FILE.md]
#
# What is found goes to the terminal and to FILE.md (on-gpu.md if not given), for docs/performance.md. A part that fails
# or takes too long is named there, and the rest still runs; the exit status is then 1. PYTHON names the interpreter.
set -uo pipefail
cd "$(dirname "$0")/.."
file=${1:-on-gpu.md}
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$PWD OMP_NUM_THREADS=4 TOKENIZERS_PARALLELISM=false
status=0

part() {  # part SECONDS TITLE COMMAND...
    local seconds=$1 title=$2 began=$SECONDS rc=0
    shift 2
    printf '\n## %s\n\n```\n' "$title" | tee -a "$file"
    timeout --kill-after=5 "$seconds" "$@" 2>&1 | tee -a "$file" || rc=$?
    [ "$rc" -eq 0 ] || status=1
    printf '```\n\n%s s, exit status %s%s\n' "$((SECONDS - began))" "$rc" \
        "$([ "$rc" -eq 124 ] && echo ": not finished after $seconds s")" | tee -a "$file"
}

printf '# On a GPU, %s\n' "$(date -u +%F)" | tee "$file"
part 15 "Machine" "$python" -c "import torch, transformers, peft, accelerate as a
print('torch', torch.__version__, 'transformers', transformers.__version__, 'peft', peft.__version__, 'accelerate', a.__version__)
print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU is seen')"
part 200 "Tests" "$python" -m pytest -q -m gpu -p no:cacheprovider -rs tests/test_gpu.py
part 120 "A training step" "$python" benchmarks/train_speed.py
part 120 "Generation" "$python" benchmarks/generate_speed.py --rounds 2
exit $status
