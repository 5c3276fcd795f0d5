# The page, and every script; docs/web.md says how it is used.
#
#   docker compose up                           the page on http://127.0.0.1:7860
#   docker build --tag lip-sync .               with pip's build of PyTorch: on x86-64 for CUDA, runs on a CPU, too
#   docker build --tag lip-sync --build-arg TORCH_INDEX=… .    with another, from the index that pytorch.org/get-started
#                                               names for it; the CPU builds are some gigabytes smaller
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

# One stage, and nothing from Debian: all packages come as wheels with the libraries that they need.
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements-lock.txt ./
ARG TORCH_INDEX=
# First PyTorch with what its build needs of CUDA, which is not in the lock file; a build of the index is preferred.
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint requirements-lock.txt torch torchvision \
    && pip install --no-deps --requirement requirements-lock.txt

COPY . .

# What is written to: by the user below, and by any other that `docker run --user` names. compose.yaml has volumes there.
ENV HOME=/cache XDG_CACHE_HOME=/cache USER=app PYTHONUNBUFFERED=1
RUN useradd --uid 1000 --home-dir /cache --no-create-home app \
    && mkdir -p /videos /cache results preprocessed filelists \
    && chmod 1777 /cache results preprocessed filelists checkpoints face_detection/detection/sfd demo
USER 1000:1000

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "web.py", "--host", "0.0.0.0", "--open", "--train_root", "/videos"]
