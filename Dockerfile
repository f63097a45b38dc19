# syntax=docker/dockerfile:1
# docker build --target cpu -t offramp:cpu .      docker build --target gpu -t offramp:gpu .
# Two stages: wheels are built and installed where compilers may be; what runs has neither pip's cache nor the sources.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python3 -m venv /venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY service service
COPY models models
COPY deploy/slim-venv deploy/slim-venv

FROM build AS build-cpu
RUN /venv/bin/python -m pip install --no-cache-dir --constraint constraints.txt '.[cpu,grpc]' \
    && deploy/slim-venv /venv

FROM build AS build-gpu
RUN /venv/bin/python -m pip install --no-cache-dir --constraint constraints.txt '.[gpu,grpc]' \
    && deploy/slim-venv /venv

FROM python:3.11-slim-bookworm AS base
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin offramp
# Nothing is written at run time: the root file system may be read-only.
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OFFRAMP_HOST=0.0.0.0
USER 1000
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["offramp"]
CMD ["serve"]

FROM base AS gpu
COPY --from=build-gpu /venv /venv
ENV OFFRAMP_DEVICE=cuda

FROM base AS cpu
COPY --from=build-cpu /venv /venv
