# laminar in a container, with the versions of requirements.lock:
#
#     docker build -t laminar .                                  for CPUs
#     docker build -t laminar:cuda --build-arg BUILD=cuda .      with the CUDA libraries that PyTorch's own wheel pins
#     docker run --rm -v "$PWD/data:/data" laminar train data.path=/data/demos.hdf5 steps=20000 out=/data/runs/mine
#     docker run --rm --gpus all -v "$PWD/data:/data" laminar:cuda train … runtime=cuda
ARG BUILD=cpu

FROM python:3.12-slim-bookworm AS base
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
# EGL and OSMesa draw without a screen; torch.compile and runtime=pt2 want a C++ compiler.
# hadolint ignore=DL3008  # Debian keeps no old versions that could be named
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libegl1 libgl1-mesa-dri libosmesa6 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/laminar
COPY requirements.lock ./

# PyTorch comes first: it is the largest layer, and changes with the lock alone.
FROM base AS cpu
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' requirements.lock)"

FROM base AS cuda
RUN pip install --no-cache-dir "$(grep '^torch==' requirements.lock)"

# hadolint ignore=DL3006  # one of the two stages above
FROM ${BUILD}
WORKDIR /opt/laminar
COPY . .
RUN pip install --no-cache-dir --constraint requirements.lock setuptools \
    && pip install --no-cache-dir --no-build-isolation --constraint requirements.lock '.[deploy,export,zarr]' \
    && useradd --create-home --uid 1000 laminar \
    && mkdir /data \
    && chown laminar /data
USER 1000
WORKDIR /data
# One thread is faster for networks of the usual size.
ENV OMP_NUM_THREADS=1
ENTRYPOINT ["laminar"]
CMD ["doctor"]
