# One image to train and to serve: docker run IMAGE train, docker run IMAGE serve.
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# What SageMaker asks of an image that may share an endpoint or stand in a pipeline.
LABEL com.amazonaws.sagemaker.capabilities.multi-models="true" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
      org.opencontainers.image.title="fm-algo" \
      org.opencontainers.image.description="Factorization machines for SageMaker and elsewhere" \
      org.opencontainers.image.licenses="Apache-2.0"

WORKDIR /opt/program

# Exact versions, checked by hash (`make lock` renews them).
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
# Not locked by hash: each platform has its own wheel of torch, and its own packages that go with it.
# TORCH=none: 0.9 GB less, for training on the processors of one host and for serving.
ARG TORCH=torch==2.13.0
RUN if [ "$TORCH" != none ]; then pip install --no-cache-dir "$TORCH"; fi
# To train on GPUs: a torch built for CUDA, and the compiler with which Triton links to the driver.
ARG DEVICE=cpu
RUN if [ "$DEVICE" = gpu ]; then \
      apt-get update \
      && apt-get install --yes --no-install-recommends gcc libc6-dev \
      && rm -rf /var/lib/apt/lists/*; \
    fi

COPY pyproject.toml README.md LICENSE train serve ./
COPY container container
COPY fm_algo fm_algo
# Editable: one copy of the code, known to pip by its version.
RUN pip install --no-cache-dir --no-deps --editable .

# PATH makes `train` and `serve` commands. The kernels are compiled here, once, for any user and for
# each level of processors that this one has; nothing below /opt/program is written when the image
# runs.
ENV PATH=/opt/program:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/opt/program/.numba_cache \
    NUMBA_CACHE_LOCATOR_CLASSES=fm_algo.runtime.image_cache.ImageCacheLocator \
    TRITON_CACHE_DIR=/tmp/triton \
    MPLCONFIGDIR=/opt/program/.matplotlib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN python -m compileall -q . && \
    for level in $(python -m fm_algo.runtime.image_cache); do \
        NUMBA_CPU_NAME=${level} python -m fm_algo.warm_up || exit 1; \
    done && \
    chmod -R a+rX .

EXPOSE 8080
ENTRYPOINT ["/opt/program/container/entrypoint"]
CMD ["train"]
