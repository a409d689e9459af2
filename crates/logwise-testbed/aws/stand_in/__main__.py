"""`python -m stand_in --host 127.0.0.1 --port P --subnet 127.0.9.0/24`"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import resource
import signal
import socket
import sys

from .app import StandIn
from .ground import lay
from .identify import form_call
from .listener import Listener


def main() -> None:
    """Lays the ground, opens the port, says so on stdout, serves until it is told to end."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, frame: os._exit(0))
    wanted = _arguments()
    bound = _bind(wanted.host, wanted.port)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    stand_in = StandIn(lay(wanted.region, str(wanted.subnet)))
    # moto loads a service at its first call: better now than in somebody's time-out.
    stand_in.perform(form_call(wanted.region, "autoscaling", {"Action": "DescribeAutoScalingGroups"}))
    listener = Listener(bound, stand_in)
    sys.stdout.write(json.dumps({"ready": True, "url": f"http://{wanted.host}:{listener.port}"}) + "\n")
    sys.stdout.flush()
    listener.serve_forever()


def _bind(host: str, port: int) -> socket.socket:
    """Takes the port at once, but answers on it only when all is ready: until then connections are refused."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as problem:
        sys.exit(f"cannot listen on {host} port {port}: {problem.strerror}; choose another --port")
    return bound


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stand_in", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 picks a free one")
    parser.add_argument("--subnet", type=_subnet, required=True, help="where instances get their addresses")
    parser.add_argument("--region", default="ap-south-1", help="the region that holds network and template")
    return parser.parse_args()


def _subnet(text: str) -> ipaddress.IPv4Network:
    network = ipaddress.IPv4Network(text)
    if not 16 <= network.prefixlen <= 28:
        raise ValueError("must be a /16 to /28")
    return network


if __name__ == "__main__":
    main()
