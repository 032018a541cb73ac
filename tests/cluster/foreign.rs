//! A client that is none of ours: `kafka-python`, in an environment of its own.

use std::process::{Command, Stdio};

use crate::site::Site;

/// The second reads what the first has no code for: zstd.
const PACKAGES: [&str; 2] = ["kafka-python==2.0.6", "zstandard==0.23.0"];

/// Reads our records as plain JSON, and writes one, by no more than what the documentation says.
const SCRIPT: &str = r#"
import base64, json, struct, sys, uuid
from kafka import KafkaConsumer, KafkaProducer
broker = sys.argv[1]
clips = []
for message in KafkaConsumer("footage.clips.v1", bootstrap_servers=broker,
                             auto_offset_reset="earliest", consumer_timeout_ms=15000):
    kinds = dict(message.headers)
    record = json.loads(message.value)
    assert record["v"] == 1 and message.key.decode() == record["source_id"], record
    if kinds.get("footage-kind", b"clip") == b"clip":
        clips.append(record)
        break
clip = clips[0]
raw = base64.b64decode(clip["embedding"])
vector = struct.unpack("<%df" % (len(raw) // 4), raw)
assert abs(sum(value * value for value in vector) - 1) < 1e-3
window = clip["window"]
clip["source_id"], clip["seq"] = "foreign", 0
clip["span"] = {"start_ns": 0, "end_ns": 4000000000}
clip.pop("media", None)
name = "foreign/0/%d/%d/%s/%s" % (window["length"], window["stride"], window["rate"],
                                  clip["model"]["fingerprint"])
space = uuid.UUID("5f0e7a9c-3d41-5b6e-9a27-c1d486f02b13")
clip["clip_id"] = str(uuid.uuid5(space, name))
source = {"v": 1, "source_id": "foreign", "name": "foreign", "kind": "camera", "added_unix_s": 1,
          "model": clip["model"], "window": window, "complete": False}
producer = KafkaProducer(bootstrap_servers=broker, acks="all")
producer.send("footage.clips.v1", json.dumps(source).encode(), b"foreign",
              headers=[("footage-kind", b"source")]).get(30)
producer.send("footage.clips.v1", json.dumps(clip).encode(), b"foreign").get(30)
print(clip["clip_id"])
"#;

/// The id of the clip that was written; none, with a word why, where Python or the registry is not
/// there.
pub(crate) fn reads_and_writes(site: &Site) -> Option<String> {
    let environment = site.path("python");
    let made = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&environment)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let python = environment.join("bin/python");
    let installed = || {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(PACKAGES);
        pip.status().is_ok_and(|status| status.success())
    };
    if !made.is_ok_and(|status| status.success()) || !installed() {
        eprintln!("skipped: no foreign client: {PACKAGES:?} need python3-venv and PyPI");
        return None;
    }
    let script = site.path("foreign.py");
    fs_err::write(&script, SCRIPT).unwrap();
    let said = Command::new(&python).arg(&script).arg(site.broker.address()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}\n{err}\n{}", site.told());
    Some(out.trim().to_owned())
}
