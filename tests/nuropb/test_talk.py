"""NuroPb's own package and our containers call one another over a real RabbitMQ."""

import json
import signal
import time

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from servers import until


def started(mesh, *flags):
    """Ours, and theirs as another service with a client in it."""
    ours = mesh.ours("r1", *flags)
    theirs = mesh.theirs("p1", service=mesh.service + "-py")
    ours.running(), theirs.running()
    return ours, theirs


def test_a_request_goes_both_ways(mesh):
    _, theirs = started(mesh)
    answer = theirs.request(mesh.service, "add", {"a": 40}, trace_id="t-1", context={"user": "joe"})
    assert (answer["result"], answer["error"], answer["trace_id"]) == (42, None, "t-1")
    assert answer["context"] == {"user": "joe"}
    asked = mesh.cli("call", mesh.service + "-py", "add", '{"a": 40, "b": 3}')
    assert (asked.stdout, asked.returncode) == ("43\n", 0), asked
    odd = {"ü": "\U0001f600", "n": [1, 2.5, None, True], "deep": {"a": {"b": {}}}}
    assert theirs.request(mesh.service, "echo", odd)["result"] == odd
    asked = mesh.cli("call", mesh.service + "-py", "echo", json.dumps(odd), "--json")
    assert json.loads(asked.stdout) == {"v": 1, "result": odd}


def test_errors_go_both_ways(mesh):
    _, theirs = started(mesh)
    answer = theirs.request(mesh.service, "fail", {})
    assert answer["result"] is None
    assert answer["error"] == {"error": "CommandFailed", "description": "exit code 3: it is broken"}
    for method in ("nothing", "_hidden"):
        error = theirs.request(mesh.service, method, {})["error"]
        assert error == {"error": "NuropbHandlingError", "description": f"Unknown method {method}"}
    asked = mesh.cli("call", mesh.service + "-py", "fail", "--json")
    assert asked.returncode == 1, asked
    error = json.loads(asked.stdout)["error"]
    assert error["code"] == "NuropbException" and "it is broken" in error["message"]
    assert mesh.cli("call", mesh.service + "-py", "nothing").returncode == 1
    # Nobody offers it: both are told at once.
    began = time.monotonic()
    answer = theirs.request("nobody", "add", {})
    assert answer["error"]["error"] == "NuropbNotDeliveredError"
    assert mesh.cli("call", "nobody", "add").returncode == 6
    assert time.monotonic() - began < 10
    # Each failure is one dead letter, with NuroPb's form.
    letters = until(lambda: [it for it in mesh.messages(f"nuropb-{mesh.service}-dl")
                             if it["properties"]["headers"]["x-death"][0]["queue"] ==
                             f"nuropb-{mesh.service}-sq"])
    assert len(letters) == 3
    for letter in letters:
        headers = letter["properties"]["headers"]
        assert headers["x-death"][0]["reason"] == "rejected"
        assert (headers["nuropb_type"], headers["nuropb_protocol"]) == ("request", "0.1.1")


def test_commands_go_both_ways(mesh, tmp_path):
    done = tmp_path / "done"
    _, theirs = started(mesh, "--method", f"note=cat > {done}")
    theirs.ask("command", service=mesh.service, method="note", params={"n": 1})
    until(lambda: done.exists() and done.read_text() == '{"n":1}\n')
    asked = mesh.cli("call", mesh.service + "-py", "note", '{"n": 2}', "--command")
    assert asked.returncode == 0, asked
    theirs.until(lambda said: said == {"event": "note", "kwargs": {"n": 2}})
    assert mesh.cli("call", "nobody", "note", "--command").returncode == 6


def test_events_go_both_ways_by_topic(mesh, tmp_path):
    heard = tmp_path / "heard"
    _, theirs = started(mesh, "--on", f"orders.*.paid=echo $MAJORDOMO_TOPIC $(cat) >> {heard}",
                        "--on", f"log.#=echo $MAJORDOMO_TOPIC >> {heard}")
    for topic in ("orders.1.paid", "orders.1.sent", "log", "log.a.b", "orders.paid"):
        theirs.ask("publish", topic=topic, event={"n": 1})
    wanted = ["orders.1.paid {\"n\":1}", "log", "log.a.b"]
    until(lambda: heard.exists() and sorted(heard.read_text().splitlines()) == sorted(wanted))
    asked = mesh.cli("event", "python.seven", '{"n": 7}', "--with", '{"user": "joe"}')
    assert asked.returncode == 0, asked
    told = theirs.until(lambda said: said.get("event") == "event")
    assert (told["topic"], told["payload"], told["context"]) == ("python.seven", {"n": 7}, {"user": "joe"})
    # Nobody listens, and that is no failure.
    assert mesh.cli("event", "nobody.listens").returncode == 0


def test_events_of_a_python_method_reach_ours_and_carry_its_numbers(mesh, tmp_path):
    heard = tmp_path / "heard"
    _, theirs = started(mesh, "--on", f"ours.#=echo $MAJORDOMO_CORRELATION_ID >> {heard}")
    answer = theirs.request(mesh.service + "-py", "tell", {"topic": "ours.told"})
    assert answer["result"] == "told"
    until(lambda: heard.exists() and heard.read_text() == answer["correlation_id"] + "\n")


def test_each_describes_itself_to_the_other(mesh):
    _, theirs = started(mesh)
    said = theirs.ask("describe", service=mesh.service)["description"]
    own = json.loads(mesh.cli("describe", mesh.service, "--json").stdout)["description"]
    assert said == own
    assert said["service_name"] == mesh.service and set(said["methods"]) >= {"add", "echo", "fail"}
    python = json.loads(mesh.cli("describe", mesh.service + "-py", "--json").stdout)["description"]
    assert set(python) == set(said), "the two have the same keys"
    add = python["methods"]["add"]
    assert set(add) == set(said["methods"]["add"])
    assert set(add["parameters"]) == set(said["methods"]["add"]["parameters"])
    asked = mesh.cli("describe", mesh.service + "-py")
    assert "add\ta: int, b: int\tadds\n" in asked.stdout, asked


def test_what_is_encrypted_goes_both_ways_and_nobody_else_reads_it(mesh, tmp_path):
    key, noted = tmp_path / "key.pem", tmp_path / "noted"
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    _, theirs = started(mesh, "--service-key", str(key), "--method", "secret=cat", "--method",
                        f"note=cat >> {noted}", "--encrypted", "secret", "--encrypted", "note")
    strange = mesh.service + "-py"
    # Somebody else gets a copy of all that is asked.
    mesh.rabbit.api("PUT", f"queues/{mesh.vhost}/spy", {"durable": True})
    for service in (mesh.service, strange):
        mesh.rabbit.api("POST", f"bindings/{mesh.vhost}/e/nuropb-rpc-exchange/q/spy", {"routing_key": service})

    said = theirs.ask("describe", service=mesh.service)["description"]
    assert said["encrypted_methods"] is True and said["methods"]["secret"]["requires_encryption"]
    hush = {"a": "hush", "ü": [1, None]}
    assert theirs.request(mesh.service, "secret", hush, encrypted=True)["result"] == hush
    asked = mesh.cli("call", strange, "secret", json.dumps(hush), "--encrypted", "--json")
    assert json.loads(asked.stdout) == {"v": 1, "result": hush}
    theirs.ask("command", service=mesh.service, method="note", params=hush, encrypted=True)
    until(lambda: noted.exists() and json.loads(noted.read_text() or "0") == hush)
    asked = mesh.cli("call", strange, "secret", json.dumps(hush), "--encrypted", "--command")
    assert asked.returncode == 0, asked
    assert theirs.until(lambda said: said.get("event") == "secret")["kwargs"] == hush

    # Errors are encrypted as well; what should be and is not is refused.
    error = theirs.request(mesh.service, "fail", {"why": "hush"}, encrypted=True)["error"]
    assert error["error"] == "CommandFailed"
    asked = mesh.cli("call", strange, "fail", '{"why": "hush"}', "--encrypted", "--json")
    assert json.loads(asked.stdout)["error"]["code"] == "NuropbException", asked
    error = theirs.request(mesh.service, "secret", {})["error"]
    assert error == {"error": "NuropbAuthorizationError", "description": "calls of secret have to be encrypted"}

    spied = until(lambda: [it for it in mesh.messages("spy") if len(mesh.messages("spy")) >= 9])
    sealed = [it for it in spied if it["properties"]["headers"]["encrypted"] == "yes"]
    assert len(sealed) == 6, [it["properties"]["headers"] for it in spied]
    for message in spied:
        assert "hush" not in message["payload"]
    for message in sealed:
        key_part, token = message["payload"].split(".")
        assert len(key_part) == 344 and token
    # Another instance with another key could read none of it: its messages become dead letters.
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    mesh.members[0].stop()
    second = mesh.ours("r2", "--service-key", str(key), "--method", "secret=cat", "--encrypted", "secret")
    second.running()
    theirs.ask("command", service=mesh.service, method="secret", params=hush, encrypted=True)
    letters = until(lambda: [it for it in mesh.messages(f"nuropb-{mesh.service}-dl")
                             if it["properties"]["headers"]["encrypted"] == "yes"
                             and it["properties"]["headers"]["nuropb_type"] == "command"])
    assert len(letters) == 1
    # Who asks anew learns the new key.
    assert mesh.cli("call", mesh.service, "secret", '{"a": 1}', "--encrypted").stdout == '{"a":1}\n'


def test_a_key_that_others_can_read_is_refused(mesh, tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("nonsense")
    key.chmod(0o644)
    run = ("run", "s", "--method", "m=cat", "--service-key", str(key))
    refused = mesh.cli(*run)
    assert refused.returncode == 2 and "others can read this secret" in refused.stderr, refused
    key.chmod(0o600)
    refused = mesh.cli(*run)
    assert refused.returncode == 2 and "it is no RSA key in PEM" in refused.stderr, refused


def test_call_again_goes_both_ways(mesh, tmp_path):
    count, never = tmp_path / "count", tmp_path / "never"
    again = f"echo >> {count}; [ $(wc -l < {count}) -ge 2 ] && echo '\"now\"' || exit 75"
    _, theirs = started(mesh, "--call-again", "1", "--method", f"again={again}",
                        "--method", f"never=echo >> {never}; exit 75")
    assert theirs.request(mesh.service, "again", {})["result"] == "now"
    error = theirs.request(mesh.service, "never", {})["error"]
    assert error["error"] == "NuropbCallAgainReject"
    assert len(never.read_text().splitlines()) == 2, "NuroPb's own limit"
    assert mesh.cli("call", mesh.service + "-py", "again", '{"mark": "x"}').stdout == '"now"\n'
    asked = mesh.cli("call", mesh.service + "-py", "never", "--json")
    assert json.loads(asked.stdout)["error"]["code"] == "NuropbCallAgainReject"
    letters = until(lambda: mesh.messages(f"nuropb-{mesh.service}-dl"))
    assert {it["properties"]["headers"]["x-death"][0]["reason"] for it in letters} == {"rejected"}


def test_call_again_has_a_limit_of_its_own(mesh, tmp_path):
    never = tmp_path / "never"
    _, theirs = started(mesh, "--call-again", "4", "--method", f"never=echo >> {never}; exit 75")
    assert theirs.request(mesh.service, "never", {})["error"]["error"] == "NuropbCallAgainReject"
    assert len(never.read_text().splitlines()) == 5


def test_a_message_that_cannot_be_read_stops_nobody(mesh):
    ours, theirs = started(mesh)
    good = {"nuropb_protocol": "0.1.1", "nuropb_version": "0.1.8", "nuropb_type": "request",
            "trace_id": "t", "encrypted": ""}
    bad = [({}, "{}"), (good | {"nuropb_protocol": "9"}, "{}"), (good | {"nuropb_type": "x"}, "{}"),
           (good, "no json"), (good, "[]"), (good, ""), (good | {"encrypted": "yes"}, "abc.def"),
           (good, '{"service": 1}'), (good | {"nuropb_type": "response"}, "{}"), (None, "x")]
    for headers, body in bad:
        properties = {"headers": headers} if headers is not None else {}
        published = mesh.rabbit.api("POST", f"exchanges/{mesh.vhost}/nuropb-rpc-exchange/publish", {
            "properties": properties, "routing_key": mesh.service, "payload": body,
            "payload_encoding": "string"})
        assert published["routed"]
    until(lambda: len(mesh.messages(f"nuropb-{mesh.service}-dl")) == len(bad))
    assert theirs.request(mesh.service, "add", {"a": 1})["result"] == 3
    assert ours.stop()["malformed"] == len(bad)


def test_the_layout_is_that_of_nuropb(mesh):
    """What ours declares and sends is what theirs does, looked at from the server."""
    ours, theirs = started(mesh)
    strange = mesh.service + "-py"
    for name in ("nuropb-{}-sq", "nuropb-{}-dl"):
        left, right = mesh.queue(name.format(mesh.service)), mesh.queue(name.format(strange))
        for key in ("durable", "auto_delete", "exclusive", "arguments", "type"):
            assert left[key] == right[key], (name, key)
    left = mesh.queue(f"nuropb-{mesh.service}-r1-rq")
    right = mesh.queue(f"nuropb-{strange}-p1-rq")
    for key in ("durable", "auto_delete", "exclusive", "arguments", "type"):
        assert left[key] == right[key], key
    kinds = {it["name"]: (it["type"], it["durable"]) for it in
             mesh.rabbit.api("GET", f"exchanges/{mesh.vhost}") if it["name"].startswith("nuropb")}
    assert kinds == {"nuropb-rpc-exchange": ("direct", True), "nuropb-events-exchange": ("topic", True),
                     "nuropb-dl-exchange": ("fanout", True)}
    # Two requests that nobody takes, one of each kind, side by side.
    for service in ("left", "right"):
        mesh.rabbit.api("PUT", f"queues/{mesh.vhost}/{service}", {"durable": True})
        mesh.rabbit.api("POST", f"bindings/{mesh.vhost}/e/nuropb-rpc-exchange/q/{service}",
                        {"routing_key": service})
    asked = mesh.cli("call", "left", "m", '{"a": 1}', "--timeout", "2s", "--with", '{"c": 1}')
    assert asked.returncode == 4, asked
    theirs.process.stdin.write(json.dumps({"verb": "request", "number": 999, "service": "right",
                                           "method": "m", "params": {"a": 1}, "context": {"c": 1}}) + "\n")
    theirs.process.stdin.flush()
    mesh.cli("call", "left", "m", '{"a": 1}', "--timeout", "60s", "--with", '{"c": 1}', "--command")
    (left,) = until(lambda: [it for it in mesh.messages("left") if "command" in it["payload"]])
    (right,) = until(lambda: mesh.messages("right"))
    assert set(left["properties"]) - {"delivery_mode"} == set(right["properties"])
    assert set(left["properties"]["headers"]) == set(right["properties"]["headers"])
    for name in ("nuropb_protocol", "nuropb_version", "encrypted", "trace_id"):
        assert left["properties"]["headers"][name] == right["properties"]["headers"][name], name
    assert left["properties"]["content_type"] == right["properties"]["content_type"]
    # The octets of the body: the same but for what has to differ.
    def same(message, service):
        number = message["properties"]["correlation_id"]
        assert len(number) == 32
        return message["payload"].replace(number, "N").replace(service, "S")
    assert same(left, "left").replace("command", "request") == same(right, "right")


def test_instances_of_both_kinds_share_one_service(mesh):
    first = mesh.ours("r1", "--prefetch", "1", "--leader-prefetch", "1")
    first.running()
    second = mesh.ours("r2", "--prefetch", "1")
    third, fourth = mesh.theirs("p1"), mesh.theirs("p2")
    for member in (second, third, fourth):
        member.running()
    assert first.now()["leading"] and second.now()["leader"] == "r1"
    states = [one.ask("state") for one in (third, fourth)]
    assert all(not it["leads"] and it["leader"] == "r1" for it in states)
    client = mesh.theirs("c1", service="")
    client.running()
    answers = set()
    for _ in range(40):
        answers.add(client.request(mesh.service, "who", {})["result"])
    assert answers == {"r1", "r2", "p1", "p2"}
    # The leader ends in good order; one of the others leads at once.
    began = time.monotonic()
    first.stop()
    key = f"/nuropb/{mesh.service}/leader"
    leader = until(lambda: (mesh.etcd.get(key) or "r1") != "r1" and mesh.etcd.get(key))
    assert time.monotonic() - began < 5
    assert leader in ("r2", "p1", "p2")
    second.until(lambda said: said.get("leader") == leader)
    assert client.request(mesh.service, "add", {"a": 1})["result"] == 3


def test_a_python_leader_is_followed(mesh):
    theirs = mesh.theirs("p1")
    assert theirs.running()["state"] == "running-leader"
    ours = mesh.ours("r1", "--ttl", "3s")
    assert ours.running()["state"] == "running-follower"
    assert ours.now()["leader"] == "p1"
    theirs.stop()
    ours.state("running-leader", timeout=10)
    assert mesh.cli("call", mesh.service, "who").stdout == '"r1"\n'


def test_without_etcd_it_serves_alone_and_makes_the_virtual_host(mesh):
    mesh.vhost += "-made"
    ours = mesh.ours("r1", etcd=False)
    assert ours.running()["state"] == "running-standalone"
    assert mesh.cli("call", mesh.service, "add", '{"a": 1}', etcd=False).stdout == "3\n"
    ours.stop()


def test_a_queue_of_type_quorum_is_an_option(mesh):
    members = [mesh.ours(f"r{n}", "--quorum") for n in range(2)]
    for member in members:
        member.running()
    assert mesh.queue(f"nuropb-{mesh.service}-sq")["type"] == "quorum"
    assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"
    # One that declares it otherwise is told so, and the others go on.
    other = mesh.ours("r9")
    said = other.until(lambda said: said.get("queues", {}).get("link") == "down")
    assert "x-queue-type" in said["queues"]["why"], said
    assert mesh.cli("call", mesh.service, "add", '{"a": 1}').stdout == "3\n"


def test_a_stop_finishes_what_is_in_work(mesh):
    ours, theirs = started(mesh)
    theirs.process.stdin.write(json.dumps({"verb": "request", "number": 77, "service": mesh.service,
                                           "method": "slow", "params": {}}) + "\n")
    theirs.process.stdin.flush()
    until(lambda: ours.process.poll() is None and mesh.queue(f"nuropb-{mesh.service}-sq") is not None)
    time.sleep(0.3)
    ours.signal(signal.SIGTERM)
    said = theirs.until(lambda said: said.get("number") == 77)
    assert said["response"]["result"] == "r1"
    assert ours.process.wait(10) == 0
