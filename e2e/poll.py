# A long-running program that talks to a Docker host, as Dagster's run launcher
# does: one client for its whole life, made of the placed files, and a new one
# for some of its calls. Prints a line a call: when it began and ended
# (CLOCK_MONOTONIC, microseconds), and what came of it. Ends with its input.
#
# usage: poll.py ADDRESS DIRECTORY
import select
import sys
import time

import docker
from docker.tls import TLSConfig

address, directory = sys.argv[1:]


def connect():
    tls = TLSConfig(
        client_cert=(directory + "/client-cert.pem", directory + "/client-key.pem"),
        ca_cert=directory + "/ca.pem",
        verify=True,
    )
    return docker.APIClient(base_url="tcp://" + address, tls=tls, version="1.41", timeout=20)


def micros():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


kept = connect()
for count in range(1 << 30):
    begin = micros()
    try:
        fresh = count % 4 == 0
        client = connect() if fresh else kept
        name = client.info()["Name"]
        if fresh:
            client.close()
        result = "ok " + name
    except Exception as error:
        result = "failed " + " ".join(str(error).split())
    print(begin, micros(), result, flush=True)
    if select.select([sys.stdin], [], [], 0.05)[0]:
        break
