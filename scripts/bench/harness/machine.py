"""What a figure depends on beside the code."""

import os
import platform
import re
import subprocess


def cpu():
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8", errors="replace"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def features():
    try:
        for line in open("/proc/cpuinfo", encoding="utf-8", errors="replace"):
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                return [name for name in ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile") if name in flags]
    except OSError:
        pass
    return []


def load():
    """Processes that want to run beside this one: the load of the last minute, a core."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except OSError:
        return 0.0


def available_memory():
    """Bytes that programs can have, or None where the system does not tell."""
    try:
        for line in open("/proc/meminfo", encoding="utf-8"):
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "cpu"


def commit(root):
    def git(*words):
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


def versions(python):
    if python is None:
        return ""
    code = (
        "import sys, importlib.metadata as m\n"
        "names = ['torch', 'onnxruntime', 'openvino', 'faiss-cpu', 'opencv-python-headless', 'numpy', 'insightface']\n"
        "out = ['Python ' + sys.version.split()[0]]\n"
        "for n in names:\n"
        "    try: out.append(n + ' ' + m.version(n))\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(', '.join(out))"
    )
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def describe(root, context, rounds, busy):
    return {
        "cpu": cpu(), "features": features(), "cores": os.cpu_count(), "threads": context.threads,
        "system": f"{platform.system()} {platform.release()}", "commit": commit(root), "peers": versions(context.peers),
        "rounds": rounds, "quick": context.quick, "load": round(busy, 2),
    }
