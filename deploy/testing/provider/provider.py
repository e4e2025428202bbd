"""A DigitalOcean that is not there: a provider that knows the real one's schema (schema.json), refuses what that refuses by its
fields, and makes up what a cloud would answer. Started by tofu or terraform, as every provider is.

It keeps nothing and asks nobody: what was made is what the state says. Which values a cloud would refuse it does not know, but for
DIGITALOCEAN_TOKEN, without which it plans nothing, and DIGITALOCEAN_FAILS, a resource type that cannot be made.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import grpc
from tf.gen import grpc_controller_pb2 as controller_pb
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import grpc_stdio_pb2_grpc as stdio_rpc
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc
from tf.types import Unknown
from tf.utils import read_dynamic_value, to_dynamic_value

KNOWN = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
NESTING = {"list": "LIST", "set": "SET", "single": "SINGLE"}


def attribute_type(field: dict) -> object:
    """What is computed and has fields of its own is an attribute: a list of objects."""
    if "type" in field:
        return field["type"]
    return ["list", ["object", {name: attribute_type(it) for name, it in field["nested"].items()}]]


def block(fields: dict, blocks: list) -> pb.Schema.Block:
    made = pb.Schema.Block()
    for name, it in fields.items():
        if name in blocks:
            # Blocks of a block are none of them: theirs are attributes.
            made.block_types.add(
                type_name=name,
                block=block(it["nested"], []),
                nesting=pb.Schema.NestedBlock.NestingMode.Value(NESTING[it["nesting"]]),
            )
            continue
        made.attributes.add(
            name=name,
            type=json.dumps(attribute_type(it)).encode(),
            required=it["required"],
            optional=it["optional"],
            computed=it["computed"],
        )
    return made


def made_up(kind: str, name: str, field: dict, seed: str) -> object:
    """What a cloud might answer, the same each time."""
    number = int(hashlib.sha256(f"{seed}.{name}".encode()).hexdigest()[:7], 16)
    type_ = attribute_type(field)
    if type_ == "string":
        if name == "id":
            # A droplet's is a number, and others refer to it as one.
            return str(number) if kind == "digitalocean_droplet" else f"{number:08x}"
        if name == "urn":
            return f"do:{kind.removeprefix('digitalocean_')}:{number:08x}"
        if name.startswith("ipv4"):
            return f"192.0.2.{number % 254 + 1}"
        return f"made-up-{name}"
    return {"number": number, "bool": False}.get(type_, []) if isinstance(type_, str) else []


def fault(summary: str, detail: str) -> list:
    return [pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=summary, detail=detail)]


class Servicer(rpc.ProviderServicer):
    """One answer for each question of the protocol, version 6."""

    def GetMetadata(self, request, context):
        return pb.GetMetadata.Response(resources=[pb.GetMetadata.ResourceMetadata(type_name=it) for it in KNOWN])

    def GetProviderSchema(self, request, context):
        token = pb.Schema.Attribute(name="token", type=b'"string"', optional=True, sensitive=True)
        return pb.GetProviderSchema.Response(
            provider=pb.Schema(block=pb.Schema.Block(attributes=[token])),
            resource_schemas={name: pb.Schema(version=1, block=block(it["fields"], it["blocks"])) for name, it in KNOWN.items()},
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        return pb.ValidateResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        if not os.environ.get("DIGITALOCEAN_TOKEN"):
            return pb.ConfigureProvider.Response(diagnostics=fault("there is no token", "DIGITALOCEAN_TOKEN is not set"))
        return pb.ConfigureProvider.Response()

    def UpgradeResourceState(self, request, context):
        return pb.UpgradeResourceState.Response(upgraded_state=to_dynamic_value(json.loads(request.raw_state.json)))

    def ReadResource(self, request, context):
        return pb.ReadResource.Response(new_state=request.current_state, private=request.private)

    def PlanResourceChange(self, request, context):
        known = KNOWN[request.type_name]
        before, after = read_dynamic_value(request.prior_state), read_dynamic_value(request.proposed_new_state)
        if after is None:
            return pb.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        replaced = []
        if before is None:
            for name, it in known["fields"].items():
                if it["computed"] and after.get(name) is None:
                    after[name] = Unknown
        else:
            for name in known["replaced"]:
                if before.get(name) != after.get(name):
                    replaced.append(pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]))
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(after), requires_replace=replaced)

    def ApplyResourceChange(self, request, context):
        kind = request.type_name
        after = read_dynamic_value(request.planned_state)
        if after is None:
            return pb.ApplyResourceChange.Response(new_state=request.planned_state)
        if os.environ.get("DIGITALOCEAN_FAILS") == kind:
            return pb.ApplyResourceChange.Response(new_state=request.prior_state, diagnostics=fault(f"{kind} cannot be made", "it was asked to fail"))
        seed = f"{kind}.{after.get('name') or after.get('droplet_id')}"
        for name, value in after.items():
            if value is Unknown:
                after[name] = made_up(kind, name, KNOWN[kind]["fields"][name], seed)
        return pb.ApplyResourceChange.Response(new_state=to_dynamic_value(after))

    def StopProvider(self, request, context):
        return pb.StopProvider.Response()


class Stdio(stdio_rpc.GRPCStdioServicer):
    def StreamStdio(self, request, context):
        return iter([])


class Controller(controller_rpc.GRPCControllerServicer):
    def __init__(self, over: threading.Event):
        self.over = over

    def Shutdown(self, request, context):
        self.over.set()
        return controller_pb.Empty()


def certificate(folder: str) -> tuple:
    """A key and a certificate of its own, as the handshake wants them."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:TRUE",
         "-addext", "keyUsage=critical,digitalSignature,keyAgreement,keyCertSign", "-addext", "extendedKeyUsage=serverAuth,clientAuth",
         "-keyout", f"{folder}/key", "-out", f"{folder}/cert"],
        check=True, capture_output=True)
    pem = Path(f"{folder}/cert").read_bytes()
    der = base64.b64decode(b"".join(it for it in pem.splitlines() if not it.startswith(b"-")))
    return Path(f"{folder}/key").read_bytes(), pem, der


def main() -> None:
    over = threading.Event()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    rpc.add_ProviderServicer_to_server(Servicer(), server)
    stdio_rpc.add_GRPCStdioServicer_to_server(Stdio(), server)
    controller_rpc.add_GRPCControllerServicer_to_server(Controller(over), server)
    with tempfile.TemporaryDirectory() as folder:
        key, pem, der = certificate(folder)
        server.add_secure_port(f"unix://{folder}/socket", grpc.ssl_server_credentials([(key, pem)]))
        server.start()
        sys.stdout.write(f"1|6|unix|{folder}/socket|grpc|{base64.b64encode(der).decode().rstrip('=')}\n")
        sys.stdout.flush()
        parent = os.getppid()
        # Whoever started it may be killed.
        while not over.wait(0.5):
            if os.getppid() != parent:
                break
        server.stop(grace=0.2)


main()
