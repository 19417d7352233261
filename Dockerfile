# One image for every process of Sightline: Airflow's parts, the review application, the init job.
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/sightline
ENV PATH=/opt/sightline/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.lock ./
# What only several machines need; the lock decides everything that both share.
RUN pip install -r requirements.lock \
 && pip install -c requirements.lock \
      apache-airflow-providers-celery==3.26.0 redis==8.1.0 asyncpg==0.32.0 psycopg2-binary==2.9.13
COPY . .
RUN pip install --no-deps . && sightline models pull

FROM python:3.11-slim-bookworm
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/sightline sightline \
 && install -d -o sightline -g sightline /var/lib/sightline/airflow/logs
COPY --from=build /opt/sightline /opt/sightline
ENV PATH=/opt/sightline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SIGHTLINE_HOME=/var/lib/sightline \
    AIRFLOW_HOME=/var/lib/sightline/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/sightline/share/sightline/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/sightline/share/sightline/dags/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
USER sightline
WORKDIR /var/lib/sightline
ENTRYPOINT ["tini", "--"]
CMD ["sightline", "--help"]
