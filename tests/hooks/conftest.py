from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from airflow_provider_360dialog.hooks import session
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from tests.support.ports import free_port

S3_BUCKET = "media"


@pytest.fixture
def connect(monkeypatch):
    """Write an Airflow connection into the environment; a hook reads it from there."""

    def write(base_url, key, *, conn_id="number_a", **extra):
        fields = {"conn_type": "dialog360", "host": base_url, "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return write


@pytest.fixture
def hook(number, connect, monkeypatch):
    """A hook for the watched number, which reads its connection once and then only after a refusal."""
    monkeypatch.setattr(session, "_OFTEN_S", 60.0)
    connect(number.base_url, number.key)
    return Dialog360Hook("number_a")


@pytest.fixture
def photo(checkout):
    """A good photo."""
    return checkout / "dags_examples" / "media" / "photo.jpg"


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory):
    """An S3 API in a process of its own (moto), stopped by its process id."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    program = Path(sys.executable).with_name("moto_server")
    found = program if program.exists() else shutil.which("moto_server")
    assert found, "moto_server is missing: pip install 'moto[server]'"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(found), "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output, start_new_session=True
        )
    try:
        ends_at = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/data.json", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < ends_at, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(5)


class Bucket:
    """A bucket seen with another client than the one under test."""

    def __init__(self, endpoint_url, name):
        import boto3

        self.name = name
        self.client = boto3.client(
            "s3", endpoint_url=endpoint_url, aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-central-1"
        )
        self.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def put(self, key, content):
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return self.uri(key)

    def uri(self, key):
        return f"s3://store@{self.name}/{key}"

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def keys(self):
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def unfinished(self):
        return self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])


_buckets = iter(range(10**6))


@pytest.fixture
def store_connection(s3_url):
    """The Airflow connection `store`, as JSON."""
    return json.dumps(
        {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": s3_url, "region_name": "eu-central-1"}}
    )


@pytest.fixture
def bucket(s3_url, store_connection, monkeypatch):
    """An empty bucket that Airflow reaches through the connection `store`."""
    monkeypatch.setenv("AIRFLOW_CONN_STORE", store_connection)
    return Bucket(s3_url, f"{S3_BUCKET}-{next(_buckets)}")
