//! A site: engines, and the roles of `footage` on them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use footage_clip::{ClipId, ClipRecord, SourceId};
use footage_index::{Collection, FindClips as _, Quantization, ServerIndex, ServerSettings};
use footage_tests::broker::Broker;
use footage_tests::cable::Cable;
use footage_tests::qdrant::VectorServer;
use footage_tests::{Said, footage, run};
use footage_topic::{
    KafkaReader, KafkaSecurity, KafkaSettings, RawMessage, TopicMessage, TopicSpec,
};
use serde_json::Value;

/// What a busy machine may need for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// After so long without a word a role counts as dead. The broker lets who joins again wait for three
/// seconds, and that has to be less.
pub(crate) const SESSION: Duration = Duration::from_secs(5);

/// Partitions of every topic.
const PARTITIONS: i32 = 3;

pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) broker: Broker,
    pub(crate) vectors: VectorServer,
    pub(crate) cables: Option<Cables>,
    roles: BTreeMap<&'static str, Role>,
}

/// What lies between the engines and everybody, to be pulled.
pub(crate) struct Cables {
    pub(crate) broker: Cable,
    pub(crate) vectors: Cable,
}

struct Role {
    process: Child,
    monitors: String,
}

impl Site {
    /// None where there is no broker, which is said.
    pub(crate) fn new() -> Option<Self> {
        let broker = Broker::start()?;
        let vectors = VectorServer::start(&[]);
        let url = vectors.url().to_owned();
        Some(Self::of(broker, vectors, &url, None))
    }

    /// The same, with cables that can be pulled: between everybody and the broker, and between the roles
    /// and the vector server, which tests go on asking.
    pub(crate) fn with_cables() -> Option<Self> {
        let mut cable = None;
        let broker = Broker::start_told(|address| cable.insert(Cable::to(address)).address())?;
        let vectors = VectorServer::start(&[]);
        let address = vectors.url().trim_start_matches("http://").parse().unwrap();
        let cables = Cables { broker: cable.unwrap(), vectors: Cable::to(address) };
        let url = format!("http://{}", cables.vectors.address());
        Some(Self::of(broker, vectors, &url, Some(cables)))
    }

    fn of(broker: Broker, vectors: VectorServer, url: &str, cables: Option<Cables>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A call that gets no answer is given up in time to see more than one.
        let timeout_s = if cables.is_some() { 2 } else { 10 };
        let settings = format!(
            "[kafka]\nbrokers = \"{}\"\npartitions = {PARTITIONS}\nsession_timeout_s = {}\n\
             [qdrant]\nurl = \"{url}\"\ntimeout_s = {timeout_s}\n[live]\ngate = false\ndecode = \"all\"\n",
            broker.address(),
            SESSION.as_secs_f64(),
        );
        fs_err::write(folder.path().join("site.toml"), settings).unwrap();
        Self { folder, broker, vectors, cables, roles: BTreeMap::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command with the data directory of `name`.
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = footage();
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FOOTAGE_") {
                command.env_remove(variable);
            }
        }
        command.args(args).arg("--config").arg(self.path("site.toml"));
        command.arg("--data-dir").arg(self.path(name)).current_dir(self.folder.path());
        command
    }

    pub(crate) fn ok(&self, name: &str, args: &[&str]) -> String {
        let Said { code, out, err } = run(&mut self.command(name, args));
        assert_eq!(code, Some(0), "{args:?}: {out}\n{err}\n{}", self.told());
        out
    }

    /// Starts a role under a name, and does not wait for it.
    pub(crate) fn start(&mut self, name: &'static str, role: &str) {
        self.launch(name, role, name, &[]);
    }

    /// The same, in the data directory of `data`.
    pub(crate) fn start_in(&mut self, name: &'static str, role: &str, data: &str) {
        self.launch(name, role, data, &[]);
    }

    /// The same, with more on its command line.
    pub(crate) fn start_with(&mut self, name: &'static str, role: &str, args: &[&str]) {
        self.launch(name, role, name, args);
    }

    fn launch(&mut self, name: &'static str, role: &str, data: &str, args: &[&str]) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut log = fs_err::OpenOptions::new();
        let log = log.create(true).append(true).open(self.path(&format!("{name}.log")));
        let process = self
            .command(data, &["run", role, "-v", "--set", &format!("metrics.listen={free}")])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap().into_file())
            .spawn()
            .unwrap();
        self.roles.insert(name, Role { process, monitors: free.to_string() });
    }

    /// Waits until a role says that it does its work.
    pub(crate) fn ready(&mut self, name: &str) {
        until(&format!("{name} is ready"), || {
            let role = self.roles.get_mut(name).unwrap();
            let ended = role.process.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {ended:?}\n{}", self.told());
            let (status, _) = get(&self.roles[name].monitors, "/healthz/ready")?;
            (status == 200).then_some(())
        });
    }

    /// What a role tells Prometheus.
    pub(crate) fn metrics(&self, name: &str) -> String {
        until(&format!("metrics of {name}"), || {
            let (status, text) = get(&self.roles[name].monitors, "/metrics")?;
            (status == 200).then_some(text)
        })
    }

    /// A figure that a role tells Prometheus, of all its labels together.
    pub(crate) fn metric(&self, name: &str, metric: &str) -> f64 {
        let metrics = self.metrics(name);
        let lines = metrics.lines().filter(|line| line.starts_with(metric));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// A role's process.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.roles[name].process.id()
    }

    /// All that a role said.
    pub(crate) fn said(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(&format!("{name}.log"))).unwrap()
    }

    /// Ends a role at once, as a crash would.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut role = self.roles.remove(name).unwrap();
        role.process.kill().unwrap();
        role.process.wait().unwrap();
    }

    /// Ends a role politely, and expects it to end well.
    pub(crate) fn stop(&mut self, name: &str) {
        let mut role = self.roles.remove(name).unwrap();
        signal(role.process.id(), "-TERM");
        let began = Instant::now();
        let ended = until(&format!("{name} ends"), || role.process.try_wait().unwrap());
        assert!(ended.success(), "{name} ended with {ended}\n{}", self.told());
        assert!(began.elapsed() < Duration::from_secs(30), "{name} took {:?}", began.elapsed());
    }

    /// What all roles said.
    pub(crate) fn told(&self) -> String {
        let entries = fs_err::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
        let tail = |log: fs_err::DirEntry| {
            let text = fs_err::read_to_string(log.path()).unwrap();
            let from = text.lines().count().saturating_sub(30);
            let lines: Vec<&str> = text.lines().skip(from).collect();
            format!("== {}\n{}\n", log.path().display(), lines.join("\n"))
        };
        logs.map(tail).collect::<Vec<_>>().concat()
    }

    pub(crate) fn kafka(&self) -> KafkaSettings {
        KafkaSettings {
            brokers: self.broker.address(),
            security: KafkaSecurity::default(),
            delivery_timeout: Duration::from_secs(20),
            session_timeout: SESSION,
            fetched_kib: 8192,
        }
    }

    /// How a topic of the site is made.
    pub(crate) fn topic(name: &str) -> TopicSpec {
        TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: 1,
            retention: None,
            is_compacted: false,
        }
    }

    /// Everything that lies in a topic.
    pub(crate) async fn all(&self, topic: &str) -> Vec<RawMessage> {
        let mut reader = KafkaReader::open(&self.kafka(), topic, &BTreeMap::new()).await.unwrap();
        let mut all = Vec::new();
        while !reader.is_caught_up() {
            all.push(reader.next().await);
        }
        all
    }

    /// Every clip that lies in the topic of clips and can be read.
    pub(crate) async fn clips(&self) -> Vec<ClipRecord> {
        let messages = self.all("footage.clips.v1").await;
        let read = messages.iter().filter_map(|message| TopicMessage::of(message).ok());
        read.filter_map(|message| match message {
            TopicMessage::Clip(clip) => Some(clip),
            _ => None,
        })
        .collect()
    }

    /// The ids of a source's clips in the index.
    pub(crate) async fn indexed(&self, collection: &Collection, source: &str) -> Vec<ClipId> {
        let settings = ServerSettings {
            url: self.vectors.url().to_owned(),
            api_key: None,
            alias: "footage-clips".to_owned(),
            timeout: Duration::from_secs(20),
            shards: 1,
            replication: 1,
            write_consistency: 1,
            quantization: Quantization::None,
            on_disk: false,
            beam: 128,
        };
        let Ok(index) = ServerIndex::open_existing(&settings, collection).await else {
            return Vec::new();
        };
        let source = SourceId::try_new(source).unwrap();
        index.ids(&source, None, usize::MAX).await.unwrap_or_default()
    }

    /// What the search role says of a source's clips.
    pub(crate) fn listed(&self, source: &str) -> Option<Value> {
        let said = run(&mut self.command("search", &["source", "list", "--json"]));
        let listed: Value = serde_json::from_str(&said.out).ok()?;
        let sources = listed["sources"].as_array()?.clone();
        sources.into_iter().find(|listed| listed["source_id"] == source)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for role in self.roles.values_mut() {
            // One that has ended by itself is what is wanted.
            drop(role.process.kill());
            drop(role.process.wait());
        }
    }
}

/// Sends a process a signal.
pub(crate) fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Asks again until there is an answer.
pub(crate) fn until<R>(what: &str, mut answer: impl FnMut() -> Option<R>) -> R {
    let began = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: footage\r\nconnection: close\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let status = reply.split(' ').nth(1)?.parse().ok()?;
    Some((status, reply))
}
