//! A topic on a broker that lets in who knows a name and a password, over encrypted connections.
//!
//! The password is the broker's doing. What encrypts is a proxy in front of it, of the tests: the broker
//! speaks no TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "other tests use this file as well")]
#[path = "../../tests/support/broker.rs"]
mod broker;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footage_clip::{ClipState, CoverageRecord, SourceId, Span};
use footage_topic::{
    KafkaError, KafkaSecurity, KafkaSettings, KafkaTopic, Password, Topic as _, TopicMessage,
    TopicSpec,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use broker::Broker;

const NAME: &str = "footage";
const PASSWORD: &str = "planted-hunter2";

/// Certificates of this test's own authority.
struct Trust {
    folder: tempfile::TempDir,
    proxy: ServerConfig,
}

impl Trust {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let proxy = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        Self { folder, proxy }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

/// Passes what comes encrypted to `listener` on to a broker that is told of later.
fn encrypt(listener: std::net::TcpListener, config: ServerConfig, broker: SocketAddr) {
    listener.set_nonblocking(true).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust it goes away again.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = TcpStream::connect(broker).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
}

fn settings(broker: &Broker, security: KafkaSecurity) -> KafkaSettings {
    KafkaSettings {
        brokers: broker.address(),
        security,
        delivery_timeout: Duration::from_secs(10),
        session_timeout: Duration::from_secs(6),
        fetched_kib: 4096,
    }
}

async fn opened(settings: &KafkaSettings) -> Result<KafkaTopic, KafkaError> {
    let spec = TopicSpec {
        name: "secured".to_owned(),
        partitions: 1,
        replication: 1,
        retention: None,
        is_compacted: false,
    };
    KafkaTopic::open(settings, &spec, "tests", NonZeroUsize::new(10).unwrap(), None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trusts_and_is_trusted_is_let_in_and_nobody_else() {
    let trust = Trust::new();
    let front = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = front.local_addr().unwrap();
    let Some(broker) = Broker::start_with_user(NAME, PASSWORD, |_| address) else { return };
    encrypt(front, trust.proxy.clone(), broker.listens());
    let right = KafkaSecurity {
        tls: true,
        tls_ca: Some(trust.ca()),
        sasl_mechanism: Some("SCRAM-SHA-512".to_owned()),
        user: NAME.to_owned(),
        password: Password::new(PASSWORD),
        ..KafkaSecurity::default()
    };

    let topic = opened(&settings(&broker, right.clone())).await.unwrap();
    let source_id = SourceId::try_new("gate").unwrap();
    let told = CoverageRecord { source_id, span: Span::new(1, 2), state: ClipState::Gated };
    let message = TopicMessage::from(told);
    topic.publish(message.clone()).await.unwrap();
    let mut follower = topic.follow().await.unwrap();
    let received = tokio::time::timeout(Duration::from_secs(60), follower.receive()).await;
    assert_eq!(received.unwrap().unwrap().unwrap().message, message);

    let wrong = KafkaSecurity { password: Password::new("planted-wrong"), ..right.clone() };
    let nobody = KafkaSecurity { sasl_mechanism: None, ..right.clone() };
    let untrusting = KafkaSecurity { tls_ca: None, ..right.clone() };
    let plain = KafkaSecurity { tls: false, ..right };
    for (security, why) in
        [(wrong, "authentication"), (nobody, ""), (untrusting, "certificate"), (plain, "")]
    {
        let began = Instant::now();
        let refused = opened(&settings(&broker, security)).await.unwrap_err().to_string();
        println!("{:?}: {refused}", began.elapsed());
        assert!(refused.to_lowercase().contains(why), "{refused}");
        assert!(!refused.contains("planted"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(60), "{refused}");
    }
}
