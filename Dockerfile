# The images of Trainmaster: targets `operator` (no torch in it) and `trainer`.
# Their last layer is the code; what is below it changes with requirements/*.lock only.
# Without network: mount a folder of wheels and pass PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER as build arguments.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS base
# USER: whatever number the process runs as, no entry of /etc/passwd is asked for.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 USER=trainmaster HOME=/tmp

FROM base AS code
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY requirements/build.lock requirements/
RUN python -m venv --without-pip /build \
    && python -m pip --python /build/bin/python install --no-cache-dir --no-deps --require-hashes -r requirements/build.lock
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY trainer_image trainer_image
COPY examples examples
COPY scripts/build_zipapp.sh scripts/
RUN python -m pip --python /build/bin/python wheel --no-deps --no-build-isolation --no-index --wheel-dir /dist . \
    && mkdir -p /trainer/opt/trainmaster && scripts/build_zipapp.sh /trainer/opt/trainmaster/launcher.pyz

FROM base AS operator-packages
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY requirements/operator.lock requirements/
RUN python -m venv --without-pip /opt/trainmaster/venv \
    && python -m pip --python /opt/trainmaster/venv/bin/python install --no-cache-dir --no-deps --require-hashes \
       -r requirements/operator.lock

FROM operator-packages AS operator-code
COPY --from=code /dist /dist
RUN python -m pip --python /opt/trainmaster/venv/bin/python install --no-deps --no-index \
    --prefix /code/opt/trainmaster/venv /dist/*.whl

FROM base AS trainer-packages
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
COPY requirements/trainer.lock requirements/data.lock requirements/
RUN python -m venv --without-pip /opt/trainmaster/venv \
    && python -m pip --python /opt/trainmaster/venv/bin/python install --no-cache-dir --no-deps --require-hashes \
       -r requirements/trainer.lock -r requirements/data.lock

FROM base AS trainer-code
COPY --from=code /dist /dist
COPY --from=code /trainer /code
RUN python -m venv --without-pip /opt/trainmaster/venv \
    && python -m pip --python /opt/trainmaster/venv/bin/python install --no-deps --no-index \
       --prefix /code/opt/trainmaster/venv /dist/*.whl

FROM base AS operator
ENV PATH=/opt/trainmaster/venv/bin:$PATH
COPY --from=operator-packages /opt/trainmaster /opt/trainmaster
COPY --from=operator-code /code/ /
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Trainmaster operator" \
      org.opencontainers.image.description="Runs PyTorch training on Kubernetes and keeps it healthy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number: the kubelet can see that it is not root.
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["trainmaster"]
CMD ["operator"]

FROM base AS trainer
ENV PATH=/opt/trainmaster/venv/bin:$PATH
COPY --from=trainer-packages /opt/trainmaster /opt/trainmaster
COPY --from=trainer-code /code/ /
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Trainmaster trainer" \
      org.opencontainers.image.description="The launcher and the training programs of Trainmaster" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "trainmaster_launcher"]
